"""How a base model's weights are held, in which type it computes, and why. Never a silent fallback."""

import importlib.util
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from errors import ModelLoadError
from helpers.base_models import BaseSummary
from helpers.local_inference.memory_estimate import MemoryNeed, Room, estimate, in_gigabytes
from helpers.local_inference.requests import Dtype, Quantization

if TYPE_CHECKING:
    import torch

# Below this the whole model is smaller than what a page of browser tabs takes: full precision costs nothing.
SMALL_MODEL_BYTES = 256 * 2**20
_HOW = {
    Quantization.NF4: "nf4 with double quantisation by bitsandbytes.",
    Quantization.INT4: "fp4, the 4-bit type of bitsandbytes beside nf4, with double quantisation.",
    Quantization.INT8: "8-bit weights by bitsandbytes.",
}
_LABELS = {Quantization.NF4: "4-bit (nf4)", Quantization.INT4: "4-bit (fp4)", Quantization.INT8: "8-bit"}


@dataclass(frozen=True)
class Device:
    """Where the model computes: torch's device type, and which of the low-precision types it does natively."""

    kind: str
    bfloat16: bool
    float16: bool


@dataclass(frozen=True)
class WeightsChoice:
    """What is done, and the reason as sentences for the user.

    ``quantization``: NONE, INT8, INT4 or NF4 = quantise while loading; None = the base is stored quantised and stays
    so. ``label`` names it for the user. ``own_int8``: 8-bit by this app's own layers instead of bitsandbytes.
    """

    quantization: Quantization | None
    label: str
    dtype: Dtype
    # Two choices that do the same are the same, whatever led to them.
    reason: str = field(compare=False)
    own_int8: bool = False

    @property
    def by_bitsandbytes(self) -> bool:
        """Whether bitsandbytes quantises while the weights load."""
        return self.quantization not in (None, Quantization.NONE) and not self.own_int8


def find_device() -> Device:
    """CUDA, else Apple's MPS, else the CPU."""
    import torch

    if torch.cuda.is_available():
        return Device("cuda", torch.cuda.is_bf16_supported(including_emulation=False), True)
    if torch.backends.mps.is_available():
        # Metal has had bfloat16 since macOS 14.
        return Device("mps", torch.backends.mps.is_macos_or_newer(14, 0), True)
    return Device("cpu", _cpu_computes_bfloat16(), False)


def choose_weights(
    device: Device,
    requested: Quantization,
    dtype: Dtype,
    base: BaseSummary,
    *,
    has_bitsandbytes: bool | None = None,
    room: Room | None = None,
) -> WeightsChoice:
    """Decide for ``base`` on ``device``. ``has_bitsandbytes`` None = look whether it is installed.

    AUTO: a base stored quantised keeps its form; a small model stays as it is; on CUDA the others become nf4 where
    bitsandbytes is installed; elsewhere weights stay standard. Where these do not fit into ``room`` (None = memory
    plays no part), a CPU takes 8 bits, else 4 bits; on a GPU there is nothing smaller, and the reason says so. What
    is asked for explicitly is done or refused: raises ModelLoadError with the next step.
    """
    available = has_bitsandbytes if has_bitsandbytes is not None else find_bitsandbytes()
    small = 0 < base.size_bytes < SMALL_MODEL_BYTES
    compute, why_dtype = _choose_dtype(device, dtype, small and base.quantization is None)
    if base.quantization is not None:
        own = _keep_own(device, requested, compute, base, available)
        fit = f" {_fit(estimate(base, None, compute, room), room)}" if room is not None else ""
        return replace(own, reason=f"{own.reason} {why_dtype}{fit}")
    if requested is Quantization.AUTO:
        chosen, why = _automatic(device, small, available)
        if room is not None and not small:
            chosen, why = _that_fits(chosen, why, _smaller_forms(device, dtype, available), base, compute, room)
    else:
        chosen, why = requested, "As chosen."
    if chosen is Quantization.NONE:
        return WeightsChoice(chosen, "none", compute, f"{why} {why_dtype}")
    if chosen is Quantization.INT8 and _computes_own_int8(device, dtype):
        how = "8-bit weights with one scale for each row, computing in bfloat16."
        return WeightsChoice(chosen, "Fast 8-bit", Dtype.BFLOAT16, f"{why} {how}", own_int8=True)
    _require_bitsandbytes(device, _LABELS[chosen], available)
    if chosen is not Quantization.INT8:
        # Double quantisation with bf16 compute is the QLoRA recipe (Dettmers et al. 2023), at any size.
        compute, why_dtype = _choose_dtype(device, dtype, small=False)
    return WeightsChoice(chosen, _LABELS[chosen], compute, f"{why} {_HOW[chosen]} {why_dtype}")


def find_bitsandbytes() -> bool:
    """True where bitsandbytes is installed; does not import it."""
    return importlib.util.find_spec("bitsandbytes") is not None


