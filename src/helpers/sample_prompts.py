"""Random prompts of a saved dataset, with the answers expected for them."""

import random
from dataclasses import dataclass

from db import datasets
from db.database import Database

SAMPLE_COUNT = 5


@dataclass(frozen=True)
class SamplePrompt:
    """A prompt to try, the answer its dataset expects, and the system prompt it was written with (None = none)."""

    prompt: str
    expected: str
    system: str | None = None


def draw_sample_prompts(
    database: Database, dataset_id: int, count: int = SAMPLE_COUNT, rng: random.Random | None = None
) -> list[SamplePrompt]:
    """Up to ``count`` different random rows; instant for a dataset of any size. ``rng`` None draws others each time.

    Raises NotFoundError for the dataset, and StorageError.
    """
    with database.read_scope() as session:
        rows = datasets.sample_rows(session, dataset_id, count, rng or random.Random())
    return [SamplePrompt(row.prompt, row.response, row.system) for row in rows]
