"""llama.cpp on the same weights, where ``llama_cpp`` and ``gguf`` are installed.

Merging an adapter changes no shape, so the base's own weights tell llama.cpp's speed with a merged one. Run as a
program with the base's folder, a folder to write to and a number of rounds, it prints its speeds as JSON.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import Figure

_NEEDED = ("llama_cpp", "gguf")
_TYPES = ("BF16", "Q8_0")
_PROMPT, _TOKENS = list(range(5, 37)), 32
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def beside_llama(base: Path, rounds: int) -> list[Figure]:
    """llama.cpp's decoding speed in bfloat16 and 8 bits; nothing, and a line that says why, where it cannot run."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"llama.cpp is left out: {' and '.join(missing)} not installed.", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, __file__, str(base), folder, str(rounds)]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"llama.cpp is left out, because it failed: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return []
    speeds: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return [Figure("llama.cpp", f"decode, {name}", "tok/s", found) for name, found in speeds.items()]


def write_gguf(base: Path, path: Path, kind: str) -> None:
    """The Llama model in ``base`` as a GGUF file without a vocabulary; matrices in ``kind``, vectors in float32."""
    import gguf
    from safetensors.torch import load_file

    config: dict[str, Any] = json.loads((base / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    for name, tensor in load_file(base / "model.safetensors").items():
        numbers = tensor.float()
        if "q_proj" in name or "k_proj" in name:
            # llama.cpp rotates neighbours, transformers the two halves of a head.
            size = config["head_dim"]
            numbers = numbers.view(-1, 2, size // 2, numbers.shape[1]).transpose(1, 2).reshape(tensor.shape)
        wanted = gguf.GGMLQuantizationType[kind if tensor.dim() > 1 else "F32"]
        writer.add_tensor(_gguf_name(name), gguf.quants.quantize(numbers.numpy(), wanted), raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_name(name: str) -> str:
    stem = name.removesuffix(".weight")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.weight"
    layer, inner = stem.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{_NAMES[inner]}.weight"


def _speeds(base: Path, folder: Path, rounds: int) -> dict[str, list[float]]:
    import llama_cpp

    found: dict[str, list[float]] = {}
    for kind in _TYPES:
        path = folder / f"{kind}.gguf"
        write_gguf(base, path, kind)
        model = llama_cpp.Llama(str(path), n_ctx=256, verbose=False)
        for _ in range(rounds):
            model.reset()
            model.eval(_PROMPT)
            started = time.perf_counter()
            for token in range(_TOKENS):
                model.eval([5 + token])
            found.setdefault(kind.lower(), []).append(_TOKENS / (time.perf_counter() - started))
    return found


if __name__ == "__main__":
    print(json.dumps(_speeds(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
