"""Digest of the weights in this directory, as `gpt2-lora` computes it, by hashlib and NumPy.

    python3 weights/pocket/digest.py
"""

import hashlib
import json
import pathlib
import struct
import sys

import numpy as np

FOLDER = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
FOLDER = FOLDER if FOLDER.is_dir() else FOLDER.parent
LAYERS = ["ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"]


def tensors(file: pathlib.Path) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file in float16, by name."""
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F16", name
        first, end = entry["data_offsets"]
        values = np.frombuffer(data[8 + length + first : 8 + length + end], dtype="<f2")
        found[name.removeprefix("transformer.")] = values.reshape(entry["shape"])
    return found


def main() -> None:
    config = json.loads((FOLDER / "config.json").read_text())
    found = tensors(FOLDER / "model.safetensors")
    blocks = [f"h.{block}.{layer}" for block in range(config["n_layer"]) for layer in LAYERS]
    names = ["wte.weight", "wpe.weight"]
    names += [f"{layer}.{kind}" for layer in [*blocks, "ln_f"] for kind in ["weight", "bias"]]
    assert sorted(names) == sorted(found)
    epsilon = struct.unpack("<Q", struct.pack("<d", config["layer_norm_epsilon"]))[0]
    settings = [
        config["n_head"],
        config["activation_function"],
        epsilon,
        config["scale_attn_weights"],
        config["scale_attn_by_inverse_layer_idx"],
    ]
    whole = hashlib.sha256(json.dumps(settings, separators=(",", ":")).encode())
    for name in names:
        values = found[name]
        # A linear layer is stored as [inputs, outputs] and hashed as [outputs, inputs].
        if ".c_" in name and name.endswith(".weight"):
            values = values.T
        one = hashlib.sha256(f"{name} {list(values.shape)}\n".encode())
        one.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
        whole.update(one.hexdigest().encode())
    print(whole.hexdigest()[:16])


if __name__ == "__main__":
    main()
