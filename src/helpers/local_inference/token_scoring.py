"""How probable each token of a given answer is, under the adapter and under the base alone (teacher forcing)."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from errors import ModelLoadError
from helpers.local_inference.detokenizer import IncrementalDetokenizer
from helpers.local_inference.generation_events import LoadedModel, ScoredToken, TokenScores, TopToken
from helpers.local_inference.model_activation import ActiveModel
from helpers.local_inference.prefix_cache import AdapterForm
from helpers.local_inference.prompt_rendering import require_room
from helpers.local_inference.sampling import no_numbers
from helpers.local_inference.token_generation import chunk_tokens


@dataclass(frozen=True)
class Guess:
    """At one position: the log-probability of the token that is there, and the most probable token."""

    logprob: float
    top_id: int
    top_probability: float


def score_answer(
    active: ActiveModel, forward: Any, form: AdapterForm | None, answer_ids: Sequence[int], stop: Callable[[], None]
) -> list[Guess]:
    """One guess of ``forward`` for each of ``answer_ids``; ``stop`` may raise between pieces of text.

    ``form``: the adapter in ``forward``, None = the base alone. What is known of the prompt is not computed again,
    and what is computed here serves the next text that begins alike.
    """
    import torch

    base, prompt_ids = active.base, active.prompt.chat.token_ids
    known = (*prompt_ids, *answer_ids[:-1])
    # The prompt's last token is always computed: its logits are about the first token of the answer.
    first = len(prompt_ids) - 1
    state = base.prefixes.take(base.model.config, form, known[:first])
    ids = torch.tensor([[*prompt_ids, *answer_ids]], device=base.model.get_input_embeddings().weight.device)
    says_positions = "position_ids" in inspect.signature(base.model.forward).parameters
    step, guesses = chunk_tokens(state.cache, len(known)), list[Guess]()
    for start in range(state.tokens, len(known), step):
        stop()
        end = min(start + step, len(known))
        kept = max(0, end - max(start, first))
        options = {"position_ids": torch.arange(start, end, device=ids.device)[None]} if says_positions else {}
        with torch.inference_mode():
            output = forward(
                input_ids=ids[:, start:end],
                past_key_values=state.cache,
                use_cache=True,
                logits_to_keep=max(1, kept),
                **options,
            )
            if kept:
                guesses += _guesses(output.logits[0, -kept:], ids[0, end - kept + 1 : end + 1])
    base.prefixes.put(form, known, len(prompt_ids), replace(state, logits=None))
    return guesses


def _guesses(logits: Any, targets: Any) -> list[Guess]:
    logprobs = logits.float().log_softmax(dim=-1)
    found = logprobs.gather(1, targets[:, None])[:, 0]
    if found.isnan().any():
        raise no_numbers()
    best, tops = logprobs.max(dim=-1)
    return [Guess(*values) for values in zip(found.tolist(), tops.tolist(), best.exp().tolist(), strict=True)]


def score_active(active: ActiveModel, ids: tuple[int, ...], stop: Callable[[], None]) -> TokenScores:
    """The scores of ``ids`` as the answer to the prompt of ``active``. Raises PromptTooLongError, ModelError."""
    prompt, model, loaded = active.prompt.chat.token_ids, active.base.model, active.base
    require_room(len(prompt) + len(ids) - 1, active.prompt.model.base.context_length)
    rows = model.get_input_embeddings().weight.shape[0]
    if not all(0 <= token < rows for token in ids):
        raise ModelLoadError(
            f"The answer has tokens that the model does not know; it has {rows:,}.",
            "Score answers with the model that wrote them.",
        )
    adapter = base = None
    if active.description.adapter_path is not None:
        adapter = score_answer(active, active.forward, active.form, ids, stop)
    if active.has_plain_base:
        base = score_answer(active, loaded.adapters.activate(None), None, ids, stop)
    return token_scores(active.prompt.model.chat.tokenizer, ids, adapter, base, active.description)


def token_scores(
    tokenizer: Any,
    answer_ids: Sequence[int],
    adapter: "list[Guess] | None",
    base: "list[Guess] | None",
    model: LoadedModel,
) -> TokenScores:
    """The values that cross to the app. None = there is no such model here."""

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def top(guesses: list[Guess] | None, position: int) -> TopToken | None:
        if guesses is None:
            return None
        guess = guesses[position]
        return TopToken(decode([guess.top_id]), guess.top_id, guess.top_probability)

    detokenizer = IncrementalDetokenizer(decode)
    tokens = []
    for position, token_id in enumerate(answer_ids):
        tokens.append(
            ScoredToken(
                text=detokenizer.push(token_id),
                token_id=token_id,
                adapter_logprob=adapter[position].logprob if adapter is not None else None,
                base_logprob=base[position].logprob if base is not None else None,
                adapter_top=top(adapter, position),
                base_top=top(base, position),
            )
        )
    # Bytes of a character that never became whole belong to the last token.
    tokens[-1] = replace(tokens[-1], text=tokens[-1].text + detokenizer.finish())
    return TokenScores(tuple(tokens), _loss(adapter), _loss(base), model)


def _loss(guesses: "list[Guess] | None") -> float | None:
    return -sum(guess.logprob for guess in guesses) / len(guesses) if guesses else None
