"""Which tokenizer and template apply, and what they make of a conversation."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import processors

from errors import AdapterError, ModelLoadError, PromptError
from helpers.chat_template import PLAIN_FORM, ChatTokenizer, find_chat_format, load_chat_tokenizer
from helpers.local_inference import ChatMessage
from tiny_models import CHAT_TEMPLATE, build_tiny_base, tiny_tokenizer

GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
QUESTION = (ChatMessage("user", "Hello"),)


@pytest.fixture(scope="module")
def base_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_base(tmp_path_factory.mktemp("base-files"))


@pytest.fixture
def base(base_files: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base_files, tmp_path / "base"))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, *, tokenizer: bool = False, template: str | None = None) -> Path:
        path = tmp_path / name
        path.mkdir()
        if tokenizer:
            tiny_tokenizer(chat_template=template).save_pretrained(path)
        elif template is not None:
            (path / "chat_template.jinja").write_text(template)
        return path

    return make


def with_template(base: Path, template: str | None) -> ChatTokenizer:
    (base / "chat_template.jinja").unlink()
    if template is not None:
        (base / "chat_template.jinja").write_text(template)
    return load_chat_tokenizer(find_chat_format(base))


def test_the_adapter_folder_comes_before_the_run_and_the_run_before_the_base(
    base: Path, folder: Callable[..., Path]
) -> None:
    adapter = folder("adapter", tokenizer=True, template="A")
    run = folder("run", tokenizer=True, template="R")
    all_three = find_chat_format(base, adapter, run)
    assert (all_three.tokenizer_source, all_three.template_source, all_three.template) == (
        "adapter folder",
        "adapter folder",
        "A",
    )
    without_adapter = find_chat_format(base, None, run)
    assert (without_adapter.tokenizer_source, without_adapter.template) == ("run folder", "R")
    alone = find_chat_format(base)
    assert (alone.tokenizer_source, alone.template_source, alone.template) == (
        "base model",
        "base model",
        CHAT_TEMPLATE,
    )


def test_template_and_tokenizer_may_come_from_different_folders(base: Path, folder: Callable[..., Path]) -> None:
    found = find_chat_format(base, folder("adapter", template="A"), None)
    assert (found.tokenizer_source, found.template_source, found.template) == ("base model", "adapter folder", "A")


def test_a_tokenizer_without_its_vocabulary_falls_to_the_next_and_says_so(
    base: Path, folder: Callable[..., Path]
) -> None:
    adapter = folder("adapter")
    (adapter / "tokenizer_config.json").write_text(json.dumps({"chat_template": "A"}))
    found = find_chat_format(base, adapter)
    assert (found.tokenizer_source, found.template_source) == ("base model", "adapter folder")
    assert any("adapter folder" in note for note in found.notes)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"chat_template": "T"}, "T"),
        ({"chat_template": [{"name": "tool_use", "template": "U"}, {"name": "default", "template": "D"}]}, "D"),
        ({"chat_template": [{"name": "rag", "template": "G"}]}, "G"),
        ({"chat_template": ["damaged", 3, {"name": "default", "template": "D"}]}, "D"),
        ({"chat_template": {"tool_use": "U", "default": "D"}}, "D"),
    ],
)
def test_a_template_in_the_tokenizer_config_is_found(
    written: dict[str, Any], expected: str, base: Path, folder: Callable[..., Path]
) -> None:
    adapter = folder("adapter")
    (adapter / "tokenizer_config.json").write_text(json.dumps(written))
    assert find_chat_format(base, adapter).template == expected


def test_named_template_files_are_found_the_default_first(base: Path, folder: Callable[..., Path]) -> None:
    adapter = folder("adapter")
    (adapter / "additional_chat_templates").mkdir()
    for name in ("a_first", "default"):
        (adapter / "additional_chat_templates" / f"{name}.jinja").write_text(name)
    assert find_chat_format(base, adapter).template == "default"


def test_a_base_without_a_tokenizer_is_a_clear_error(base: Path) -> None:
    (base / "tokenizer.json").unlink()
    with pytest.raises(ModelLoadError, match="no tokenizer"):
        find_chat_format(base)


def changed_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "tokenizer.json").write_text(""),
        lambda folder: (folder / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes()[:3000]),
        lambda folder: (folder / "tokenizer.json").write_bytes(b"\xff\xfe\x00\x01"),
        lambda folder: (folder / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "Nonsense"}}'),
        lambda folder: (folder / "tokenizer.json").write_text("[1]"),
        lambda folder: changed_json(folder / "tokenizer.json", model=None),
        lambda folder: changed_json(folder / "tokenizer.json", added_tokens=None),
        lambda folder: changed_json(folder / "tokenizer.json", pre_tokenizer={"type": "Unheard-of"}),
        lambda folder: changed_json(folder / "tokenizer_config.json", tokenizer_class=3),
        lambda folder: changed_json(folder / "tokenizer_config.json", eos_token={"content": 1}),
        lambda folder: (folder / "tokenizer.json").rename(folder / "spiece.model"),
    ],
    ids=[
        "empty",
        "truncated",
        "no text",
        "unknown model",
        "no object",
        "no model",
        "no added tokens",
        "unknown step",
        "settings: class",
        "settings: special token",
        "other kind",
    ],
)
def test_a_damaged_tokenizer_is_refused_by_its_folder_and_not_replaced_silently(
    damage: Callable[[Path], object], base: Path, folder: Callable[..., Path]
) -> None:
    adapter = folder("adapter", tokenizer=True)
    damage(adapter)
    found = find_chat_format(base, adapter)
    assert found.tokenizer_source == "adapter folder"
    with pytest.raises(AdapterError, match="adapter") as caught:
        load_chat_tokenizer(found)
    assert "base model's tokenizer" in caught.value.hint
    load_chat_tokenizer(find_chat_format(base))


def test_a_template_that_is_no_text_names_its_file(base: Path) -> None:
    (base / "chat_template.jinja").write_bytes(b"{{ messages }}\xff\xfe")
    with pytest.raises(ModelLoadError, match=r"chat_template\.jinja"):
        find_chat_format(base)


def test_a_template_that_writes_nothing_is_an_error(base: Path) -> None:
    with pytest.raises(PromptError, match="base model writes nothing"):
        with_template(base, "{# to do #}").render(QUESTION)


def test_a_damaged_tokenizer_config_names_its_file(base: Path) -> None:
    (base / "tokenizer_config.json").write_text("{")
    (base / "chat_template.jinja").unlink()
    with pytest.raises(ModelLoadError, match=r"tokenizer_config\.json"):
        find_chat_format(base)


def test_the_prompt_is_what_the_template_writes_without_a_second_bos(base: Path) -> None:
    tokenizer = with_template(base, "<|endoftext|>" + CHAT_TEMPLATE)
    bos_id = tokenizer.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    # A tokenizer that puts a BOS in front of every text, as Llama's does.
    tokenizer.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", bos_id)]
    )
    assert tokenizer.tokenizer("Hello")["input_ids"][0] == bos_id
    rendered = tokenizer.render(QUESTION)
    assert rendered.text.startswith("<|endoftext|><|im_start|>user\nHello")
    assert rendered.token_ids.count(bos_id) == 1
    assert tokenizer.tokenizer.decode(rendered.token_ids) == rendered.text


def test_a_template_without_system_role_gets_the_system_prompt_in_the_first_user_message(base: Path) -> None:
    tokenizer = with_template(base, GEMMA)
    rendered = tokenizer.render((ChatMessage("system", "Be brief."), *QUESTION))
    assert "user\nBe brief.\n\nHello" in rendered.text
    assert len(rendered.notes) == 1 and "system" in rendered.notes[0]
    assert tokenizer.render(QUESTION).notes == ()


def test_a_template_that_drops_the_system_prompt_does_not_lose_it(base: Path) -> None:
    dropping = "{% for m in messages if m['role'] != 'system' %}[{{ m['role'] }}] {{ m['content'] }}{% endfor %}"
    rendered = with_template(base, dropping).render((ChatMessage("system", "Be brief."), *QUESTION))
    assert rendered.text == "[user] Be brief.\n\nHello" and rendered.notes


def test_a_template_with_a_system_role_keeps_it(base: Path) -> None:
    rendered = load_chat_tokenizer(find_chat_format(base)).render((ChatMessage("system", "Be brief."), *QUESTION))
    assert rendered.text.startswith("<|im_start|>system\nBe brief.<|im_end|>") and rendered.notes == ()


def test_without_a_template_the_plain_form_is_used_and_said(base: Path) -> None:
    tokenizer = with_template(base, None)
    messages = (
        ChatMessage("system", "Be brief."),
        *QUESTION,
        ChatMessage("assistant", "Ahoy"),
        ChatMessage("user", "Again"),
    )
    rendered = tokenizer.render(messages)
    assert rendered.text == "Be brief.\nUser: Hello\nAssistant: Ahoy\nUser: Again\nAssistant:"
    assert tokenizer.chat_format.template_source == PLAIN_FORM
    assert any("no chat template" in note for note in tokenizer.chat_format.notes)
    assert tokenizer.stop_texts == ("\nUser:",)


@pytest.mark.parametrize(
    ("template", "named"),
    [("{% for %}", "syntax"), ("{{ raise_exception('Roles must alternate') }}", "Roles must alternate")],
)
def test_a_template_that_fails_says_where_it_came_from_and_why(template: str, named: str, base: Path) -> None:
    tokenizer = with_template(base, template)
    with pytest.raises(PromptError) as caught:
        tokenizer.render(QUESTION)
    assert "base model" in caught.value.message
    assert named in caught.value.message or "expected" in caught.value.message.lower()


def test_stop_ids_are_the_union_of_tokenizer_generation_config_and_template(base: Path) -> None:
    (base / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    template = CHAT_TEMPLATE.replace("<|im_end|>", "<|pad|>")
    tokenizer = with_template(base, template)
    ids = {name: tokenizer.tokenizer.convert_tokens_to_ids(name) for name in ("<|im_end|>", "<|pad|>")}
    assert tokenizer.stop_ids == {7, 9, ids["<|im_end|>"], ids["<|pad|>"]}
    assert tokenizer.stop_texts == ()


def test_an_end_of_turn_that_is_no_token_becomes_a_stop_sequence(base: Path) -> None:
    tokenizer = with_template(base, CHAT_TEMPLATE.replace("<|im_end|>", "<|eot|>"))
    assert tokenizer.stop_texts == ("<|eot|>",)


def test_a_template_that_ends_turns_with_the_next_header_stops_there(base: Path) -> None:
    template = "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}{% endfor %}"
    tokenizer = with_template(base, template)
    assert tokenizer.tokenizer.convert_tokens_to_ids("<|im_start|>") in tokenizer.stop_ids


def test_a_base_whose_tokenizer_is_a_sentencepiece_model_alone(tmp_path: Path) -> None:
    """As older Llama bases are saved: tokenizer.model, and no tokenizer.json."""
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"hello world number {i}, the cat says meow" for i in range(300)), encoding="utf-8")
    base = tmp_path / "base"
    base.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(base / "tokenizer"), vocab_size=90, model_type="bpe", minloglevel=2
    )
    (base / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 90}))
    (base / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"})
    )

    chat = load_chat_tokenizer(find_chat_format(base))

    assert chat.tokenizer.decode(chat.tokenizer("hello cat").input_ids, skip_special_tokens=True) == "hello cat"
