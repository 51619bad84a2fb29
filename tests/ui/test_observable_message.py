"""What a streamed token makes the page draw again."""

from helpers.chat_session import MessageStatus
from ui.components.observable_message import ObservableMessage


def test_a_token_redraws_the_growing_text_only_and_the_end_redraws_the_row():
    message = ObservableMessage(1, "assistant", status=MessageStatus.STREAMING)
    row: list[str | None] = []
    text: list[str | None] = []

    def row_changed(_message: object, field: str | None) -> None:
        row.append(field)

    def text_changed(_growing: object, field: str | None) -> None:
        text.append(field)

    message.subscribe(row_changed)
    message.growing.subscribe(text_changed)
    message.grow("Two ", 1)
    message.grow("miles", 2)
    assert row == [] and text.count("text") == 2
    assert message.growing.text == message.text == "Two miles" and message.new_tokens == 2
    message.status = MessageStatus.STOPPED
    assert row == ["status"], "the text so far is drawn as an answer"
