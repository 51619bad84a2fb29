"""The prompt being written: its text, its length in tokens, and the sample prompts of a dataset."""

from dataclasses import dataclass, field

import flet as ft

from db import datasets
from db.database import Database
from db.models import Dataset
from helpers.local_inference import RenderedPrompt
from helpers.sample_prompts import SamplePrompt, draw_sample_prompts
from ui.background_tasks import run_blocking

SAMPLE_COUNT = 5


@ft.observable
@dataclass(eq=False)
class PromptState:
    """``version`` grows when the text is set by other means than typing it. ``expected`` is the dataset's answer to
    the chosen sample, None when the prompt is the user's own. ``rendered`` is None until the tokens are counted.
    """

    database: Database
    text: str = ""
    version: int = 0
    expected: str | None = None
    rendered: RenderedPrompt | None = None
    datasets: list[Dataset] = field(default_factory=list)
    dataset_id: int | None = None
    samples: list[SamplePrompt] = field(default_factory=list)
    sample_number: int | None = None

    def __post_init__(self) -> None:
        self._sample: SamplePrompt | None = None

    async def load(self) -> None:
        """Read the saved datasets; the first one is chosen when none is yet."""
        self.datasets = await run_blocking(self._read_datasets)
        known = [dataset.id for dataset in self.datasets]
        if self.dataset_id not in known:
            self.dataset_id = None
            self._show_samples([])
        if self.dataset_id is None and known:
            await self.choose_dataset(known[0])

    async def choose_dataset(self, dataset_id: int) -> None:
        """Draw sample prompts from this dataset. Raises NotFoundError when it was deleted meanwhile."""
        self.dataset_id = dataset_id
        self._show_samples([])
        await self.draw_samples()

    async def draw_samples(self) -> None:
        """Five new random prompts."""
        dataset_id = self.dataset_id
        if dataset_id is None:
            return
        samples = await run_blocking(draw_sample_prompts, self.database, dataset_id, SAMPLE_COUNT)
        if dataset_id == self.dataset_id:
            self._show_samples(samples)

    def choose_sample(self, number: int) -> None:
        """Fill the prompt with a sample and show its expected answer."""
        sample = self.samples[number]
        self.set_text(sample.prompt)
        self._sample = sample
        self.sample_number = number
        self.expected = sample.expected or None

    def set_text(self, text: str) -> None:
        """Put a text of the user's own into the field."""
        self.typed(text)
        self.version += 1

    def typed(self, text: str) -> None:
        """Take in what the user typed; the expected answer belongs to the sample's own text only."""
        self.text = text
        if self._sample is not None and text != self._sample.prompt:
            self._sample = None
            self.expected = None
            self.sample_number = None

    def _show_samples(self, samples: list[SamplePrompt]) -> None:
        self.sample_number = None
        self.samples = samples

    def _read_datasets(self) -> list[Dataset]:
        with self.database.read_scope() as session:
            return list(datasets.list_all(session))