def torch_dtype(dtype: Dtype) -> "torch.dtype":
    """The torch type of a decided ``dtype`` (not AUTO)."""
    import torch

    return {Dtype.FLOAT32: torch.float32, Dtype.BFLOAT16: torch.bfloat16, Dtype.FLOAT16: torch.float16}[dtype]


def _computes_own_int8(device: Device, dtype: Dtype) -> bool:
    # With other activations than bfloat16 the 8-bit product is ten times as slow.
    return device.kind == "cpu" and device.bfloat16 and dtype in (Dtype.AUTO, Dtype.BFLOAT16)


def _automatic(device: Device, small: bool, has_bitsandbytes: bool) -> tuple[Quantization, str]:
    if small:
        return Quantization.NONE, "The model is small: full weights cost nothing."
    if device.kind != "cuda":
        return Quantization.NONE, f"Standard weights, since there is no CUDA GPU (device: {device.kind})."
    if not has_bitsandbytes:
        return Quantization.NONE, (
            "Standard weights: 4-bit ones, the default on a CUDA GPU, need bitsandbytes, which is not installed "
            "(“pip install bitsandbytes”)."
        )
    return Quantization.NF4, "4-bit weights are the default on a CUDA GPU: a quarter of the memory."


def _smaller_forms(device: Device, dtype: Dtype, has_bitsandbytes: bool) -> list[Quantization]:
    """What can be done on a CPU where standard weights do not fit, the larger first."""
    forms = []
    if _computes_own_int8(device, dtype):
        forms.append(Quantization.INT8)
    if device.kind == "cpu" and has_bitsandbytes:
        forms.append(Quantization.NF4)
    return forms


def _that_fits(
    chosen: Quantization,
    why: str,
    smaller: list[Quantization],
    base: BaseSummary,
    compute: Dtype,
    room: Room,
) -> tuple[Quantization, str]:
    """``chosen``, or the first of ``smaller`` that fits into ``room``; the reason with the numbers."""
    need = estimate(base, chosen, compute, room)
    if room.fits(need) or not smaller:
        return chosen, f"{why} {_fit(need, room)}"
    needs = {form: estimate(base, form, compute, room) for form in smaller}
    form = next((form for form in smaller if room.fits(needs[form])), smaller[-1])
    tight = "" if room.fits(needs[form]) else " Even that may not fit."
    return form, (
        f"Smaller weights, since standard ones need {need} and {in_gigabytes(room.free_bytes)} are free; "
        f"these need {in_gigabytes(needs[form].total)}.{tight}"
    )


def _fit(need: MemoryNeed, room: Room) -> str:
    free = in_gigabytes(room.free_bytes)
    if room.fits(need):
        return f"Needs {need}; {free} are free."
    return f"Needs {need}, and only {free} are free: it may not fit."


def _keep_own(
    device: Device, requested: Quantization, compute: Dtype, base: BaseSummary, has_bitsandbytes: bool
) -> WeightsChoice:
    own = str(base.quantization)
    same = {
        "bitsandbytes nf4": Quantization.NF4,
        "bitsandbytes fp4": Quantization.INT4,
        "bitsandbytes int8": Quantization.INT8,
    }
    if requested is not Quantization.AUTO and same.get(own) is not requested:
        raise ModelLoadError(
            f"The base model is stored as {own} and cannot be loaded as “{requested}”.",
            "Choose quantization “auto”, or a base model with full weights.",
        )
    if own.startswith("bitsandbytes"):
        _require_bitsandbytes(device, own, has_bitsandbytes)
    return WeightsChoice(None, own, compute, f"The base model is stored as {own} and stays so.")


def _require_bitsandbytes(device: Device, label: str, has_bitsandbytes: bool) -> None:
    if device.kind == "mps":
        raise ModelLoadError(
            f"{label} weights need bitsandbytes, which does not run on this Mac's GPU.",
            "Choose quantization “none”, and a base model with full weights.",
        )
    if not has_bitsandbytes:
        raise ModelLoadError(
            f"{label} weights need bitsandbytes, which is not installed.",
            "Install it with “pip install bitsandbytes” (Linux and Windows), or choose quantization “none”.",
        )


def _choose_dtype(device: Device, requested: Dtype, small: bool) -> tuple[Dtype, str]:
    if requested is not Dtype.AUTO:
        return requested, f"Computes in {requested}, as chosen."
    if small:
        return Dtype.FLOAT32, "Computes in float32: at this size it is exact and costs nothing."
    if device.bfloat16:
        return Dtype.BFLOAT16, "Computes in bfloat16, which this device does natively."
    if device.float16:
        return Dtype.FLOAT16, "Computes in float16, since this GPU has no bfloat16."
    return Dtype.FLOAT32, "Computes in float32, since this processor has no fast bfloat16."


def _cpu_computes_bfloat16() -> bool:
    """AVX512-BF16, AMX or Arm's BF16: without one of them bfloat16 on a CPU is slower than float32."""
    import torch

    features = torch.cpu.get_capabilities()
    return any(features.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
