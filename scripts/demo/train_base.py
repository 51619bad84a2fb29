"""Train the base model from nothing on generated conversations."""

import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from demo_model import IGNORED, TrainingRow, messages_of, new_model, padded, train_tokenizer, training_row
from demo_text import ConversationSource
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

SEED = 20
STEPS = 1000
TOKENS_PER_BATCH = 4000
LEARNING_RATE = 3e-3
ASKED_STYLES = 0.25


def train_base(folder: Path, steps: int = STEPS) -> None:
    """Write model, tokenizer and template to ``folder``."""
    tokenizer = _tokenizer()
    model = new_model(tokenizer, SEED)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)
    _train(model, tokenizer, steps)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer() -> PreTrainedTokenizerFast:
    conversations = islice(ConversationSource(SEED, asked_styles=ASKED_STYLES), 6000)
    return train_tokenizer(message["content"] for c in conversations for message in messages_of(c))


def _train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, steps: int) -> None:
    torch.manual_seed(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    batches = _batches(tokenizer)
    started, recent = time.perf_counter(), []
    for step in range(1, steps + 1):
        loss = answer_loss(model, next(batches))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent.append(loss.item())
        if step % 50 == 0:
            mean = sum(recent[-50:]) / len(recent[-50:])
            print(f"step {step}: loss {mean:.4f}, {time.perf_counter() - started:.0f} s", flush=True)


def answer_loss(model: LlamaForCausalLM, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean cross-entropy of the answer tokens. The vocabulary projection is computed for those positions only.

    In training, a repetition penalty between 1 and 1.2 is applied first, as transformers does when it generates: the
    app's presets use one, and it is hard on answers that repeat words of the question.
    """
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        targets = batch["labels"][:, 1:]
        learned = targets != IGNORED
        logits = model.lm_head(hidden[:, :-1][learned]).float()
    if model.training:
        penalty = 1 + 0.2 * torch.rand(()).item()
        penalised = torch.where(logits > 0, logits / penalty, logits * penalty)
        logits = torch.where(_seen_before(batch["input_ids"], learned, logits.shape[-1]), penalised, logits)
    return torch.nn.functional.cross_entropy(logits, targets[learned])


def _seen_before(ids: torch.Tensor, learned: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """For each learned position, which tokens stand at it or before it: positions × vocabulary."""
    rows, width = ids.shape
    first_seen = torch.full((rows, vocabulary), width)
    first_seen.scatter_reduce_(1, ids, torch.arange(width).expand(rows, width), "amin")
    row, column = learned.nonzero(as_tuple=True)
    return first_seen[row] <= column[:, None]


def _batches(tokenizer: PreTrainedTokenizerFast) -> Iterator[dict[str, torch.Tensor]]:
    """Rows of like length together, about TOKENS_PER_BATCH with padding, in shuffled order."""
    rng = random.Random(SEED)
    source = iter(ConversationSource(SEED, asked_styles=ASKED_STYLES))
    while True:
        rows = sorted((training_row(tokenizer, c) for c in islice(source, 1500)), key=lambda row: len(row["labels"]))
        groups: list[list[TrainingRow]] = [[]]
        for row in rows:
            if (len(groups[-1]) + 1) * len(row["labels"]) > TOKENS_PER_BATCH:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            yield padded(group, tokenizer.pad_token_id)


if __name__ == "__main__":
    import sys

    torch.set_num_threads(2)
    train_base(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else STEPS)
