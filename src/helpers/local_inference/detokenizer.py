"""From token ids to text, one token at a time, at a cost that does not grow with the answer."""

from collections.abc import Callable, Collection

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# A character is at most four bytes of UTF-8, so at most three tokens can wait for its rest.
_MOST_TOKENS_OF_A_BROKEN_CHARACTER = 3
_MOST_TOKENS_WITHOUT_TEXT = 8


class IncrementalDetokenizer:
    """Gives text as soon as it is whole UTF-8; all pieces joined are the text of all ids.

    Decodes a short tail twice, without and with the new token: the difference is the new text. A tail that starts at
    an earlier token keeps the blank that SentencePiece-style decoders drop at the start of a text.
    """

    def __init__(self, decode: Callable[[list[int]], str], skipped_ids: Collection[int] = ()) -> None:
        """``decode`` turns ids into text; ``skipped_ids`` (special tokens) have none."""
        self._decode = decode
        self._skipped = frozenset(skipped_ids)
        self._tail: list[int] = []
        self._settled = 0
        self._settled_text = ""
        self._broken = 0

    def push(self, token_id: int) -> str:
        """The text that became whole with this token, possibly empty."""
        if token_id in self._skipped:
            return ""
        self._tail.append(token_id)
        text = self._decode(self._tail)
        self._broken = self._broken + 1 if text.endswith(_REPLACEMENT) else 0
        if 0 < self._broken <= _MOST_TOKENS_OF_A_BROKEN_CHARACTER:
            return ""
        self._broken = 0
        return self._settle(text)

    def finish(self) -> str:
        """The rest, without a character whose last bytes never came."""
        if len(self._tail) == self._settled:
            return ""
        return self._settle(self._decode(self._tail)).rstrip(_REPLACEMENT)

    def _settle(self, text: str) -> str:
        if text == self._settled_text:
            # No text yet, such as a blank at the very start: it counts together with the next token.
            del self._tail[self._settled + _MOST_TOKENS_WITHOUT_TEXT :]
            return ""
        if text.startswith(self._settled_text):
            new = text[len(self._settled_text) :]
        else:
            # Invalid bytes can change how the ones before them read; those are shown already.
            new = self._decode(self._tail[self._settled :])
        self._tail = self._tail[self._settled :]
        self._settled = len(self._tail)
        self._settled_text = self._decode(self._tail)
        return new
