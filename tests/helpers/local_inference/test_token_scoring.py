"""Scores of a given answer are those of a plain forward pass of transformers and PEFT."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from engine_requests import request_for
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
    assert "".join(token.text for token in scores.tokens) == text
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    rows = slice(len(prompt) - 1, -1)
    with torch.inference_mode():
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
    assert future.result(60).adapter_loss == engine.score(request(base, adapter, "Ahoy")).adapter_loss
    assert handle.finished
    with pytest.raises(EmptyPromptError):
        shared_model_process.score(request(base, adapter, "")).result(60)
