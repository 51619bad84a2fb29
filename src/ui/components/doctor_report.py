"""What the adapter doctor says, drawn: findings with icon, words and next step, then facts of adapter and base."""

from collections.abc import Sequence

import flet as ft

from helpers.adapter_validation import AdapterSummary, Finding, Severity, ValidationReport, short_fingerprint
from ui import theme
from ui.background_tasks import safe_component
from ui.components.cards import fact_row, said
from ui.components.readable import readable_bytes

_WORDS = {Severity.ERROR: "Error", Severity.WARNING: "Warning", Severity.INFO: "Good to know"}
_ICONS = {
    Severity.ERROR: (ft.Icons.ERROR, ft.Colors.ERROR),
    Severity.WARNING: (ft.Icons.WARNING_AMBER, ft.Colors.TERTIARY),
    Severity.INFO: (ft.Icons.INFO_OUTLINE, theme.SECONDARY_TEXT),
}


@safe_component
def DoctorReport(report: ValidationReport) -> ft.Control:
    """All findings of ``report``, errors first, then what is known of the adapter and its base."""
    findings = [_finding_row(finding) for finding in report.findings]
    parts: list[ft.Control] = [ft.Column(findings or [_nothing_found()], spacing=theme.SPACE_S, tight=True)]
    if report.adapter is not None:
        parts.append(fact_section("Adapter", _adapter_pairs(report.adapter)))
    if report.base_name:
        parts.append(fact_section("Base model", _base_pairs(report, report.base_name)))
    return ft.Column(parts, spacing=theme.SPACE_L, tight=True)


def fact_section(title: str, pairs: Sequence[tuple[str, str]]) -> ft.Control:
    """A small heading with names and values below it."""
    heading = ft.Text(title, size=theme.TEXT_SMALL, weight=ft.FontWeight.W_600, color=ft.Colors.PRIMARY)
    return ft.Column([heading, *(fact_row(name, value) for name, value in pairs)], spacing=6, tight=True)


def _adapter_pairs(adapter: AdapterSummary) -> list[tuple[str, str]]:
    pairs = [("Folder", str(adapter.path)), ("Type", peft_words(adapter.peft_type, None))]
    if adapter.rank is not None:
        alpha = f", {adapter.alpha:g}" if adapter.alpha is not None else ""
        pairs.append(("Rank, alpha" if alpha else "Rank", f"{adapter.rank}{alpha}"))
    if adapter.target_modules:
        pairs.append(("Target modules", ", ".join(adapter.target_modules)))
    if adapter.size_bytes:
        tensors = f" in {adapter.tensor_count} tensors" if adapter.tensor_count else ""
        pairs.append(("Size", f"{readable_bytes(adapter.size_bytes)}{tensors}"))
    pairs.append(("Trained on", adapter.base_model or "not recorded"))
    if adapter.fingerprint is not None:
        pairs.append(("Fingerprint", short_fingerprint(adapter.fingerprint)))
    return pairs


def _base_pairs(report: ValidationReport, name: str) -> list[tuple[str, str]]:
    if report.base is None:
        return [("Name", name)]
    return [
        ("Name", name),
        ("Folder", str(report.base.path)),
        ("Type", report.base.model_type),
        ("Size", readable_bytes(report.base.size_bytes)),
    ]


def _nothing_found() -> ft.Control:
    return _row(ft.Icons.CHECK, theme.SECONDARY_TEXT, [said("The doctor found nothing to note.", theme.TEXT_SMALL)])


def _finding_row(finding: Finding) -> ft.Control:
    icon, color = _ICONS[finding.severity]
    words: list[ft.Control] = [
        said(f"{_WORDS[finding.severity]}: {finding.message}", theme.TEXT_SMALL),
        said(finding.hint, theme.TEXT_SMALL, theme.SECONDARY_TEXT),
    ]
    return _row(icon, color, words)


def _row(icon: ft.IconData, color: ft.ColorValue, words: list[ft.Control]) -> ft.Control:
    return ft.Row(
        [ft.Icon(icon, size=18, color=color), ft.Column(words, spacing=2, tight=True, expand=True)],
        spacing=theme.SPACE_S,
        vertical_alignment=ft.CrossAxisAlignment.START,
    )


def peft_words(peft_type: str | None, rank: int | None) -> str:
    """Type and rank as the papers write them: LoRA r16, IA3."""
    name = {"LORA": "LoRA", "ADALORA": "AdaLoRA", "LOHA": "LoHa", "LOKR": "LoKr"}.get(
        peft_type or "", peft_type or "-"
    )
    return f"{name} r{rank}" if rank is not None else name
