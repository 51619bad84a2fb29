"""Linear layers that a CPU computes faster: weights packed for oneDNN, and 8-bit weights.

Decoding is bound by memory: each token reads every weight once. Packing lays the weights out as the processor reads
them; 8 bits halve what is read. Both keep no second copy of the weights, and both are ``nn.Linear`` to PEFT, which
asks ``weight`` for device and type, and computes adapters beside the layer.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

logger = logging.getLogger(__name__)
PACKED, INT8, PLAIN = "packed bfloat16 weights (oneDNN)", "8-bit weights, computing in bfloat16", "plain PyTorch"
# Below this a token takes a millisecond or two, and most of it is not in the linear layers.
FEWEST_PARAMETERS = 100_000_000
# torch._weight_int8pack_mm is for decoding; with more rows an ordinary product wins.
_FEW_ROWS = 8
# The 8-bit kernel reads each row in blocks of this many weights and checks nothing.
_BLOCK = 32
# Enough layers that they do not stay in the processor's cache between two rounds, as in a whole model.
_PROBED_LAYERS, _PROBE_ROUNDS = 16, 3
_CLEARLY = 1.1


class _OwnLinear(nn.Linear):
    """A linear layer that holds its weights in another form; ``weight`` brings them back for who asks."""

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias

    def plain(self) -> nn.Linear:
        """An ordinary layer that computes the same."""
        linear = nn.Linear(self.in_features, self.out_features, device="meta", dtype=torch.bfloat16)
        linear.weight = nn.Parameter(self.weight, requires_grad=False)
        linear.bias = self.bias
        return linear

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Linear:
        # Packed weights cannot be copied; PEFT's modules_to_save copies a layer to replace its weights anyway.
        return copy.deepcopy(self.plain(), memo)


class PackedLinear(_OwnLinear):
    """Weights in bfloat16 as oneDNN packs them; gives the same sums as the plain layer, exactly."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), 1)

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        """The weights (out, in), unpacked anew each time."""
        return self.packed.to_dense()  # type: ignore[no-any-return]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        return torch.ops.mkldnn._linear_pointwise(  # type: ignore[no-any-return]
            input, self.packed, self.bias, "none", [], ""
        )


class Int8Linear(_OwnLinear):
    """Weights as 8-bit numbers with one scale for each output row (symmetric, rounded to the nearest)."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear)
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(dim=1).clamp_min(1e-8) / 127
        self.weight_int8 = (weight / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
        self.scale = scale.to(torch.bfloat16)

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        """The weights (out, in) as they are used, in bfloat16."""
        return self.weight_int8.to(torch.bfloat16) * self.scale[:, None]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        rows = input.reshape(-1, input.shape[-1])
        if len(rows) <= _FEW_ROWS:
            found = torch._weight_int8pack_mm(rows, self.weight_int8, self.scale)
        else:
            found = F.linear(rows, self.weight_int8.to(torch.bfloat16)) * self.scale
        if self.bias is not None:
            found = found + self.bias
        return found.view(*input.shape[:-1], -1)


def pack(model: Any) -> str:
    """Pack the linear layers of a bfloat16 ``model`` where that is right and faster; the kernel in words."""
    layers = _plain_linears(model)
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not available or sum(layer.weight.numel() for layer in layers) < FEWEST_PARAMETERS:
        return PLAIN
    if not _computes_the_same(layers[0], PackedLinear(layers[0])) or not _is_faster(layers):
        logger.info("packed linear layers are not used: wrong or slower on this processor")
        return PLAIN
    _replace(model, lambda layer: PackedLinear(layer))
    return PACKED


def quantize_to_int8(model: Any) -> bool:
    """Give the linear layers of a bfloat16 ``model`` 8-bit weights; False where this processor gets it wrong."""
    layers = [layer for layer in _plain_linears(model) if _fits_int8(layer)]
    if not layers or not _computes_the_same(Int8Linear(layers[0]).plain(), Int8Linear(layers[0])):
        return False
    _replace(model, lambda layer: Int8Linear(layer) if _fits_int8(layer) else layer)
    return True


def unpack(model: Any) -> None:
    """Ordinary layers again, for adapters that read the weights at every token."""
    _replace(model, lambda layer: layer.plain() if isinstance(layer, PackedLinear) else layer)


def _plain_linears(model: Any) -> list[nn.Linear]:
    return [
        module for module in model.modules() if type(module) is nn.Linear and module.weight.dtype == torch.bfloat16
    ]


def _fits_int8(layer: nn.Linear) -> bool:
    return type(layer) is nn.Linear and layer.in_features % _BLOCK == 0


def _replace(model: Any, replacement: Callable[[Any], nn.Module]) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and (type(child) is nn.Linear or isinstance(child, _OwnLinear)):
                parent._modules[name] = replacement(child).eval()


@torch.inference_mode()
def _computes_the_same(plain: nn.Linear, own: nn.Linear) -> bool:
    """One layer, one row and several: the results differ by no more than bfloat16 rounds."""
    generator = torch.Generator().manual_seed(0)
    for rows in (1, 2 * _FEW_ROWS):
        inputs = torch.randn(rows, plain.in_features, generator=generator).to(torch.bfloat16)
        expected, found = plain(inputs).float(), own(inputs).float()
        if not torch.allclose(found, expected, rtol=2**-6, atol=float(expected.abs().amax()) * 2**-6):
            return False
    return True


@torch.inference_mode()
def _is_faster(layers: Sequence[nn.Linear]) -> bool:
    """Time one token through some layers, plain and packed in turn.

    The best round of each counts: on a busy machine the others tell of the other programs. Without a clear
    difference packing stays, because it is the better one wherever it was measured at rest.
    """
    plain = sorted(layers, key=lambda layer: layer.weight.numel())[-_PROBED_LAYERS:]
    packed = [PackedLinear(layer) for layer in plain]
    inputs = [torch.ones(1, layer.in_features, dtype=torch.bfloat16) for layer in plain]
    best = {"plain": math.inf, "packed": math.inf}
    # The first round only fetches the weights.
    for round_number in range(_PROBE_ROUNDS + 1):
        for name, tried in (("plain", plain), ("packed", packed)):
            started = time.perf_counter()
            for layer, row in zip(tried, inputs, strict=True):
                layer(row)
            if round_number:
                best[name] = min(best[name], time.perf_counter() - started)
    return best["packed"] < _CLEARLY * best["plain"]
