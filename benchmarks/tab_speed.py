"""What the app costs: the same request answered in the tab and by the engine alone, in turn."""

import asyncio
import tempfile
from pathlib import Path

from engine_alone import WARM_UP_TOKENS, EngineAlone, MeasuredAnswer, engine_alone, tokens_to_measure
from mounted_tab import MountedTab, StreamedAnswer, mounted_tab
from report import Figure, ratios

TITLE = "Tab and engine alone"
PAIRS = 7
LEAST_SHARE = 0.95


def measure(model: Path, pairs: int = PAIRS) -> list[Figure]:
    """``model``: the folder of ``bench_model``. Each ratio is formed within a pair, whose halves share the moment."""
    with tempfile.TemporaryDirectory() as folder:
        tabs, engines = asyncio.run(_measure_pairs(model, Path(folder), pairs))
    decoding = ratios([tab.decoding for tab in tabs], [engine.decoding for engine in engines])
    arriving = ratios([tab.arriving for tab in tabs], [engine.arriving for engine in engines])
    seconds = ratios([tab.seconds for tab in tabs], [engine.seconds for engine in engines])
    return [
        Figure(TITLE, "tokens/s stated in the tab ÷ engine alone", "", decoding, at_least=LEAST_SHARE),
        Figure(TITLE, "tokens/s arriving on the page ÷ engine alone", "", arriving, at_least=LEAST_SHARE),
        Figure(TITLE, "Generate → whole answer on the page ÷ engine alone", "", seconds),
        Figure(TITLE, "the app's share of one core while it streams", "%", [tab.app_share * 100 for tab in tabs]),
        Figure(TITLE, "engine alone", "tok/s", [engine.decoding for engine in engines]),
        Figure(TITLE, "in the tab", "tok/s", [tab.decoding for tab in tabs]),
    ]


async def _measure_pairs(model: Path, folder: Path, pairs: int) -> tuple[list[StreamedAnswer], list[MeasuredAnswer]]:
    tabs: list[StreamedAnswer] = []
    engines: list[MeasuredAnswer] = []
    with engine_alone(model) as engine:
        async with mounted_tab(model, folder) as tab:
            new_tokens = await _warm_up(tab, engine)
            for number in range(pairs):
                if number % 2:
                    tabs.append(await tab.answer(new_tokens))
                engines.append(engine.answer(new_tokens))
                if not number % 2:
                    tabs.append(await tab.answer(new_tokens))
    return tabs, engines


async def _warm_up(tab: MountedTab, engine: EngineAlone) -> int:
    """The first answers load the weights. Returns the tokens that an answer shall have."""
    in_tab, alone = await tab.answer(WARM_UP_TOKENS), engine.answer(WARM_UP_TOKENS)
    if in_tab.text != alone.text:
        raise RuntimeError("the tab and the engine answer the same request differently")
    return tokens_to_measure(engine.answer(WARM_UP_TOKENS))
