"""What the adapter doctor says, drawn: findings with icon, words and next step, then facts of adapter and base."""

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
    """All findings of ``report``, errors first, and what is known of the adapter and its base."""
    rows: list[ft.Control] = [_finding_row(finding) for finding in report.findings]
    if not report.findings:
        rows.append(said("The doctor found nothing wrong.", theme.TEXT_SMALL))
    rows += [fact_row(name, value) for name, value in report_pairs(report)]
    return ft.Column(rows, spacing=theme.SPACE_S, tight=True)


def report_pairs(report: ValidationReport) -> list[tuple[str, str]]:
    """Facts of adapter and base as names and values; what is not known is left out."""
    pairs = _adapter_pairs(report.adapter) if report.adapter is not None else []
    if report.base_name:
        pairs.append(("Base model", report.base_name))
    if report.base is not None:
        pairs.append(("Base folder", str(report.base.path)))
        pairs.append(("Base type", f"{report.base.model_type}, {readable_bytes(report.base.size_bytes)}"))
    return pairs


def _adapter_pairs(adapter: AdapterSummary) -> list[tuple[str, str]]:
    pairs = [("Adapter folder", str(adapter.path)), ("Type", peft_words(adapter.peft_type, None))]
    if adapter.rank is not None:
        alpha = f", {adapter.alpha:g}" if adapter.alpha is not None else ""
        pairs.append(("Rank, alpha" if alpha else "Rank", f"{adapter.rank}{alpha}"))
    if adapter.target_modules:
        pairs.append(("Target modules", ", ".join(adapter.target_modules)))
    tensors = f" in {adapter.tensor_count} tensors" if adapter.tensor_count else ""
    pairs.append(("Size", f"{readable_bytes(adapter.size_bytes)}{tensors}"))
    pairs.append(("Trained on", adapter.base_model or "not recorded"))
    if adapter.fingerprint is not None:
        pairs.append(("Fingerprint", short_fingerprint(adapter.fingerprint)))
    return pairs


def _finding_row(finding: Finding) -> ft.Control:
    icon, color = _ICONS[finding.severity]
    words = ft.Column(
        [
            said(f"{_WORDS[finding.severity]}: {finding.message}", theme.TEXT_SMALL),
            said(finding.hint, theme.TEXT_SMALL, theme.SECONDARY_TEXT),
        ],
        spacing=2,
        tight=True,
        expand=True,
    )
    return ft.Row(
        [ft.Icon(icon, size=18, color=color), words],
        spacing=theme.SPACE_S,
        vertical_alignment=ft.CrossAxisAlignment.START,
    )


def peft_words(peft_type: str | None, rank: int | None) -> str:
    """Type and rank as the papers write them: LoRA r16, IA3."""
    name = {"LORA": "LoRA", "ADALORA": "AdaLoRA", "LOHA": "LoHa", "LOKR": "LoKr"}.get(
        peft_type or "", peft_type or "-"
    )
    return f"{name} r{rank}" if rank is not None else name
