"""A given answer as the token ids that a model has to write, as its chat template writes an assistant's turn."""

from collections.abc import Sequence

from helpers.chat_template import ChatTokenizer, RenderedChat
from helpers.local_inference.requests import ChatMessage


def answer_ids(
    chat: ChatTokenizer, prompt: RenderedChat, messages: Sequence[ChatMessage], answer: str, *, with_end_of_turn: bool
) -> tuple[int, ...]:
    """The ids of ``answer`` after ``prompt``, which is ``messages`` rendered. Raises PromptError.

    They are what the template adds for an assistant's message, up to the token that ends the turn, and including it
    ``with_end_of_turn``; whatever the template writes after that token is no part of an answer. Without a template
    the turn ends with the tokenizer's EOS, if it has one. Where a template writes another prompt before an answer
    than before none, the answer is tokenised by itself.
    """
    whole = chat.render([*messages, ChatMessage("assistant", answer)], ends_with_answer=True).token_ids
    start = len(prompt.token_ids)
    eos = chat.tokenizer.eos_token_id
    end: tuple[int, ...] = (eos,) if eos is not None else ()
    alone = tuple(chat.tokenizer(answer, add_special_tokens=False)["input_ids"])
    if whole[:start] != prompt.token_ids:
        return (*alone, *end) if with_end_of_turn else alone
    turn = whole[start:]
    stops = [position for position, token in enumerate(turn) if token in chat.stop_ids]
    if stops:
        return turn[: stops[-1] + 1] if with_end_of_turn else turn[: stops[-1]]
    if chat.chat_format.template is None:
        return (*turn, *end) if with_end_of_turn else turn
    # The turn ends with a text, not with a token.
    return turn if with_end_of_turn else alone
