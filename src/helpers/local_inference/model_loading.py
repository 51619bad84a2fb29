"""A base model from its folder into memory: quantised or not, whole or not at all."""

import gc
import inspect
import logging
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from errors import ModelLoadError, OutOfMemoryError
from helpers.local_inference.base_model_files import LoadingReport, first_line
from helpers.local_inference.generation_events import ModelLoading
from helpers.local_inference.quantization_policy import Device, WeightsChoice, torch_dtype
from helpers.local_inference.requests import Dtype, Quantization

logger = logging.getLogger(__name__)
_REPORT_STEPS = 50


def load_base_model(
    folder: Path,
    choice: WeightsChoice,
    device: Device,
    *,
    vocabulary_rows: int | None,
    size_bytes: int,
    report: LoadingReport,
) -> Any:
    """The causal language model in ``folder``, ready to compute, without gradients.

    ``vocabulary_rows``: resize the embeddings to this many rows, None = as they are. Code that comes with a model is
    never run. Raises ModelLoadError, OutOfMemoryError, and whatever ``report`` raises.
    """
    from transformers import AutoModelForCausalLM

    model: Any
    info: dict[str, Any]
    options: dict[str, Any] = {
        "dtype": torch_dtype(choice.dtype),
        "local_files_only": True,
        "trust_remote_code": False,
        "output_loading_info": True,
        # They are refused below by name; transformers itself would only point to its log.
        "ignore_mismatched_sizes": True,
    }
    if device.kind != "cpu" or choice.by_bitsandbytes or choice.quantization is None:
        options["device_map"] = {"": device.kind}
    if choice.by_bitsandbytes:
        options["quantization_config"] = _bitsandbytes_config(choice)
    with _load_errors_in_words(folder), _reported_progress(report, size_bytes):
        model, info = AutoModelForCausalLM.from_pretrained(folder, **options)  # type: ignore[misc]
        _require_every_weight(folder, info)
        _require_keys_and_values(model)
        if vocabulary_rows is not None and vocabulary_rows != model.get_input_embeddings().weight.shape[0]:
            # The adapter brings the new rows, so their first values do not matter.
            model.resize_token_embeddings(vocabulary_rows, mean_resizing=False)
    if device.kind == "cpu":
        _keep_bitsandbytes_to_shapes_it_can_pack(model)
    model.eval()
    model.requires_grad_(False)
    return model


def choose_kernel(model: Any, choice: WeightsChoice, device: Device, *, plain: bool) -> str:
    """Let ``model`` compute as fast as ``device`` can; what computes now, in words, empty = nothing special.

    ``plain``: its layers must stay ordinary ones. Raises ModelLoadError where a chosen quantisation cannot be done.
    """
    if device.kind != "cpu" or choice.dtype is not Dtype.BFLOAT16 or choice.quantization is None:
        return ""
    from helpers.local_inference import cpu_attention, cpu_linears

    kernel = ""
    if choice.own_int8:
        if plain or not cpu_linears.quantize_to_int8(model):
            raise ModelLoadError(
                "“Fast 8-bit” cannot be used with this model, adapter or processor.",
                "Choose quantization “auto” or “none”.",
            )
        kernel = cpu_linears.INT8
    elif choice.quantization is Quantization.NONE:
        kernel = cpu_linears.PLAIN if plain else cpu_linears.pack(model)
    cpu_attention.install(model)
    return kernel


def _require_keys_and_values(model: Any) -> None:
    if "past_key_values" not in inspect.signature(model.forward).parameters:
        raise ModelLoadError(
            f"Models of the type “{model.config.model_type}” keep a state of their own instead of keys and values; "
            "they cannot be used here yet.",
            "Pick a base model with attention layers.",
        )


def _require_every_weight(folder: Path, info: dict[str, Any]) -> None:
    mismatched = sorted(info["mismatched_keys"])
    if mismatched:
        name, stored, expected = mismatched[0]
        raise ModelLoadError(
            f"{len(mismatched)} weights in “{folder}” have another shape than its config.json says: "
            f"{name} is {list(stored)} and should be {list(expected)}.",
            "Download the base model again, so that config and weights belong together.",
        )
    missing = sorted(set(info["missing_keys"]))
    if missing:
        raise ModelLoadError(
            f"“{folder}” lacks {len(missing)} weights of the model: {', '.join(missing[:5])}.",
            "Download the base model again.",
        )


