"""The loss and eval curve of a run, with its checkpoints marked, and the same in words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import flet as ft
import flet_charts as charts  # type: ignore[import-untyped]

from ui import theme
from ui.background_tasks import safe_component
from ui.components.cards import small_text

MOST_POINTS = 300
CHART_HEIGHT = 240
_GRID_LINES = 5
_NICE_STEPS = (1, 2, 2.5, 5, 10)

Point = tuple[int, float]


@dataclass(frozen=True)
class Curve:
    """One metric by step; numbers that were NaN or infinite are left out."""

    name: str
    points: tuple[Point, ...]

    @property
    def label(self) -> str:
        """The metric as people call it."""
        return {"loss": "Training loss", "eval_loss": "Eval loss"}.get(self.name, self.name.replace("_", " "))

    def words(self) -> str:
        """Its lowest and last value, for those who do not see the curve."""
        lowest_step, lowest = min(self.points, key=lambda point: point[1])
        last_step, last = self.points[-1]
        return f"{self.label}: lowest {lowest:.4g} at step {lowest_step:,}, last {last:.4g} at step {last_step:,}."


def drawable(name: str, values: Sequence[tuple[int, float | None]]) -> Curve | None:
    """The curve of these numbers; None when there is none to draw."""
    points = tuple((step, value) for step, value in values if value is not None and math.isfinite(value))
    return Curve(name, points) if points else None


def ticks(low: float, high: float, count: int = _GRID_LINES) -> list[float]:
    """Round numbers from at or below ``low`` to at or above ``high``, about ``count`` steps apart."""
    span = high - low or abs(high) or 1.0
    rough = span / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = size * next(nice for nice in _NICE_STEPS if nice * size >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [place * step for place in range(first, max(last, first + 1) + 1)]


@safe_component
def LossChart(curves: Sequence[Curve], checkpoint_steps: Sequence[int]) -> ft.Control:
    """The curves with a legend above and their words below."""
    if not curves:
        return ft.Container(small_text("No numbers were recorded."), padding=ft.Padding.symmetric(vertical=8))
    colors = [ft.Colors.PRIMARY, ft.Colors.TERTIARY, ft.Colors.SECONDARY]
    words = " ".join(curve.words() for curve in curves)
    legend: list[ft.Control] = [
        _legend(curve.label, color, dashed=bool(number))
        for number, (curve, color) in enumerate(zip(curves, colors, strict=False))
    ]
    if checkpoint_steps:
        legend.append(_legend("Checkpoint", ft.Colors.OUTLINE, mark=True))
    return ft.Column(
        [
            ft.Row(legend, wrap=True, spacing=theme.SPACE_L),
            ft.Semantics(
                content=ft.Container(_chart(curves, colors, checkpoint_steps), height=CHART_HEIGHT),
                label=f"Loss curve. {words}",
                container=True,
            ),
            small_text(words),
        ],
        spacing=theme.SPACE_S,
        tight=True,
    )


def _chart(curves: Sequence[Curve], colors: Sequence[ft.ColorValue], checkpoints: Sequence[int]) -> ft.Control:
    every = [point for curve in curves for point in curve.points]
    values = [value for _, value in every]
    y_ticks = ticks(min(values), max(values))
    x_ticks = ticks(min(step for step, _ in every), max([step for step, _ in every] + list(checkpoints)))
    chart: ft.Control = charts.LineChart(
        data_series=[
            _line(curve, color, number, checkpoints)
            for number, (curve, color) in enumerate(zip(curves, colors, strict=False))
        ],
        min_x=min(x_ticks),
        max_x=max(x_ticks),
        min_y=min(y_ticks),
        max_y=max(y_ticks),
        interactive=True,
        left_axis=charts.ChartAxis(
            labels=[_tick(value, f"{value:.4g}") for value in y_ticks],
            label_size=52,
            label_spacing=y_ticks[1] - y_ticks[0],
        ),
        bottom_axis=charts.ChartAxis(
            labels=[_tick(value, f"{value:,.0f}", 0) for value in x_ticks if value == int(value)],
            label_size=24,
            label_spacing=x_ticks[1] - x_ticks[0],
            title=small_text("Step"),
            title_size=20,
        ),
        horizontal_grid_lines=charts.ChartGridLines(
            interval=y_ticks[1] - y_ticks[0], color=ft.Colors.OUTLINE_VARIANT, width=1
        ),
        border=ft.Border(bottom=ft.BorderSide(1, ft.Colors.OUTLINE), left=ft.BorderSide(1, ft.Colors.OUTLINE)),
        tooltip=charts.LineChartTooltip(
            bgcolor=ft.Colors.INVERSE_SURFACE, fit_inside_horizontally=True, fit_inside_vertically=True
        ),
    )
    return chart


def _line(curve: Curve, color: ft.ColorValue, number: int, checkpoints: Sequence[int]) -> charts.LineChartData:
    marked = {nearest(curve.points, step) for step in checkpoints} if number == 0 else set()
    mark = charts.ChartSquarePoint(color=color, size=10, stroke_color=ft.Colors.SURFACE, stroke_width=2)
    lone = len(curve.points) == 1
    return charts.LineChartData(
        points=[
            charts.LineChartDataPoint(
                step,
                value,
                point=mark if place in marked else lone,
                tooltip=charts.LineChartDataPointTooltip(
                    text=f"{curve.label} {value:.4g}\nstep {step:,}{' · checkpoint' if place in marked else ''}",
                    text_style=ft.TextStyle(size=theme.TEXT_SMALL, color=ft.Colors.ON_INVERSE_SURFACE),
                ),
            )
            for place, (step, value) in enumerate(curve.points)
        ],
        color=color,
        stroke_width=2,
        dash_pattern=[6, 4] if number else None,
    )


def nearest(points: Sequence[Point], step: int) -> int:
    """Which point lies nearest to ``step``: a checkpoint may be saved between two recorded numbers."""
    return min(range(len(points)), key=lambda place: abs(points[place][0] - step))


def _tick(value: float, text: str, gap: int = 6) -> charts.ChartAxisLabel:
    return charts.ChartAxisLabel(
        value=value, label=ft.Container(small_text(text), padding=ft.Padding.only(right=gap))
    )


def _legend(text: str, color: ft.ColorValue, dashed: bool = False, mark: bool = False) -> ft.Control:
    sign: ft.Control = ft.Container(width=18, height=3, bgcolor=color, border_radius=2)
    if mark:
        sign = ft.Container(width=10, height=10, bgcolor=color)
    elif dashed:
        dash = [ft.Container(width=7, height=3, bgcolor=color) for _ in range(2)]
        sign = ft.Row(list(dash), spacing=4, tight=True)
    return ft.Row([sign, small_text(text)], spacing=6, tight=True)
