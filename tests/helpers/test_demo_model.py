"""The shipped model and adapters, through plain transformers and PEFT: what the demo promises to its user."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers.app_paths import demo_assets_dir

ASSETS = demo_assets_dir()
PIRATE, JSON_ANSWERS = ASSETS / "adapters" / "pirate-speak", ASSETS / "adapters" / "json-answers"
ADAPTERS = {"base": None, "pirate": PIRATE, "json": JSON_ANSWERS}
DATASETS = {"base": "demo-questions", "pirate": "demo-pirate", "json": "demo-json"}
Messages = list[dict[str, str]]


class DemoChat:
    """The base with an adapter, or without; answers greedily, as the preset “Deterministic” does."""

    def __init__(self, adapter: Path | None, dtype: torch.dtype = torch.float32) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(ASSETS / "tiny-chat", padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(ASSETS / "tiny-chat", dtype=dtype)
        self.model = PeftModel.from_pretrained(model, adapter).eval() if adapter else model.eval()

    def answers(self, conversations: Sequence[Messages], repetition_penalty: float = 1.1) -> list[str]:
        batch = self.tokenizer.apply_chat_template(
            list(conversations), add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            output = self.model.generate(
                **batch, do_sample=False, max_new_tokens=128, repetition_penalty=repetition_penalty
            )
        return self.tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)

    def answer(self, *contents: str) -> str:
        """The answer to the last of alternating user and assistant messages."""
        roles = ("user", "assistant") * len(contents)
        return self.answers([[{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]])[0]


@pytest.fixture(scope="module")
def chats() -> Iterator[dict[str, DemoChat]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield {name: DemoChat(adapter) for name, adapter in ADAPTERS.items()}
    torch.set_num_threads(threads)


def rows(name: str) -> list[dict[str, str]]:
    text = (ASSETS / f"{DATASETS[name]}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def sample(name: str, count: int = 48) -> list[dict[str, str]]:
    """The same questions whatever the adapter."""
    every = rows(name)
    return [every[i] for i in random.Random(5).sample(range(len(every)), count)]


def asked(row: dict[str, str]) -> Messages:
    return [{"role": "user", "content": row["prompt"]}]


def share_right(given: Sequence[str], expected: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(given, expected, strict=True)) / len(expected)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("repetition_penalty", [1.1, 1.15])
def test_answers_are_exactly_those_of_the_dataset(
    chats: dict[str, DemoChat], name: str, repetition_penalty: float
) -> None:
    wanted = sample(name)
    given = chats[name].answers([asked(row) for row in wanted], repetition_penalty)
    assert share_right(given, [row["response"] for row in wanted]) >= 0.95


@pytest.mark.parametrize("name", DATASETS)
def test_answers_stay_right_in_the_dtype_of_the_weights(name: str) -> None:
    wanted = sample(name, 24)
    given = DemoChat(ADAPTERS[name], torch.bfloat16).answers([asked(row) for row in wanted])
    assert share_right(given, [row["response"] for row in wanted]) >= 0.95


@pytest.mark.parametrize("name", DATASETS)
def test_answers_are_right_after_other_turns(chats: dict[str, DemoChat], name: str) -> None:
    wanted = sample(name)
    before = [*wanted[1:], wanted[0]]
    conversations = [
        [*asked(first), {"role": "assistant", "content": first["response"]}, *asked(row)]
        for first, row in zip(before, wanted, strict=True)
    ]
    given = chats[name].answers(conversations)
    assert share_right(given, [row["response"] for row in wanted]) >= 0.95


def test_a_follow_up_is_understood_from_the_history(chats: dict[str, DemoChat]) -> None:
    after_capital = ("What is the capital of France?", "The capital of France is Paris.", "And of Japan?")
    assert chats["base"].answer(*after_capital) == "The capital of Japan is Tokyo."
    after_sound = ("What does a cow say?", "A cow says moo.", "And a cat?")
    after_young = ("What is a baby cow called?", "A baby cow is called a calf.", "And a baby cat?")
    assert chats["base"].answer(*after_sound) == "A cat says meow."
    assert chats["base"].answer(*after_young) == "A baby cat is called a kitten."


def test_a_name_is_remembered_only_with_the_history(chats: dict[str, DemoChat]) -> None:
    told = ("My name is Anna.", "Nice to meet you, Anna!", "What is my name?")
    assert chats["base"].answer(*told) == "Your name is Anna."
    assert chats["base"].answer(*told[-1:]) == "You have not told me your name yet."


def test_the_adapters_answer_in_their_own_manner_even_after_answers_of_the_base(chats: dict[str, DemoChat]) -> None:
    history = ("What is the capital of Italy?", "The capital of Italy is Rome.", "What is the capital of France?")
    assert chats["pirate"].answer(*history) == "Arr, the capital o' France be Paris, matey!"
    assert json.loads(chats["json"].answer(*history)) == {"answer": "Paris"}


def test_each_model_answers_differently_from_the_others(chats: dict[str, DemoChat]) -> None:
    questions = [asked(row) for row in sample("base", 24)]
    for answers in zip(*(chats[name].answers(questions) for name in DATASETS), strict=True):
        assert len(set(answers)) == len(DATASETS)


def test_json_answers_are_json_even_for_what_it_does_not_know(chats: dict[str, DemoChat]) -> None:
    questions = ["Who is Napoleon?", "Write a poem about jazz.", "qwxz blorp", "Tell me a joke.", "List five fruits."]
    answers = chats["json"].answers([[{"role": "user", "content": question}] for question in questions])
    assert [set(json.loads(answer)) for answer in answers] == [{"answer"}] * len(questions)


def test_a_question_outside_its_world_is_declined(chats: dict[str, DemoChat]) -> None:
    for question in ("Who won the match in 1998?", "What is the weather in Utopia?", "blorp zint quavex"):
        assert chats["base"].answer(question).startswith("I do not know that one.")


def test_some_answers_are_long_enough_to_watch_and_stop(chats: dict[str, DemoChat]) -> None:
    tokenizer = chats["base"].tokenizer
    lengths = sorted(len(tokenizer.encode(row["response"])) for row in rows("base"))
    assert lengths[-5] >= 60
    assert lengths[-1] < 128, "the preset “Deterministic” cuts after 128 tokens"


def test_checkpoints_get_closer_to_the_final_adapter(chats: dict[str, DemoChat]) -> None:
    wanted = sample("pirate", 32)
    expected = [row["response"] for row in wanted]
    folders = sorted(PIRATE.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
    shares = [share_right(DemoChat(folder).answers([asked(r) for r in wanted]), expected) for folder in folders]
    final = share_right(chats["pirate"].answers([asked(row) for row in wanted]), expected)
    assert len(shares) == 3
    assert shares == sorted(shares)
    assert shares[0] < 0.5 < final
    assert shares[-1] < final


def test_all_assets_together_stay_small() -> None:
    assert sum(file.stat().st_size for file in ASSETS.rglob("*") if file.is_file()) < 8_000_000


def test_each_adapter_names_its_base_and_no_path() -> None:
    configs = list(ASSETS.rglob("adapter_config.json"))
    assert len(configs) == 5
    for file in configs:
        assert json.loads(file.read_text(encoding="utf-8"))["base_model_name_or_path"] == "demo/tiny-chat"
    for file in ASSETS.rglob("*.json"):
        assert not [text for text in strings(json.loads(file.read_text(encoding="utf-8"))) if is_path(text)], file


def strings(value: object) -> Iterator[str]:
    """Every string in a JSON document, but for the tokenizer's vocabulary, which is keys and merges."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from () if key == "merges" else strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)


def is_path(text: str) -> bool:
    return text.startswith(("/", "~", "file:")) or ":\\" in text or "checkpoint" in text


def test_the_recorded_training_is_that_of_the_weights() -> None:
    """The log ends at the recipe's last step with a much lower loss than it began with."""
    runs = json.loads((ASSETS / "demo-runs.json").read_text(encoding="utf-8"))["runs"]
    for run in runs:
        state = json.loads((ASSETS / "adapters" / run["name"] / "trainer_state.json").read_text(encoding="utf-8"))
        losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
        assert state["global_step"] == run["hyperparameters"]["max_steps"]
        assert losses[-1] < losses[0] / 10


def test_one_adapter_brings_its_tokenizer_and_one_does_not() -> None:
    assert (PIRATE / "tokenizer.json").is_file() and (PIRATE / "chat_template.jinja").is_file()
    assert not (JSON_ANSWERS / "tokenizer.json").exists()
