"""Quick local inference: a conversation of its own with the run whose details are open."""

from dataclasses import dataclass

import flet as ft

from ui.app_services import AppServices
from ui.background_tasks import Notify
from ui.inference.inference_state import InferenceState


@ft.observable
@dataclass(eq=False)
class QuickState:
    """``desk`` holds model, prompt and conversation, as in the Inference tab; None until it is asked for."""

    services: AppServices
    notify: Notify
    run_id: int | None = None
    desk: InferenceState | None = None

    async def start(self, run_id: int) -> None:
        """Validate this run's adapter and draw prompts of its dataset. Raises NotFoundError, StorageError."""
        self.close()
        desk = InferenceState(self.services, self.notify)
        self.run_id, self.desk = run_id, desk
        await desk.model.load()
        await desk.sampling.load()
        await desk.model.select_run(run_id)

    def stop(self) -> None:
        """End a running answer; the conversation stays."""
        if self.desk is not None and self.desk.chat.busy:
            self.desk.chat.stop()

    def close(self) -> None:
        """End the conversation; a running answer is stopped."""
        if self.desk is not None:
            self.desk.chat.clear()
        self.run_id, self.desk = None, None
