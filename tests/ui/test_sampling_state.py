"""Presets, sliders and the user's own presets."""

import asyncio

import pytest

from db import presets, settings
from db.database import Database
from errors import NotFoundError, SettingsError
from held_threads import HeldThreads
from helpers.local_inference import ContextOverflow
from ui.inference.sampling_state import OVERFLOW_KEY, SamplingState


async def opened(database: Database) -> SamplingState:
    """The sampling of a new window."""
    sampling = SamplingState(database)
    await sampling.load()
    return sampling


@pytest.mark.parametrize(
    ("name", "temperature", "tokens", "penalty"),
    [("Deterministic", 0, 128, 1.1), ("Balanced", 0.7, 256, 1.15), ("Creative", 1.1, 512, 1.1)],
)
def test_the_built_in_presets_are_the_products(database, name, temperature, tokens, penalty):
    sampling = SamplingState(database)
    assert sampling.preset == "Balanced" and sampling.preset_names == ["Deterministic", "Balanced", "Creative"]
    sampling.change(top_k=40, seed=7, stop=("###",))
    version = sampling.version
    sampling.choose_preset(name)
    found = sampling.settings
    assert (found.temperature, found.max_new_tokens, found.repetition_penalty) == (temperature, tokens, penalty)
    assert (found.top_k, found.seed, found.stop) == (0, None, ()), "every value of the preset counts"
    assert sampling.preset == name and sampling.version > version and not sampling.preset_is_own


def test_moving_a_slider_shows_custom_and_a_slider_put_back_in_its_place_changes_nothing(database):
    sampling = SamplingState(database)
    sampling.change(temperature=sampling.settings.temperature)
    assert sampling.preset == "Balanced"
    sampling.change(temperature=0.3)
    assert sampling.preset == "Custom" and sampling.settings.temperature == 0.3


@pytest.mark.parametrize("values", [{"temperature": 2.5}, {"max_new_tokens": 0}, {"stop": ("",)}, {"warmth": 1}])
def test_a_value_out_of_range_is_refused_and_nothing_changes(database, values):
    sampling = SamplingState(database)
    before = sampling.settings
    with pytest.raises(SettingsError):
        sampling.change(**values)
    assert sampling.settings == before and sampling.preset == "Balanced"


async def test_own_presets_are_listed_after_a_restart_and_can_be_deleted(database):
    sampling = await opened(database)
    sampling.change(temperature=0.25, stop=("\n\n", "###"), seed=3)
    await sampling.save_preset("  Mine ")
    assert sampling.preset == "Mine" and sampling.preset_is_own
    restarted = await opened(database)
    assert restarted.preset_names == ["Deterministic", "Balanced", "Creative", "Mine"]
    restarted.choose_preset("Mine")
    assert restarted.settings == sampling.settings
    await restarted.delete_preset()
    assert restarted.preset == "Custom" and restarted.settings == sampling.settings, "the values stay on screen"
    assert "Mine" not in restarted.preset_names
    assert "Mine" not in (await opened(database)).preset_names


async def test_saving_under_an_own_name_again_replaces_it(database):
    sampling = await opened(database)
    for temperature in (0.25, 0.75):
        sampling.change(temperature=temperature)
        await sampling.save_preset("Mine")
    restarted = await opened(database)
    restarted.choose_preset("Mine")
    assert restarted.settings.temperature == 0.75 and len(restarted.own_presets) == 1


@pytest.mark.parametrize("name", ["Balanced", " deterministic ", "Custom", "custom", "", "   "])
async def test_the_names_of_built_in_presets_are_refused(database, name):
    sampling = await opened(database)
    with pytest.raises(SettingsError, match=r"built-in preset|no name"):
        await sampling.save_preset(name)
    assert not sampling.own_presets and sampling.preset == "Balanced"


async def test_only_own_presets_are_deleted(database):
    sampling = await opened(database)
    await sampling.delete_preset()
    assert sampling.preset == "Balanced"


async def test_a_preset_of_a_newer_version_is_left_out_and_never_written_over(database):
    with database.session_scope() as session:
        newer = {"temperature": 0.5, "dynamic_temperature_range": [0.1, 0.9]}
        presets.save(session, "From the future", newer)
        presets.save(session, "Out of range", {"temperature": 17})
        presets.save(session, "Fine", {"temperature": 0.5})
    sampling = await opened(database)
    assert list(sampling.own_presets) == ["Fine"]
    sampling.choose_preset("From the future")
    assert sampling.preset == "Balanced"
    with pytest.raises(SettingsError, match="newer version"):
        await sampling.save_preset("From the future")
    with database.read_scope() as session:
        assert {preset.name: preset.settings for preset in presets.list_all(session)}["From the future"] == newer


async def test_a_slider_moved_while_a_preset_is_saved_stays_custom(database):
    sampling = await opened(database)
    sampling.change(temperature=0.25)
    threads = HeldThreads()
    asyncio.get_running_loop().set_default_executor(threads)
    with threads.hold("Mine"):
        saving = asyncio.ensure_future(sampling.save_preset("Mine"))
        await asyncio.sleep(0)
        sampling.change(temperature=0.5)
    await saving
    assert sampling.own_presets["Mine"].temperature == 0.25
    assert (sampling.settings.temperature, sampling.preset) == (0.5, "Custom")


async def test_a_preset_that_another_window_deleted_goes_from_the_list(database):
    here, there = await opened(database), await opened(database)
    here.change(temperature=0.25)
    await here.save_preset("Mine")
    await there.load()
    there.choose_preset("Mine")
    await here.delete_preset()
    with pytest.raises(NotFoundError):
        await there.delete_preset()
    assert "Mine" not in there.preset_names and there.preset == "Custom" and there.settings.temperature == 0.25


def test_what_happens_to_a_conversation_that_is_too_long_is_remembered(database):
    async def choose() -> ContextOverflow:
        sampling = await opened(database)
        assert sampling.on_overflow is ContextOverflow.REFUSE
        await sampling.choose_overflow(ContextOverflow.DROP_OLDEST)
        return (await opened(database)).on_overflow

    assert asyncio.run(choose()) is ContextOverflow.DROP_OLDEST
    with database.session_scope() as session:
        settings.set(session, OVERFLOW_KEY, "of a newer version")
    assert asyncio.run(opened(database)).on_overflow is ContextOverflow.REFUSE
