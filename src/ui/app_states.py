"""The state of every screen of one window, so that one screen can send the user to another."""

from dataclasses import dataclass
from enum import IntEnum

from ui.app_state import WindowState
from ui.datasets.datasets_state import DatasetsState
from ui.inference.inference_state import InferenceState
from ui.runs.quick_state import QuickState
from ui.runs.runs_state import RunsState
from ui.runs.scan_state import ScanState


class ScreenPlace(IntEnum):
    """Where each screen stands in the rail."""

    INFERENCE = 0
    RUNS = 1
    DATASETS = 2
    SETTINGS = 3


@dataclass(frozen=True)
class AppStates:
    """Not observable itself: a screen is given the observable parts that it draws."""

    window: WindowState
    inference: InferenceState
    datasets: DatasetsState
    runs: RunsState
    scan: ScanState
    quick: QuickState

    async def open_in_inference(self, run_id: int, checkpoint_path: str | None = None) -> None:
        """Show the Inference tab with this run, or this checkpoint of it, chosen. Raises NotFoundError.

        While the tab writes an answer nothing changes, as in the tab itself.
        """
        if self.inference.chat.busy:
            self.inference.notify(
                "An answer is being written in the Inference tab. Stop it there or wait for its end, then try again."
            )
            return
        self.quick.stop()
        self.window.open_screen(ScreenPlace.INFERENCE)
        await self.inference.model.select_run(run_id, checkpoint_path)

    def back_from_runs(self) -> None:
        """Close what was opened last on the Runs screen; a scan that runs goes on."""
        if not self.scan.open:
            self.runs.back()
        elif not self.scan.running:
            self.scan.close()

    async def read_choices_again(self) -> None:
        """Runs or datasets came, went or got another name: the Inference tab's lists follow."""
        await self.inference.model.refresh_runs()
        await self.inference.prompt.load()
