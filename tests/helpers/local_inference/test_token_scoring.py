"""Scores of a given answer are those of a plain forward pass of transformers and PEFT."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from engine_requests import request_for, result_of
from errors import EmptyPromptError, PromptTooLongError
from helpers.local_inference import ChatMessage, ModelProcess, ModelSelection, ScoreRequest
from helpers.local_inference.engine import Engine
from tiny_models import build_tiny_base, tiny_tokenizer

MESSAGES = (ChatMessage("user", "Say hello to the sailor."),)


def request(base: Path, adapter: Path | None, answer: str | tuple[int, ...]) -> ScoreRequest:
    return ScoreRequest(ModelSelection(str(base), str(adapter) if adapter else None), MESSAGES, answer)


@pytest.mark.parametrize("repeats", [1, 40])
def test_scores_equal_a_plain_forward_pass(repeats: int, base: Path, adapter: Path, engine: Engine) -> None:
    text = "Ahoy, the answer is 東京, matey! " * repeats
    scores = engine.score(request(base, adapter, text))
    prompt = list(
        tiny_tokenizer().apply_chat_template(
            [{"role": "user", "content": MESSAGES[0].content}], add_generation_prompt=True, return_dict=False
        )
    )
    ids = [token.token_id for token in scores.tokens]
    assert "".join(token.text for token in scores.tokens) == text + "<|im_end|>"
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    rows = slice(len(prompt) - 1, -1)
    with torch.inference_mode():
        # What a trainer reports for this sample when it counts the answer alone.
        labels = torch.tensor([[-100] * len(prompt) + ids])
        assert float(model(torch.tensor([prompt + ids]), labels=labels).loss) == pytest.approx(
            scores.adapter_loss, abs=1e-4
        )
        adapted = model(torch.tensor([prompt + ids])).logits[0, rows].log_softmax(-1)
        with model.disable_adapter():
            plain = model(torch.tensor([prompt + ids])).logits[0, rows].log_softmax(-1)
    for expected, found, loss, tops in (
        (
            adapted,
            [t.adapter_logprob for t in scores.tokens],
            scores.adapter_loss,
            [t.adapter_top for t in scores.tokens],
        ),
        (plain, [t.base_logprob for t in scores.tokens], scores.base_loss, [t.base_top for t in scores.tokens]),
    ):
        wanted = expected.gather(1, torch.tensor(ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(found), wanted, atol=1e-4, rtol=1e-4)
        assert loss == pytest.approx(-float(wanted.mean()), abs=1e-4)
        assert [top.token_id for top in tops if top is not None] == expected.argmax(-1).tolist()


def test_an_answer_is_tokenised_as_the_template_ends_a_turn(base: Path, engine: Engine) -> None:
    tokenizer = tiny_tokenizer()
    turns = [{"role": "user", "content": MESSAGES[0].content}, {"role": "assistant", "content": "Ahoy, matey!"}]
    prompt = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True, return_dict=False)
    whole = tokenizer.apply_chat_template(turns, return_dict=False)
    scores = engine.score(request(base, None, "Ahoy, matey!"))
    ids = [token.token_id for token in scores.tokens]
    # The template's newline after the turn is nothing that a model writes.
    assert [*prompt, *ids, *tokenizer("\n")["input_ids"]] == whole and ids[-1] == tokenizer.eos_token_id
    without = engine.score(replace(request(base, None, "Ahoy, matey!"), with_end_of_turn=False))
    assert [token.token_id for token in without.tokens] == ids[:-1] and without.base_loss != scores.base_loss


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (None, "<|im_end|>"),
        (
            "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}\n{% endfor %}"
            "{% if add_generation_prompt %}[assistant]{% endif %}",
            "",
        ),
    ],
)
def test_an_answer_is_scored_where_the_template_writes_no_end_of_turn(
    template: str | None, end: str, tmp_path: Path
) -> None:
    base = build_tiny_base(tmp_path / "base", chat_template=template)
    for with_end in (True, False):
        scored = Engine().score(replace(request(base, None, "Ahoy"), with_end_of_turn=with_end))
        text = "".join(token.text for token in scored.tokens)
        assert text.strip() == ("Ahoy" + end if with_end else "Ahoy")


def test_bytes_that_never_became_a_character_are_counted(base: Path, engine: Engine) -> None:
    whole = tuple(tiny_tokenizer()("Ahoy 東")["input_ids"])
    scores = engine.score(request(base, None, whole[:-1]))
    assert len(scores.tokens) == len(whole) - 1
    assert "".join(token.text for token in scores.tokens) == "Ahoy "


def test_scores_use_what_is_known_and_stay_the_same(base: Path, adapter: Path, engine: Engine) -> None:
    asked = request_for(base, adapter, MESSAGES[0].content)
    answer = result_of(engine.stream(asked)).token_ids
    wanted = Engine(prefix_bytes=0).score(request(base, adapter, answer))
    for _ in range(2):
        scores = engine.score(request(base, adapter, answer))
        torch.testing.assert_close(scores.adapter_loss, wanted.adapter_loss, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(scores.base_loss, wanted.base_loss, atol=1e-4, rtol=1e-4)
    again = result_of(engine.stream(asked))
    assert again.token_ids == answer and again.cached_tokens >= again.prompt_tokens - 1


def test_a_strength_never_scores_with_what_another_computed(base: Path, adapter: Path, engine: Engine) -> None:
    for strength in (1.0, 0.5, 0.0, 1.0):
        model = ModelSelection(str(base), str(adapter), adapter_strength=strength)
        asked = ScoreRequest(model, MESSAGES, "Ahoy, matey!")
        fresh = Engine(prefix_bytes=0).score(asked)
        scores = engine.score(asked)
        assert scores.adapter_loss == pytest.approx(fresh.adapter_loss, abs=1e-4)
        assert (scores.adapter_loss == pytest.approx(scores.base_loss, abs=1e-4)) == (strength == 0)


def test_the_base_alone_has_no_adapter_scores(base: Path, engine: Engine) -> None:
    scores = engine.score(request(base, None, (70, 71)))
    assert scores.adapter_loss is None and scores.base_loss is not None and len(scores.tokens) == 2


def test_answers_that_cannot_be_scored_say_why(tmp_path: Path, engine: Engine) -> None:
    base = build_tiny_base(tmp_path / "base", max_position_embeddings=64)
    with pytest.raises(EmptyPromptError):
        engine.score(request(base, None, ""))
    with pytest.raises(PromptTooLongError):
        engine.score(request(base, None, (70,) * 100))


def test_the_model_process_scores_in_its_turn(
    base: Path, adapter: Path, engine: Engine, shared_model_process: ModelProcess
) -> None:
    handle = shared_model_process.submit(request_for(base, adapter))
    future = shared_model_process.score(request(base, adapter, "Ahoy"))
    wanted = engine.score(request(base, adapter, "Ahoy")).adapter_loss
    assert future.result(60).adapter_loss == pytest.approx(wanted, abs=1e-4)
    assert handle.finished
    with pytest.raises(EmptyPromptError):
        shared_model_process.score(request(base, adapter, "")).result(60)


def test_a_cancelled_scoring_ends_and_the_process_goes_on(
    base: Path, adapter: Path, shared_model_process: ModelProcess
) -> None:
    long = (70,) * 60_000
    running, waiting = (shared_model_process.score(request(base, adapter, long)) for _ in range(2))
    assert running.cancel() and waiting.cancel()
    started = time.monotonic()
    assert shared_model_process.score(request(base, adapter, "Ahoy")).result(60).adapter_loss
    assert time.monotonic() - started < 20
    assert running.cancelled() and waiting.cancelled()
