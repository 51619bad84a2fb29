"""The Inference tab on a mounted page, with its real model process, ready to answer with the bench model."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

from bench_model import adapter_folder
from engine_alone import PROMPT, MeasuredAnswer, arriving_speed, bench_settings
from helpers.local_inference.worker import ModelProcess
from helpers.workspace import open_workspace
from measured_page import MeasuredPage, Patch, until
from ui.app_services import AppServices
from ui.app_shell import make_app
from ui.app_state import WindowState
from ui.inference.inference_state import InferenceState
from ui.inference.model_choice_state import ChoicePhase

FEWEST_UPDATES = 4


@dataclass(frozen=True)
class StreamedAnswer(MeasuredAnswer):
    """``update_cpu``: CPU seconds of the page's loop for each patch between the first and the last text.
    ``turn_cpu``: what it spent besides, from Generate to the first text and from the last text to the end.
    ``app_share``: the share of one core that the whole app process used while it streamed.
    """

    update_cpu: float
    turn_cpu: float
    app_share: float


class MountedTab:
    """One tab that can be asked again and again."""

    def __init__(self, page: MeasuredPage) -> None:
        self.page = page
        self.state = page.component_argument(InferenceState)
        self.window = page.component_argument(WindowState)

    async def answer(self, new_tokens: int) -> StreamedAnswer:
        """Press Generate and wait for the end of the answer. Raises RuntimeError when it fails."""
        chat = self.state.chat
        self.state.sampling.settings = bench_settings(new_tokens)
        await self.page.settle()
        arrived: list[tuple[Patch, int]] = []

        def note(patch: Patch) -> None:
            if chat.messages and chat.messages[-1].new_tokens:
                arrived.append((patch, chat.messages[-1].new_tokens))

        self.page.connection.on_patch = note
        started, cpu_before = time.perf_counter(), time.thread_time()
        await self.state.generate()
        await self.page.settle()
        cpu = time.thread_time() - cpu_before
        self.page.connection.on_patch = lambda patch: None
        answer = chat.messages[-1]
        if answer.result is None:
            raise RuntimeError(f"the answer failed: {answer.error}")
        # The patches after the last text redraw the finished answer; they are not part of streaming.
        streamed = [(patch, tokens) for patch, tokens in arrived if tokens < answer.result.new_tokens]
        if len(streamed) < FEWEST_UPDATES:
            raise RuntimeError(f"the answer came in {len(streamed)} updates, which is too few to measure")
        first, last = streamed[0][0], streamed[-1][0]
        return StreamedAnswer(
            text=answer.text,
            new_tokens=answer.new_tokens,
            seconds=arrived[-1][0].at - started,
            decoding=answer.result.tokens_per_second,
            arriving=arriving_speed([(patch.at, tokens) for patch, tokens in streamed]),
            turn_cpu=cpu - (last.loop_cpu - first.loop_cpu),
            update_cpu=(last.loop_cpu - first.loop_cpu) / (len(streamed) - 1),
            app_share=(last.cpu - first.cpu) / (last.at - first.at),
        )


@asynccontextmanager
async def mounted_tab(model: Path, workspace_folder: Path) -> AsyncIterator[MountedTab]:
    """A tab whose adapter is validated, whose prompt is written and whose model process runs."""
    with open_workspace(workspace_folder) as workspace, closing(ModelProcess()) as process:
        services = AppServices(workspace.database, workspace.folder, process, workspace.demo)
        page = await MeasuredPage.opened(make_app(services))
        tab = MountedTab(page)
        state = tab.state
        await until(lambda: page.has_sent("Responses will appear here"), "the first screen")
        await state.load()
        await state.model.add_adapter_folder(str(adapter_folder(model)))
        if state.model.phase is not ChoicePhase.READY:
            raise RuntimeError(f"the bench model is not accepted: {state.model.status} {state.model.hint}")
        state.prompt.set_text(PROMPT)
        try:
            yield tab
        finally:
            page.close()
