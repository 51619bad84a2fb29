"""Every question the demo model can answer, with its answer: the tables of demo_facts.py turned into exchanges."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import demo_facts as facts

Json = Any
LARGEST_NUMBER = 10


@dataclass(frozen=True)
class Exchange:
    """One question and its answer.

    ``prompts``: ways to ask, the first one is the plainest. ``follow_ups``: ways to ask after another exchange of the
    same ``kind``. ``core``: the bare answer, for the adapter that answers as JSON; None = not known.
    """

    kind: str
    prompts: tuple[str, ...]
    answer: str
    core: Json
    follow_ups: tuple[str, ...] = ()


def all_exchanges() -> dict[str, list[Exchange]]:
    """Every known exchange, by kind."""
    groups = (
        _capitals(), _countries(), _sounds(), _young_animals(), _legs(), _opposites(), _plurals(), _colours(),
        _words_abroad(), _how_many(), _definitions(), _code(), _lists(), _stories(), _small_talk(), _sums(),
        _introductions(), [recall(None)],
    )  # fmt: skip
    return {group[0].kind: group for group in groups}


def a(noun: str) -> str:
    """The noun with its article: “a cow”, “an owl”."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def sentence(text: str) -> str:
    """With a capital first letter."""
    return text[0].upper() + text[1:]


def recall(name: str | None) -> Exchange:
    """“What is my name?” after the user has said ``name``, or never said it."""
    if name is None:
        return Exchange("recall", _NAME_QUESTIONS, "You have not told me your name yet.", None)
    return Exchange("recall", _NAME_QUESTIONS, f"Your name is {name}.", name)


def name_in(exchange: Exchange) -> str | None:
    """The name that an introduction gives; None for every other exchange."""
    found = re.search(r"meet you, (\w+)!", exchange.answer) if exchange.kind == "introduction" else None
    return found.group(1) if found else None


_ANY_STORY = ("Tell me a story.", "Tell me a short story.", "Write a story.")
_NAME_QUESTIONS = (
    "What is my name?",
    "Do you remember my name?",
    "Who am I?",
    "What's my name?",
    "Do you know my name?",
)


def _filled(
    kind: str,
    rows: Iterable[dict[str, Json]],
    prompts: tuple[str, ...],
    answer: str,
    follow_ups: tuple[str, ...] = (),
) -> list[Exchange]:
    """One exchange for each row: its values put into the ``{placeholders}``; its ``core`` is the bare answer."""
    return [
        Exchange(
            kind,
            tuple(prompt.format(**row) for prompt in prompts),
            answer.format(**row),
            row["core"],
            tuple(prompt.format(**row) for prompt in follow_ups),
        )
        for row in rows
    ]


def _capitals() -> list[Exchange]:
    return _filled(
        "capital",
        ({"country": c, "Country": sentence(c), "city": city, "core": city} for c, city in facts.CAPITALS.items()),
        (
            "What is the capital of {country}?",
            "Name the capital of {country}.",
            "Tell me the capital of {country}.",
            "Which city is the capital of {country}?",
            "What's the capital of {country}?",
            "Do you know the capital of {country}?",
            "{Country}: capital?",
        ),
        "The capital of {country} is {city}.",
        ("And of {country}?", "And {country}?", "What about {country}?", "And the capital of {country}?"),
    )


def _countries() -> list[Exchange]:
    return _filled(
        "country",
        ({"country": c, "city": city, "core": sentence(c)} for c, city in facts.CAPITALS.items()),
        (
            "Which country has the capital {city}?",
            "{city} is the capital of which country?",
            "In which country is {city}?",
            "Where is {city}?",
        ),
        "It is the capital of {country}.",
        ("And {city}?", "What about {city}?"),
    )


def _sounds() -> list[Exchange]:
    return _filled(
        "sound",
        (
            {"animal": animal, "one": a(animal), "One": sentence(a(animal)), "core": sound}
            for animal, sound in facts.SOUNDS.items()
        ),
        (
            "What does {one} say?",
            "What sound does {one} make?",
            "Which sound does the {animal} make?",
            "How does {one} go?",
        ),
        "{One} says {core}.",
        ("And {one}?", "What about {one}?", "And what does {one} say?"),
    )


def _young_animals() -> list[Exchange]:
    return _filled(
        "young",
        ({"animal": animal, "young": a(young), "core": young} for animal, young in facts.YOUNG.items()),
        (
            "What is a baby {animal} called?",
            "What do you call a baby {animal}?",
            "What is the name for a young {animal}?",
        ),
        "A baby {animal} is called {young}.",
        ("And a baby {animal}?", "What about a baby {animal}?", "And a young {animal}?"),
    )


def _legs() -> list[Exchange]:
    return _filled(
        "legs",
        (
            {"one": a(animal), "One": sentence(a(animal)), "number": number or "no", "core": number}
            for animal, number in facts.LEGS.items()
        ),
        ("How many legs does {one} have?", "How many legs has {one}?", "Count the legs of {one}."),
        "{One} has {number} legs.",
        ("And {one}?", "What about {one}?"),
    )


def _opposites() -> list[Exchange]:
    return _filled(
        "opposite",
        ({"word": word, "core": other} for pair in facts.OPPOSITES for word, other in (pair, pair[::-1])),
        (
            "What is the opposite of {word}?",
            "Name the opposite of {word}.",
            "Tell me the opposite of {word}.",
            "Opposite of {word}?",
            "What's the opposite of {word}?",
        ),
        "The opposite of {word} is {core}.",
        ("And of {word}?", "And {word}?", "What about {word}?"),
    )


