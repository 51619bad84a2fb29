"""Ask the demo models every question of the data set, alone and after other turns, and count the exact answers."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from demo_exchanges import Exchange
from demo_model import messages_of
from demo_styles import in_style
from demo_text import ConversationSource
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Case:
    """A conversation up to a question, and the answer that is right."""

    kind: str
    messages: Messages
    expected: str


@dataclass
class Score:
    """How many answers were exactly right, by kind, and the ones that were not."""

    asked: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[Case, str]] = field(default_factory=list)

    @property
    def share_right(self) -> float:
        return 1 - len(self.wrong) / max(1, self.asked.total())


def load(base: Path, adapter: Path | None, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Plain transformers and PEFT, as any other program would load them."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    return model.eval(), AutoTokenizer.from_pretrained(base)


def single_turn_cases(exchanges: Iterable[Exchange], style: str) -> list[Case]:
    """Each exchange asked in its plainest form."""
    return [Case(e.kind, [{"role": "user", "content": e.prompts[0]}], in_style(e, style)) for e in exchanges]


def later_turn_cases(style: str, seed: int, count: int, turns: int) -> list[Case]:
    """The last of ``turns`` turns, with follow-up questions, drawn like the training text but from another seed."""
    source = ConversationSource(seed, style)
    conversations = [source.draw(turns) for _ in range(count)]
    return [Case(c.turns[-1].kind, messages_of(c)[:-1], c.turns[-1].answer) for c in conversations]


@torch.inference_mode()
def answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    conversations: list[Messages],
    *,
    temperature: float = 0.0,
    repetition_penalty: float = 1.1,
    max_new_tokens: int = 200,
    batch_size: int = 64,
) -> list[str]:
    """The model's answers, in the order asked. Temperature 0 = greedy."""
    tokenizer.padding_side = "left"
    order = sorted(range(len(conversations)), key=lambda i: sum(len(m["content"]) for m in conversations[i]))
    found: dict[int, str] = {}
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        texts = [
            tokenizer.apply_chat_template(conversations[i], tokenize=False, add_generation_prompt=True)
            for i in chosen
        ]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        batch.pop("token_type_ids", None)
        output = model.generate(
            **batch, max_new_tokens=max_new_tokens, repetition_penalty=repetition_penalty, **sampling
        )
        new = output[:, batch["input_ids"].shape[1] :]
        found |= dict(zip(chosen, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True))
    return [found[i] for i in range(len(conversations))]


def score(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, cases: list[Case], **settings: float) -> Score:
    """Ask all cases; an answer counts when it is exactly the expected text."""
    result = Score()
    for case, answer in zip(cases, answers(model, tokenizer, [c.messages for c in cases], **settings), strict=True):
        result.asked[case.kind] += 1
        if answer != case.expected:
            result.wrong.append((case, answer))
    return result
