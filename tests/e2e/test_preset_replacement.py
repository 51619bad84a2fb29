"""Saving a preset under the name of another one of the user's own."""


def test_an_own_preset_is_replaced_only_after_a_question(app):
    app.see("Select a completed training run")
    for saved_before in (False, True):
        app.click("Save as preset")
        app.see("Keeps temperature")
        app.type("Name", "mine")
        app.page.keyboard.press("Enter")
        if saved_before:
            app.see("Replace preset?")
            app.click("Replace")
            app.see_no_more("Replace preset?")
        app.see("Delete this preset")
    app.click("Delete this preset")
    app.see_no_more("Delete this preset")