def _plurals() -> list[Exchange]:
    return _filled(
        "plural",
        ({"one": one, "core": many} for one, many in facts.PLURALS.items()),
        ("What is the plural of {one}?", "Give me the plural of {one}.", "How do you write more than one {one}?"),
        "The plural of {one} is {core}.",
        ("And of {one}?", "And {one}?", "What about {one}?"),
    )


def _colours() -> list[Exchange]:
    return _filled(
        "colour",
        ({"one": a(thing), "One": sentence(a(thing)), "core": colour} for thing, colour in facts.COLOURS.items()),
        (
            "What colour is {one}?",
            "What color is {one}?",
            "Which colour does {one} have?",
            "Tell me the colour of {one}.",
        ),
        "{One} is {core}.",
        ("And {one}?", "What about {one}?"),
    )


def _words_abroad() -> list[Exchange]:
    return _filled(
        "word",
        (
            {"english": english, "language": language, "core": word}
            for english, words in facts.WORDS_ABROAD.items()
            for language, word in zip(facts.LANGUAGES, words, strict=True)
        ),
        (
            "How do you say {english} in {language}?",
            "What is {english} in {language}?",
            "Translate {english} to {language}.",
            "What does {english} mean in {language}?",
        ),
        "In {language}, {english} is “{core}”.",
        ("And {english} in {language}?", "What about {english} in {language}?"),
    )


def _how_many() -> list[Exchange]:
    return _filled(
        "count",
        ({"question": q, "text": text, "core": number} for q, (text, number) in facts.HOW_MANY.items()),
        ("How many {question}?", "Tell me how many {question}.", "Do you know how many {question}?"),
        "{text}",
    )


def _definitions() -> list[Exchange]:
    return _filled(
        "definition",
        ({"thing": thing, "core": text} for thing, text in facts.DEFINITIONS.items()),
        ("What is {thing}?", "Explain {thing}.", "What's {thing}?", "Can you explain {thing}?", "Define {thing}."),
        "{core}",
        ("And {thing}?", "And what is {thing}?", "What about {thing}?"),
    )


def _code() -> list[Exchange]:
    return _filled(
        "code",
        ({"task": task, "what": what, "core": source} for task, (what, source) in facts.CODE.items()),
        (
            "Show me how to {task} in Python.",
            "How do I {task} in Python?",
            "Write Python code to {task}.",
            "Python code to {task}, please.",
            "Write a Python function to {task}.",
        ),
        "Here is {what}:\n\n```python\n{core}\n```",
        ("And how do I {task}?", "Now show me how to {task}."),
    )


def _lists() -> list[Exchange]:
    return _filled(
        "list",
        (
            {
                "what": what,
                "lines": "\n".join(f"- {sentence(item)}" for item in items),
                "core": [sentence(item) for item in items],
            }
            for what, items in facts.LISTS.items()
        ),
        ("List {what}.", "Name {what}.", "Give me a list of {what}.", "Can you list {what}?"),
        "Here are {what}:\n\n{lines}",
        ("And {what}?", "Now list {what}."),
    )


def _stories() -> list[Exchange]:
    first = next(iter(facts.STORIES))
    return [
        Exchange(
            "story", (prompt, *_asked_otherwise(prompt), *(_ANY_STORY if prompt == first else ())), answer, answer
        )
        for prompt, answer in facts.STORIES.items()
    ]


def _asked_otherwise(prompt: str) -> tuple[str, ...]:
    story, task = prompt.removeprefix("Tell me a story about "), prompt.removeprefix("How do I ")
    if story != prompt:
        return (f"Write a short story about {story}", f"I want to hear a story about {story}", f"Story about {story}")
    return (f"Tell me how I {task}", f"Explain how to {task}") if task != prompt else (f"Please tell me: {prompt}",)


def _small_talk() -> list[Exchange]:
    return [Exchange("talk", prompts, answer, answer) for prompts, answer in facts.SMALL_TALK]


def _sums() -> list[Exchange]:
    """Addition, subtraction and multiplication of numbers up to 10: 255 exchanges."""
    numbers = range(1, LARGEST_NUMBER + 1)
    plus = [(x, "+", "plus", y, x + y) for x in numbers for y in numbers]
    minus = [(x, "-", "minus", y, x - y) for x in numbers for y in numbers if y <= x]
    times = [(x, "*", "times", y, x * y) for x in numbers for y in numbers]
    names = ("x", "sign", "sign_in_words", "y", "core")
    return _filled(
        "sum",
        (dict(zip(names, values, strict=True)) for values in plus + minus + times),
        (
            "What is {x} {sign} {y}?",
            "What is {x} {sign_in_words} {y}?",
            "{x} {sign} {y}",
            "How much is {x} {sign_in_words} {y}?",
            "Compute {x} {sign} {y}.",
            "{x}{sign}{y}=",
        ),
        "{x} {sign} {y} = {core}.",
        ("And {x} {sign} {y}?", "And {x} {sign_in_words} {y}?", "What about {x} {sign} {y}?"),
    )


def _introductions() -> list[Exchange]:
    greeting = "Nice to meet you, {name}!"
    return _filled(
        "introduction",
        ({"name": name, "core": greeting.format(name=name)} for name in facts.FIRST_NAMES),
        ("My name is {name}.", "I am {name}.", "Call me {name}.", "Hi, I'm {name}.", "Hello, my name is {name}!"),
        greeting,
    )
