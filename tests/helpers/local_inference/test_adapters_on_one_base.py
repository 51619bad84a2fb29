"""One base serves all adapters; what does not fit is refused before it answers."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine_requests import request_for, result_of
from errors import AdapterError
from helpers.local_inference import GenerationEvent, ModelLoading, ModelReady, TextDelta
from helpers.local_inference.base_model_cache import LoadedBase
from helpers.local_inference.engine import Engine
from tiny_models import build_tiny_adapter, build_tiny_base

WEIGHTS = "adapter_model.safetensors"


def answer(engine: Engine, base: Path, adapter: Path | None = None) -> tuple[int, ...]:
    return result_of(engine.stream(request_for(base, adapter))).token_ids


def only_base(engine: Engine) -> LoadedBase:
    (loaded,) = engine.bases.loaded
    return loaded


def refused(engine: Engine, base: Path, adapter: Path) -> AdapterError:
    with pytest.raises(AdapterError) as caught:
        answer(engine, base, adapter)
    assert caught.value.hint
    return caught.value


@pytest.fixture
def copy(adapter: Path, tmp_path: Path) -> Path:
    """The adapter in a folder that the test may change."""
    return Path(shutil.copytree(adapter, tmp_path / "copy"))


def test_each_adapter_keeps_its_own_answer_whatever_was_asked_before(
    base: Path, adapter: Path, other_adapter: Path, engine: Engine
) -> None:
    alone, first, other = (answer(engine, base, path) for path in (None, adapter, other_adapter))
    assert len({alone, first, other}) == 3
    for path, expected in ((adapter, first), (None, alone), (other_adapter, other), (adapter, first), (None, alone)):
        assert answer(engine, base, path) == expected


def test_several_adapters_share_the_same_base_weights(
    base: Path, adapter: Path, other_adapter: Path, engine: Engine
) -> None:
    answer(engine, base)
    weights = {parameter.data_ptr() for parameter in only_base(engine).model.parameters()}
    answer(engine, base, adapter)
    answer(engine, base, other_adapter)
    now = [parameter for parameter in only_base(engine).model.parameters()]
    assert engine.bases.loads == 1
    assert weights <= {parameter.data_ptr() for parameter in now}
    assert not any(parameter.requires_grad for parameter in now)


def test_a_second_answer_loads_nothing(base: Path, adapter: Path, engine: Engine) -> None:
    def events() -> list[GenerationEvent]:
        return list(engine.stream(request_for(base, adapter), report=seen.append))

    seen: list[ModelLoading] = []
    first = next(event for event in events() if isinstance(event, ModelReady))
    assert first.seconds > 0 and seen
    seen.clear()
    second = next(event for event in events() if isinstance(event, ModelReady))
    assert second.seconds == 0 and not seen and engine.bases.loads == 1


def test_loading_reports_the_bytes_that_are_done(base: Path, engine: Engine) -> None:
    seen: list[ModelLoading] = []
    result_of(engine.stream(request_for(base), report=seen.append))
    done = [event.done_bytes for event in seen]
    assert done == sorted(done) and done[0] == 0 and seen[-1].done_bytes == seen[-1].total_bytes


def test_another_kind_of_adapter_takes_the_place_without_loading_the_base_again(
    base: Path, adapter: Path, tmp_path: Path, engine: Engine
) -> None:
    ia3 = build_tiny_adapter(base, tmp_path / "ia3", "ia3")
    alone, first, other = answer(engine, base), answer(engine, base, adapter), answer(engine, base, ia3)
    assert other not in (alone, first)
    assert answer(engine, base, adapter) == first
    assert answer(engine, base) == alone
    assert engine.bases.loads == 1


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_adapters_that_train_the_same_module_in_different_ways_take_turns(
    base: Path, adapter: Path, tmp_path: Path, engine: Engine
) -> None:
    ways: list[dict[str, Any]] = [
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {"trainable_token_indices": [40, 41, 42]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"peft_type": "ia3"},
    ]
    adapters = [None, adapter]
    adapters += [build_tiny_adapter(base, tmp_path / str(number), **way) for number, way in enumerate(ways)]
    expected = {path: answer(Engine(), base, path) for path in adapters}
    assert len(set(expected.values())) == len(adapters)
    for first, second in itertools.permutations(adapters, 2):
        assert answer(engine, base, first) == expected[first], first
        assert answer(engine, base, second) == expected[second], (first, second)


def test_an_adapter_trained_again_at_the_same_path_is_read_again(
    base: Path, copy: Path, other_adapter: Path, engine: Engine
) -> None:
    before = answer(engine, base, copy)
    shutil.copy(other_adapter / WEIGHTS, copy / WEIGHTS)
    after = answer(engine, base, copy)
    assert after == answer(engine, base, other_adapter) != before
    assert engine.bases.loads == 1


def test_a_base_whose_files_changed_is_loaded_again(tmp_path: Path, engine: Engine) -> None:
    folder = build_tiny_base(tmp_path / "base", seed=1)
    before = answer(engine, folder)
    build_tiny_base(folder, seed=2)
    assert answer(engine, folder) != before


def test_dozens_of_checkpoints_do_not_pile_up(base: Path, adapter: Path, tmp_path: Path, engine: Engine) -> None:
    expected = answer(engine, base, adapter)
    for number in range(17):
        answer(engine, base, Path(shutil.copytree(adapter, tmp_path / f"checkpoint-{number}")))
    assert only_base(engine).adapters.attached == 16
    assert answer(engine, base, adapter) == expected


@pytest.mark.parametrize("weights_file", ["adapter_model.safetensors", "adapter_model.bin"])
def test_missing_weights_stop_the_load_with_their_names(
    weights_file: str, base: Path, adapter: Path, copy: Path, engine: Engine
) -> None:
    expected = answer(engine, base, adapter)
    tensors = load_file(copy / WEIGHTS)
    lost = sorted(tensors)[3]
    del tensors[lost]
    write_weights(copy, weights_file, tensors)
    assert lost in refused(engine, base, copy).message
    assert answer(engine, base, adapter) == expected


def test_unexpected_weights_stop_the_load_with_their_names(
    base: Path, adapter: Path, copy: Path, engine: Engine
) -> None:
    alone = answer(engine, base)
    strange = "base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight"
    write_weights(copy, WEIGHTS, {**load_file(copy / WEIGHTS), strange: torch.zeros(4, 32)})
    assert strange in refused(engine, base, copy).message
    assert answer(engine, base) == alone
    assert engine.bases.loads == 1


def test_a_missing_trained_embedding_stops_the_load_with_its_name(base: Path, tmp_path: Path, engine: Engine) -> None:
    saved = build_tiny_adapter(base, tmp_path / "saved", modules_to_save=["lm_head"])
    tensors = load_file(saved / WEIGHTS)
    del tensors["base_model.model.lm_head.weight"]
    write_weights(saved, WEIGHTS, tensors)
    assert "lm_head" in refused(engine, base, saved).message


def test_an_adapter_of_a_wider_base_is_refused_and_the_base_stays_usable(
    base: Path, adapter: Path, tmp_path: Path, engine: Engine
) -> None:
    expected = answer(engine, base, adapter)
    wide = build_tiny_base(tmp_path / "wide", hidden_size=64)
    foreign = build_tiny_adapter(wide, tmp_path / "foreign")
    assert "do not fit" in refused(engine, base, foreign).message
    assert answer(engine, base, adapter) == expected


def test_target_modules_the_base_lacks_are_named(base: Path, adapter: Path, copy: Path, engine: Engine) -> None:
    expected = answer(engine, base, adapter)
    change_config(copy, target_modules=["c_attn"])
    assert "c_attn" in refused(engine, base, copy).message
    assert answer(engine, base, adapter) == expected


def test_pickled_weights_are_read_as_weights_only(base: Path, adapter: Path, copy: Path, engine: Engine) -> None:
    write_weights(copy, "adapter_model.bin", load_file(copy / WEIGHTS))
    assert answer(engine, base, copy) == answer(engine, base, adapter)


def test_a_pickle_that_would_run_code_is_not_opened(base: Path, copy: Path, tmp_path: Path, engine: Engine) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "was-here",)

    (copy / WEIGHTS).unlink()
    torch.save({"weight": Attack()}, copy / "adapter_model.bin")
    assert "adapter_model.bin" in refused(engine, base, copy).message
    assert not (tmp_path / "was-here").exists()


def test_unset_keys_of_a_newer_peft_are_left_out_and_the_file_stays_as_it_is(
    base: Path, adapter: Path, copy: Path, engine: Engine
) -> None:
    change_config(copy, brand_new_option=None, another_one=False, third={})
    before = (copy / "adapter_config.json").read_bytes()
    assert answer(engine, base, copy) == answer(engine, base, adapter)
    assert (copy / "adapter_config.json").read_bytes() == before


def test_set_keys_of_a_newer_peft_are_refused_by_name(base: Path, copy: Path, engine: Engine) -> None:
    change_config(copy, brand_new_option=3, peft_version="9.1.0")
    error = refused(engine, base, copy)
    assert "brand_new_option" in error.message and "9.1.0" in error.hint


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"peft_type": "FUTURE_LORA"}, "FUTURE_LORA"),
        ({"peft_type": None}, "adapter type"),
        ({"task_type": "SEQ_CLS"}, "SEQ_CLS"),
        ({"r": "many"}, "adapter"),
    ],
)
def test_a_config_that_cannot_be_used_says_why(
    changes: dict[str, Any], named: str, base: Path, copy: Path, engine: Engine
) -> None:
    change_config(copy, **changes)
    assert named in refused(engine, base, copy).message


def test_a_prompt_learning_adapter_is_refused_by_its_type(base: Path, tmp_path: Path, engine: Engine) -> None:
    soft = build_tiny_adapter(base, tmp_path / "soft", "prompt_tuning")
    assert "PROMPT_TUNING" in refused(engine, base, soft).message


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: shutil.rmtree(folder),
        lambda folder: (folder / "adapter_config.json").unlink(),
        lambda folder: (folder / "adapter_config.json").write_text("{"),
        lambda folder: (folder / WEIGHTS).unlink(),
        lambda folder: (folder / WEIGHTS).write_bytes(b""),
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100]),
    ],
    ids=["folder gone", "no config", "damaged config", "no weights", "empty weights", "truncated weights"],
)
def test_a_damaged_folder_is_refused_and_the_next_request_works(
    damage: Any, base: Path, adapter: Path, copy: Path, engine: Engine
) -> None:
    damage(copy)
    assert str(copy) in refused(engine, base, copy).message
    assert any(isinstance(event, TextDelta) for event in engine.stream(request_for(base, adapter)))


def write_weights(folder: Path, name: str, tensors: dict[str, torch.Tensor]) -> None:
    (folder / WEIGHTS).unlink()
    if name.endswith(".bin"):
        torch.save(tensors, folder / name)
    else:
        save_file(tensors, folder / name)


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **changes}))
