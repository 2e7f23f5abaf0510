"""The model that is trained, from a Hugging Face folder, a GGUF file, or a folder with both in parts.

The last one (config, tokenizer and a GGUF file) is for machines without a network and with a transformers of
another version: the weights are read by the package gguf alone (98 MB in place of 540).

    python recipes/judge/base.py FOLDER     # config, tokenizer and a link to the embedded model's file
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from jurist.engines.gguf import packaged
from jurist.training.model import embedded_folder

_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}


def load(base: str | None, dtype: torch.dtype) -> tuple[Any, Any]:
    """(model, tokenizer) of ``base``; None: the embedded model."""
    import transformers

    path = Path(base) if base else embedded_folder()
    if path.is_file():
        path = embedded_folder(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(path))
    files = sorted(path.glob("*.gguf"))
    if not files or list(path.glob("*.safetensors")):
        return transformers.AutoModelForCausalLM.from_pretrained(str(path), dtype=dtype), tokenizer
    config = transformers.AutoConfig.from_pretrained(str(path))
    model: Any = transformers.AutoModelForCausalLM.from_config(config)
    missing, unexpected = model.load_state_dict(weights(files[0], config), strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise SystemExit(f"{files[0]} does not fit: missing {missing}, unexpected {unexpected}")
    model.tie_weights()
    # The parameters alone: positions are turned by angles that stay in float32.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model, tokenizer


def weights(file: Path, config: Any) -> dict[str, torch.Tensor]:
    """The tensors of a llama's GGUF file under transformers' names, queries and keys in its order of rows."""
    import gguf

    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    found: dict[str, torch.Tensor] = {}
    for tensor in gguf.GGUFReader(str(file)).tensors:
        values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        stem = tensor.name.removesuffix(".weight")
        if stem in _TOP:
            found[f"{_TOP[stem]}.weight"] = values
            continue
        _, layer, part = stem.split(".")
        if part in heads:
            # GGUF's llama turns neighbours, transformers turns halves.
            values = values.unflatten(0, (heads[part], -1, 2)).transpose(1, 2).flatten(0, 2)
        found[f"model.layers.{layer}.{_LAYER[part]}.weight"] = values
    return found


def main() -> None:
    """Write the small files of the embedded model into a folder, and a link to its GGUF file."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for file in embedded_folder().iterdir():
        if file.suffix != ".safetensors":
            shutil.copyfile(file, target / file.name)
    (target / "model.gguf").symlink_to(packaged())


if __name__ == "__main__":
    main()
