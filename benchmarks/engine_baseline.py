"""What the engine is measured against: the helper that most people write first.

float32, a ``PeftModel`` that is not merged, the whole conversation processed anew for every answer, one base for each
adapter, and ``TextIteratorStreamer``.
"""

import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Seconds to the first token, and tokens per second after it."""

    first_token: float
    tokens_per_second: float


class StraightforwardHelper:
    """One base with one adapter."""

    def __init__(self, base: Path, adapter: Path, threads: int) -> None:
        """``threads``: the CPU threads of each answer, whatever others set in this process."""
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        # Its progress bars would run through the table.
        logging.disable_progress_bar()
        self._threads = threads
        self.tokenizer: Any = AutoTokenizer.from_pretrained(base)
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model: Any = PeftModel.from_pretrained(model, adapter).eval()

    def answer(self, messages: list[dict[str, str]], new_tokens: int) -> Timing:
        """Answer greedily with exactly ``new_tokens`` tokens."""
        import torch
        from transformers import TextIteratorStreamer

        torch.set_num_threads(self._threads)
        prompt = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
        streamer: Any = TextIteratorStreamer(self.tokenizer, skip_prompt=True)
        arrived: list[float] = []
        put = streamer.put
        streamer.put = lambda value: (arrived.append(time.perf_counter()), put(value))
        options = {
            **prompt,
            "max_new_tokens": new_tokens,
            "min_new_tokens": new_tokens,
            "do_sample": False,
            "streamer": streamer,
            "pad_token_id": 1,
        }
        started = time.perf_counter()
        with torch.no_grad():
            thread = threading.Thread(target=self.model.generate, kwargs=options)
            thread.start()
            for _ in streamer:
                pass
            thread.join()
        # The first arrival is the prompt itself.
        tokens = arrived[1:]
        return Timing(tokens[0] - started, (len(tokens) - 1) / (tokens[-1] - tokens[0]))