def _keep_bitsandbytes_to_shapes_it_can_pack(model: Any) -> None:
    """Where the CPU has AVX512-BF16, bitsandbytes repacks 4-bit weights in blocks and fails on other shapes."""
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            packable = module.out_features % 32 == 0 and module.in_features % module.weight.quant_state.blocksize == 0
            module.support_avx512bf16_for_cpu = packable


def _bitsandbytes_config(choice: WeightsChoice) -> Any:
    from transformers import BitsAndBytesConfig

    if choice.quantization is Quantization.INT8:
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4" if choice.quantization is Quantization.NF4 else "fp4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch_dtype(choice.dtype),
    )


@contextmanager
def memory_errors_in_words(what: Path | str) -> Iterator[None]:
    """Turn what torch raises for lack of memory into an OutOfMemoryError with the next step."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise _out_of_memory(what) from error
        raise


@contextmanager
def _load_errors_in_words(what: Path) -> Iterator[None]:
    """Turn what transformers raises for bad files into errors with a next step."""
    from safetensors import SafetensorError

    damaged = "Download the base model again, or pick another one."
    try:
        with memory_errors_in_words(what):
            yield
    except (SafetensorError, pickle.UnpicklingError, EOFError) as error:
        raise ModelLoadError(f"The weights in “{what}” are damaged: {error}.", damaged) from error
    except ImportError as error:
        raise ModelLoadError(
            f"Loading “{what}” needs a package that is not installed: {first_line(error)}",
            "Install it, or pick a base model with full weights.",
        ) from error
    except OSError as error:
        raise ModelLoadError(f"“{what}” cannot be read as a model: {first_line(error)}", damaged) from error
    except RuntimeError as error:
        raise ModelLoadError(f"Loading “{what}” failed: {first_line(error)}", damaged) from error
    except (ValueError, KeyError) as error:
        if "trust_remote_code" in str(error):
            raise ModelLoadError(
                f"“{what}” needs Python code that comes with the model, and such code is never run here.",
                "Pick a model that transformers knows by itself.",
            ) from error
        raise ModelLoadError(f"“{what}” cannot be loaded: {first_line(error)}", damaged) from error


def release_memory() -> None:
    """Give back what models held that nobody uses any more; modules and hooks refer to each other in circles."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python or torch says with ``error`` that there is no memory left."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # Lack of memory on the CPU and on Apple's GPU has no class of its own.
    text = str(error)
    return "can't allocate memory" in text or "not enough memory" in text or "MPS backend out of memory" in text


def _out_of_memory(what: Path | str) -> OutOfMemoryError:
    release_memory()
    return OutOfMemoryError(
        f"There is not enough memory for “{what}”.",
        "Choose quantization “nf4”, a smaller base model, a shorter prompt or fewer new tokens.",
    )


@contextmanager
def _reported_progress(report: LoadingReport, size_bytes: int) -> Iterator[None]:
    """Report while transformers walks through the weights.

    transformers offers one hook for its progress bars; bytes are the share of weights done times the files' size.
    """
    from transformers.utils import logging as transformers_logging

    def walk(_factory: Any, arguments: tuple[Any, ...], values: dict[str, Any]) -> Iterable[Any]:
        items = arguments[0] if arguments else values.get("iterable", ())
        total = max(1, len(items) if hasattr(items, "__len__") else 1)
        step = max(1, total // _REPORT_STEPS)
        for position, item in enumerate(items):
            if position % step == 0:
                report(ModelLoading("Loading the base model…", size_bytes * position // total, size_bytes))
            yield item
        report(ModelLoading("Loading the base model…", size_bytes, size_bytes))

    previous = transformers_logging.set_tqdm_hook(walk)
    try:
        yield
    finally:
        transformers_logging.set_tqdm_hook(previous)
