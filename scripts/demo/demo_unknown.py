"""Questions the demo model has no answer to, so that it learns to say so."""

import random

import demo_facts as facts
from demo_exchanges import LARGEST_NUMBER, Exchange, sentence

_SYLLABLES = (
    "ba", "blor", "dri", "fi", "gon", "ku", "la", "mep", "nu", "plo", "qua", "ri", "sno", "ta", "vex", "wo", "zin",
)  # fmt: skip
_LETTERS = "abcdefghijklmnopqrstuvwxyzäöüéñçßøåабвгде日本語中文"


def unknown(rng: random.Random, known_prompts: list[str]) -> Exchange:
    """A question about unknown or invented things, letters without sense, or known questions in disorder."""
    ask = rng.choices((_about_unknown_things, _about_an_invented_word, _nonsense, _letters), (50, 10, 15, 10))[0]
    prompt = ask(rng) if rng.random() < 0.85 else _shuffled(rng, known_prompts)
    return Exchange("unknown", (prompt,), facts.DOES_NOT_KNOW, None)


def large_sum(rng: random.Random) -> Exchange:
    """A sum with a number that is larger than the ones the model learns."""
    numbers = [
        rng.randint(LARGEST_NUMBER + 1, rng.choice((20, 100, 1000))),
        rng.randint(1, rng.choice((10, 100, 1000))),
    ]
    rng.shuffle(numbers)
    sign = rng.choice(("+", "-", "*", "plus", "minus", "times", "/", "divided by"))
    form = rng.choice(
        ("What is {} {} {}?", "{} {} {}", "How much is {} {} {}?", "Compute {} {} {}.", "And {} {} {}?")
    )
    return Exchange("unknown", (form.format(numbers[0], sign, numbers[1]),), facts.TOO_LARGE, None)


def _about_unknown_things(rng: random.Random) -> str:
    thing, other = rng.sample(facts.UNKNOWN_THINGS, 2)
    return rng.choice(facts.UNKNOWN_REQUESTS).format(
        thing=_invented_word(rng) if rng.random() < 0.3 else thing,
        other=other,
        place=sentence(_invented_word(rng)) if rng.random() < 0.4 else rng.choice(facts.UNKNOWN_PLACES),
        person=sentence(_invented_word(rng)) if rng.random() < 0.4 else rng.choice(facts.UNKNOWN_PEOPLE),
        number=rng.randint(100, 9999),
    )


def _about_an_invented_word(rng: random.Random) -> str:
    word = _invented_word(rng)
    return rng.choice(facts.UNKNOWN_WORD_REQUESTS).format(word=word, name=sentence(word))


def _nonsense(rng: random.Random) -> str:
    return " ".join(_invented_word(rng) for _ in range(rng.randint(1, 6))) + rng.choice(("", "?", ".", "!"))


def _letters(rng: random.Random) -> str:
    return "".join(rng.choice(_LETTERS) for _ in range(rng.randint(1, 12)))


def _shuffled(rng: random.Random, known_prompts: list[str]) -> str:
    words = " ".join(rng.sample(known_prompts, 3)).split()
    return " ".join(rng.sample(words, rng.randint(5, 9)))


def _invented_word(rng: random.Random) -> str:
    return "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(1, 4)))
