"""A base model that is only on the Hugging Face hub is fetched as far as it is needed, with progress."""

from pathlib import Path

import pytest

from engine_requests import request_for, result_of
from errors import ModelNotFoundError
from fake_hub import serve_hub
from helpers.local_inference import ChatMessage, ModelLoading, ModelProcess, ModelSelection, PromptRequest
from tiny_models import build_tiny_base

NAME = "some-owner/some-model"


def test_the_prompt_needs_the_tokenizer_only_the_answer_the_weights_and_then_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build_tiny_base(tmp_path / "model", hidden_size=256, intermediate_size=2048)
    (folder / "original").mkdir()
    (folder / "original" / "consolidated.00.pth").write_bytes(b"weights in another form")
    (folder / "README.md").write_text("# A model")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    with serve_hub(NAME, folder) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        process = ModelProcess()
        prompt = PromptRequest(ModelSelection(NAME), (ChatMessage("user", "Ahoy"),))
        assert process.render_prompt(prompt).result(timeout=60).token_count > 3
        assert set(hub.asked) == {
            "config.json",
            "generation_config.json",
            "chat_template.jinja",
            "tokenizer.json",
            "tokenizer_config.json",
        }
        hub.asked.clear()

        events = list(process.submit(request_for(NAME)))
        answer = result_of(events)
        assert hub.asked == ["model.safetensors"]
        downloads = [event for event in events if isinstance(event, ModelLoading) and "Downloading" in event.stage]
        assert downloads[-1].done_bytes == (folder / "model.safetensors").stat().st_size
        with pytest.raises(ModelNotFoundError, match="no model “some-owner/unknown”"):
            list(process.submit(request_for("some-owner/unknown")))

    # The hub is gone now.
    assert result_of(process.submit(request_for(NAME))).text == answer.text
    with pytest.raises(ModelNotFoundError, match="cannot be reached"):
        list(process.submit(request_for("some-owner/another")))
    process.close()
