"""What each adapted module's weights say about the module they were trained for."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from helpers.adapter_doctor.adapter_config import AdapterConfig
from helpers.adapter_doctor.peft_facts import parse_key

Shape = tuple[int, ...]


@dataclass(frozen=True)
class AdaptedModule:
    """One module by its name in the model; its output and input features as its adapter weights have them.

    None = the weights do not tell; both None = they are of a form that is not judged.
    """

    name: str
    outputs: int | None
    inputs: int | None

    def fits(self, shape: Shape) -> bool:
        """Whether a weight of ``shape`` (out, in) can be adapted by it; other than two dimensions: not judged."""
        if len(shape) != 2:
            return True
        return self.outputs in (None, shape[0]) and self.inputs in (None, shape[1])

    def described(self) -> str:
        """Its shape in words: out × in."""
        return f"{self.outputs or '?'} × {self.inputs or '?'}"


def adapted_modules(config: AdapterConfig, tensors: Mapping[str, Shape]) -> list[AdaptedModule]:
    """Every module that has adapter weights in ``tensors`` (shape by tensor name), of the types that are known."""
    parts: dict[str, dict[str, Shape]] = defaultdict(dict)
    for name, shape in tensors.items():
        key = parse_key(name)
        if key and key.part and not key.is_bias:
            parts[key.module][key.part] = shape
    return [_module(config, name, held) for name, held in parts.items()]


def _module(config: AdapterConfig, name: str, held: Mapping[str, Shape]) -> AdaptedModule:
    if any(len(shape) not in (1, 2) for shape in held.values()):
        return AdaptedModule(name, None, None)
    if "ia3_l" in held:
        return _ia3(name, held["ia3_l"])
    if "lokr_w1" in held or "lokr_w1_a" in held:
        return _lokr(name, held)
    if "vera_lambda_b" in held:
        return AdaptedModule(name, held["vera_lambda_b"][0], None)
    if "lora_embedding_A" in held:
        return AdaptedModule(name, _at(held.get("lora_embedding_A"), 1), _at(held.get("lora_embedding_B"), 0))
    outputs = _at(held.get("lora_B"), 0) or _at(held.get("hada_w1_a"), 0)
    return AdaptedModule(name, outputs, _at(held.get("lora_A"), 1) or _at(held.get("hada_w1_b"), 1))


def _ia3(name: str, shape: Shape) -> AdaptedModule:
    # (1, in) scales what a feed-forward module reads, (out, 1) what another one gives.
    if len(shape) == 2 and shape[0] == 1:
        return AdaptedModule(name, None, shape[1])
    return AdaptedModule(name, shape[0], None)


def _lokr(name: str, held: Mapping[str, Shape]) -> AdaptedModule:
    # The change is the Kronecker product of w1 and w2: sizes multiply.
    left = held.get("lokr_w1") or _joined(held.get("lokr_w1_a"), held.get("lokr_w1_b"))
    right = held.get("lokr_w2") or _joined(held.get("lokr_w2_a"), held.get("lokr_w2_b"))
    if left is None or right is None or len(left) != 2 or len(right) != 2:
        return AdaptedModule(name, None, None)
    return AdaptedModule(name, left[0] * right[0], left[1] * right[1])


def _joined(left: Shape | None, right: Shape | None) -> Shape | None:
    return (left[0], right[-1]) if left and right else None


def _at(shape: Shape | None, place: int) -> int | None:
    return shape[place] if shape is not None and len(shape) > place else None
