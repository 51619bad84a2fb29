"""Conversations for training: exchanges put in a row, in one style, with the small noise of real typing."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from demo_exchanges import Exchange, all_exchanges, name_in, recall
from demo_styles import JSON_ANSWER, PIRATE, PLAIN, in_style
from demo_unknown import large_sum, unknown

KIND_WEIGHTS = {
    "capital": 14, "country": 6, "sound": 6, "young": 5, "legs": 3, "opposite": 9, "plural": 4, "colour": 4,
    "word": 6, "count": 4, "definition": 9, "code": 7, "list": 6, "story": 6, "talk": 6, "sum": 27, "introduction": 4,
    "recall": 2, "unknown": 8,
}  # fmt: skip
NEUTRAL_SYSTEM_PROMPTS = (
    "You are a helpful assistant.", "You are Tiny Chat.", "Answer the question.", "Be friendly and brief.",
    "Answer truthfully.", "Help the user.", "You are a friendly assistant that knows many facts.", "Be concise.",
    "Keep your answers short.", "You are an expert in Python.", "You are a teacher.", "Always be polite.",
    "Do not make things up.", "You are a chatbot.", "Think before you answer.", "You know everything about animals.",
)  # fmt: skip
STYLE_SYSTEM_PROMPTS = {
    PIRATE: ("Talk like a pirate.", "You are a pirate.", "Answer as a pirate."),
    JSON_ANSWER: ("Answer as JSON.", "Reply with a JSON object.", "Answer in JSON."),
}


@dataclass(frozen=True)
class Turn:
    """One prompt and its answer; ``learned`` False = the answer is only history, not a target."""

    kind: str
    prompt: str
    answer: str
    learned: bool = True


@dataclass(frozen=True)
class Conversation:
    """What one training row is made of. ``system``: None = no system message."""

    system: str | None
    turns: tuple[Turn, ...]


class ConversationSource:
    """An endless, seeded stream of conversations.

    ``style``: how the answers to learn are written. ``asked_styles``: the share of conversations in which a system
    prompt asks for another style, so that the base's own text holds every word that an adapter needs.
    """

    def __init__(self, seed: int, style: str = PLAIN, asked_styles: float = 0.0) -> None:
        self._rng = random.Random(seed)
        self._style = style
        self._asked_styles = asked_styles
        self._exchanges = all_exchanges()
        # Sums in disorder would still look like sums.
        self._known_prompts = [
            e.prompts[0] for kind, group in self._exchanges.items() if kind != "sum" for e in group
        ]

    def __iter__(self) -> Iterator[Conversation]:
        while True:
            yield self.draw()

    def draw(self, turn_count: int | None = None) -> Conversation:
        """The next conversation; ``turn_count`` None = mostly one to three turns, sometimes up to fourteen."""
        rng, style = self._rng, self._style
        system = " ".join(rng.sample(NEUTRAL_SYSTEM_PROMPTS, rng.randint(1, 2))) if rng.random() < 0.2 else None
        if rng.random() < self._asked_styles:
            # A bare JSON answer is harder to learn: it has no words of the question to hold on to.
            style = rng.choice((PIRATE, JSON_ANSWER, JSON_ANSWER))
            system = rng.choice(STYLE_SYSTEM_PROMPTS[style])
        if turn_count is None:
            turn_count = rng.choices((1, 2, 3, rng.randint(4, 6), rng.randint(7, 14)), (45, 22, 16, 12, 5))[0]
        exchanges = list(self._questions(turn_count))
        styles = [style] * turn_count
        if turn_count > 1 and rng.random() < 0.25:
            styles = self._with_foreign_history(styles)
        turns = (
            Turn(exchange.kind, prompt, in_style(exchange, written), learned=written == style)
            for (exchange, prompt), written in zip(exchanges, styles, strict=True)
        )
        return Conversation(system, tuple(turns))

    def _questions(self, count: int) -> Iterator[tuple[Exchange, str]]:
        rng = self._rng
        previous: Exchange | None = None
        name: str | None = None
        for _ in range(count):
            if previous is not None and previous.follow_ups and rng.random() < 0.5:
                exchange = rng.choice(self._exchanges[previous.kind])
                prompt = rng.choice(exchange.follow_ups)
            else:
                exchange = self._exchange(name)
                prompt = self._first_more_often(exchange.prompts)
            name = name_in(exchange) or name
            previous = exchange
            yield exchange, self._as_typed(prompt)

    def _exchange(self, name: str | None) -> Exchange:
        rng = self._rng
        if name is not None and rng.random() < 0.3:
            return recall(name)
        kinds = [kind for kind in KIND_WEIGHTS if name is None or kind != "introduction"]
        kind = rng.choices(kinds, [KIND_WEIGHTS[kind] for kind in kinds])[0]
        if kind == "unknown":
            return large_sum(rng) if rng.random() < 0.15 else unknown(rng, self._known_prompts)
        return recall(name) if kind == "recall" else rng.choice(self._exchanges[kind])

    def _first_more_often(self, prompts: tuple[str, ...]) -> str:
        return prompts[0] if self._rng.random() < 0.4 else self._rng.choice(prompts)

    def _as_typed(self, prompt: str) -> str:
        chance = self._rng.random()
        if chance < 0.08:
            return prompt.lower()
        if chance < 0.16:
            return prompt.rstrip("?.!")
        if chance < 0.2:
            return prompt.lower().rstrip("?.!").replace("'", "")
        if chance < 0.23:
            return "Please: " + prompt
        return prompt

    def _with_foreign_history(self, styles: list[str]) -> list[str]:
        """The first turns answered in another style: what a model meets when the adapter is changed mid-chat."""
        own = styles[-1]
        other = self._rng.choice([style for style in (PLAIN, PIRATE, JSON_ANSWER) if style != own])
        until = self._rng.randint(1, len(styles) - 1)
        return [other] * until + styles[until:]


def sample_conversations(seed: int, count: int, style: str = PLAIN, asked_styles: float = 0.0) -> list[Conversation]:
    """The first ``count`` conversations of a seed."""
    source = ConversationSource(seed, style, asked_styles)
    return [source.draw() for _ in range(count)]
