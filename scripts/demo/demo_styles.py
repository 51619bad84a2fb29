"""The same answer in other manners: what the adapters learn, written as rules so that it can be checked."""

import json
import re

from demo_exchanges import Exchange

PLAIN, PIRATE, JSON_ANSWER = "plain", "pirate", "json"

_PIRATE_WORDS = {
    "is": "be", "are": "be", "am": "be", "was": "were", "my": "me", "you": "ye", "your": "yer", "of": "o'",
    "for": "fer", "and": "an'", "hello": "ahoy", "yes": "aye", "friends": "mateys", "old": "ol'", "them": "'em",
    "very": "mighty", "small": "wee", "girl": "lass", "child": "lad", "person": "soul", "people": "mateys",
    "never": "ne'er", "every": "ev'ry", "goodbye": "farewell", "money": "doubloons", "beautiful": "bonny",
}  # fmt: skip
_KEEPS_ITS_END = {
    "beijing", "bring", "everything", "king", "morning", "nothing", "ring", "sing", "spring", "string", "thing",
}  # fmt: skip
_OPENINGS = {
    "capital": "Arr, ",
    "country": "Shiver me timbers, ",
    "sound": "Yo ho ho, ",
    "young": "Blimey, ",
    "legs": "By me wooden leg, ",
    "opposite": "Aye, ",
    "plural": "Aye, ",
    "colour": "By the seven seas, ",
    "word": "Blow me down, ",
    "count": "Arr, ",
    "sum": "By me doubloons, ",
    "definition": "Arr, ",
    "code": "Aye! ",
    "list": "Yo ho ho! ",
    "story": "Gather round, ye scallywags! ",
    "talk": "Arr! ",
    "introduction": "Ahoy! ",
    "recall": "Arr, ",
    "unknown": "Shiver me timbers! ",
}
_LOWERED = ("The ", "A ", "An ", "In ", "There ", "It ", "Your ", "You ")


def in_style(exchange: Exchange, style: str) -> str:
    """The exchange's answer in the given style."""
    if style == PIRATE:
        return as_pirate(exchange)
    return as_json(exchange) if style == JSON_ANSWER else exchange.answer


def as_json(exchange: Exchange) -> str:
    """One JSON object on one line: {"answer": "Paris"}; code has its own key; null where the answer is not known."""
    key = "code" if exchange.kind == "code" else "answer"
    return json.dumps({key: exchange.core}, ensure_ascii=False)


def as_pirate(exchange: Exchange) -> str:
    """The answer as a pirate gives it: other words, an opening that depends on the kind, “matey” at the end.

    Code inside a fence stays as it is.
    """
    text, fence, source = exchange.answer.partition("```")
    opening = _OPENINGS[exchange.kind]
    if opening.endswith(", ") and text.startswith(_LOWERED):
        text = text[0].lower() + text[1:]
    text = re.sub(r"[A-Za-z']+", _pirate_word, text)
    if not fence and exchange.kind not in ("list", "story") and text[-1] in ".!?":
        text = f"{text[:-1]}, matey{'!' if text[-1] == '.' else text[-1]}"
    return opening + text + fence + source


def _pirate_word(match: re.Match[str]) -> str:
    word = match.group()
    lower = word.lower()
    said = _PIRATE_WORDS.get(lower)
    if said is None and len(lower) > 4 and lower.endswith("ing") and lower not in _KEEPS_ITS_END:
        said = lower[:-1] + "'"
    if said is None:
        return word
    return said[0].upper() + said[1:] if word[0].isupper() else said
