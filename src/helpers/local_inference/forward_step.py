"""One forward pass of a model that goes on from its cache."""

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class ForwardStep:
    """Computes logits for the next tokens of one text.

    ``cache`` holds what was computed for the first ``known_tokens``. With ``keeps_directions`` the last hidden state
    of every token, scaled to length 1, is collected in ``directions`` (1, tokens, width) in float32.
    """

    def __init__(
        self, forward: Any, base: Any, cache: Any, known_tokens: int = 0, *, keeps_directions: bool = False
    ) -> None:
        self.cache = cache
        self.directions: torch.Tensor | Any = None
        self._forward = forward
        self._keeps_directions = keeps_directions
        self._length = known_tokens
        self._tried: torch.Tensor | None = None
        self._options: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
        if keeps_directions:
            self._options["output_hidden_states"] = True
        parameters = inspect.signature(base.forward).parameters
        # Some models (Bamba) count positions wrongly from their cache; generate() says them too.
        self._says_positions = "position_ids" in parameters
        if "logits_to_keep" in parameters:
            # Without it the vocabulary projection runs for every prompt token.
            self._options["logits_to_keep"] = 1

    def __call__(self, token_ids: "torch.Tensor") -> "torch.Tensor":
        """Logits after the last of ``token_ids`` (1, tokens): (1, vocabulary) in float32, owned by the caller."""
        import torch

        logits, directions = self._compute(token_ids)
        if directions is not None:
            known = self.directions
            self.directions = directions if known is None else torch.cat([known, directions], dim=1)
        return logits

    def try_each(self, candidates: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
        """Go on with each of ``candidates`` (n,) side by side: logits (n, vocabulary) and directions (n, width).

        :meth:`keep` must follow.
        """
        self.cache.batch_repeat_interleave(len(candidates))
        logits, directions = self._compute(candidates[:, None])
        assert directions is not None
        self._tried = directions
        return logits, directions[:, 0]

    def keep(self, position: int) -> None:
        """Go on from the candidate at ``position`` of the last :meth:`try_each`."""
        import torch

        tried = self._tried
        assert tried is not None
        self.cache.batch_select_indices(torch.tensor([position], device=tried.device))
        self.directions = torch.cat([self.directions, tried[position : position + 1]], dim=1)

    def _compute(self, token_ids: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor | None]":
        import torch

        rows, tokens = token_ids.shape
        options = self._options
        if self._says_positions:
            positions = torch.arange(self._length, self._length + tokens, device=token_ids.device)
            options = {**options, "position_ids": positions.expand(rows, -1)}
        self._length += tokens
        # Entered and left at each step: a generator that is suspended inside would switch it on for its consumer.
        with torch.inference_mode():
            output = self._forward(input_ids=token_ids, **options)
            logits = output.logits[:, -1].to(copy=True, dtype=torch.float32)
            if not self._keeps_directions:
                return logits, None
            last = output.hidden_states[-1].to(dtype=torch.float32)
            return logits, torch.nn.functional.normalize(last, dim=-1)
