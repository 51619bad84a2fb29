"""Run as a program with the app's own arguments: starts the app up to its first screen, without a window or server.

Everything that ``main`` does before it shows the app is done; then the screen is drawn for a client in this process.
Prints one JSON object: the CPU seconds spent so far, and whether torch was loaded.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

FIRST_WORDS = "Select a completed training run to load for inference."


def draw_first_screen(make_main: Callable[[None], Callable[[Any], None]], **_: Any) -> None:
    """Takes the place of ``ui.launch.run_app``."""
    asyncio.run(_draw(make_main(None)))


async def _draw(main: Callable[[Any], None]) -> None:
    from measured_page import MeasuredPage, until

    page = await MeasuredPage.opened(main)
    await until(lambda: page.has_sent(FIRST_WORDS), "the first screen")
    print(json.dumps({"cpu": time.process_time(), "torch": "torch" in sys.modules}), flush=True)
    page.close()


if __name__ == "__main__":
    import main
    import ui.launch

    ui.launch.run_app = draw_first_screen
    main.app(sys.argv[1:])
