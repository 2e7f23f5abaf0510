"""Exports a trained model as a Hugging Face folder, and as a GGUF file for the embedded engine."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from jurist.core.errors import ConfigError
from jurist.core.run_config import read_config
from jurist.training.distributed import package, quiet
from jurist.training.model import EMBEDDED, embedded_folder
from jurist.training.model_card import CARD, CURVES
from jurist.training.session import CHECKPOINTS, MODEL, TRAIN
from jurist.training.types import Library, Module, Tensor, Tokenizer

Dtype = Literal["bfloat16", "float16", "float32"]

GGUF = "model.gguf"
"""Name of the embedded engine's file in the folder that is written."""

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""Model types that ``write_gguf`` writes; the embedded engine reads the same."""

_ADAPTER = "adapter_config.json"
_ELSEWHERE = "llama.cpp's script writes more kinds: python convert_hf_to_gguf.py FOLDER --outtype f16"

# How a tokenizer cuts texts before it merges bytes: the pattern, and GGUF's name for it. Of the names that
# llama.cpp knows, the embedded engine's runtime (openvino-genai 2026.4) cuts as `tokenizers` does by "smollm"
# and "qwen2" alone; by "llama-bpe" and "gpt-2" it cuts contractions and numbers elsewhere.
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_ORDINARY, _CONTROL, _USER, _UNUSED = 1, 3, 4, 5


def export(run: Path, to: Path, *, dtype: Dtype = "bfloat16", gguf: bool = False) -> list[Path]:
    """Write the model of a training, a checkpoint or a folder into ``to``, adapters merged; what was written.

    With ``gguf`` a file for the embedded engine (float16) as well. Raises ``ConfigError``.
    """
    source = _source(run)
    if to.exists() and any(to.iterdir()):
        raise ConfigError(f"{to} is not empty", hint="--to names a folder that is new")
    quiet()
    model = _merged(source)
    tokenizer = package("transformers").AutoTokenizer.from_pretrained(str(source))
    to.mkdir(parents=True, exist_ok=True)
    # From the weights as they were trained, before they are rounded.
    written = [write_gguf(model, tokenizer, to / GGUF)] if gguf else []
    model.to(getattr(package("torch"), dtype)).save_pretrained(str(to))
    tokenizer.save_pretrained(str(to))
    for name in (CARD, CURVES):
        if source.name == MODEL and (source / name).exists():
            shutil.copyfile(source / name, to / name)
    return [to, *written]


def _source(run: Path) -> Path:
    """The folder with the weights: a training's model, or the folder itself."""
    for folder in (run / MODEL, run):
        if (folder / "config.json").exists() or (folder / _ADAPTER).exists():
            return folder
    if (run / TRAIN).exists():
        raise ConfigError(
            f"the training in {run} has no model yet",
            hint=f"let it end, or name one of its checkpoints ({run / CHECKPOINTS})",
        )
    raise ConfigError(f"{run} holds no model", hint="a folder of `jurist train`, or one of its checkpoints")


def _merged(folder: Path) -> Module:
    """The model in float32, its adapters in its weights."""
    float32 = package("torch").float32
    if not (folder / _ADAPTER).exists():
        config = json.loads((folder / "config.json").read_bytes())
        return _maker(str(config["architectures"])).from_pretrained(str(folder), dtype=float32)
    adapter = json.loads((folder / _ADAPTER).read_bytes())
    scalar = adapter["task_type"] == "SEQ_CLS"
    more = {"num_labels": 1} if scalar else {}
    base = _maker("SequenceClassification" if scalar else "CausalLM").from_pretrained(
        _base(folder, adapter), dtype=float32, **more
    )
    return package("peft").PeftModel.from_pretrained(base, str(folder)).merge_and_unload()


def _maker(kind: str) -> Library:
    name = "SequenceClassification" if "SequenceClassification" in kind else "CausalLM"
    return getattr(package("transformers"), f"AutoModelFor{name}")


def _base(checkpoint: Path, adapter: dict[str, Any]) -> str:
    """What the adapters stand on: the training says it, else they do."""
    training = checkpoint.parent.parent
    if not (training / TRAIN).exists():
        return adapter["base_model_name_or_path"]
    model: str = read_config(training, TRAIN)["model"]
    return str(embedded_folder()) if model == EMBEDDED else model


def write_gguf(model: Module, tokenizer: Tokenizer, target: Path) -> Path:
    """A causal model and its tokenizer as one GGUF file, matrices in float16, vectors in float32.

    Names and meanings of the fields: ggml, docs/gguf.md; the order of the rows of llama's queries and keys:
    llama.cpp, convert_hf_to_gguf.py (``permute``). Raises ``ConfigError`` for what it cannot express.
    """
    gguf, config = package("gguf"), model.config
    spec = check_gguf(model, tokenizer)
    writer = gguf.GGUFWriter(str(target), config.model_type)
    _write_shape(writer, config)
    _write_vocabulary(writer, spec, tokenizer, config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for name, values in _tensors(gguf, model):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def check_gguf(model: Module, tokenizer: Tokenizer) -> dict[str, Any]:
    """Whether ``write_gguf`` can write them, else ``ConfigError``; the tokenizer as tokenizer.json has it."""
    config, fault = model.config, ""
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    if config.model_type not in ARCHITECTURES or not model.can_generate():
        fault = f"{type(model).__name__} is none of {', '.join(ARCHITECTURES)}"
    elif (kind := config.rope_parameters.get("rope_type", "default")) != "default":
        fault = f"its positions are scaled ({kind})"
    elif getattr(config, "use_sliding_window", False):
        fault = "it has a sliding window"
    elif spec["model"]["type"] != "BPE" or _kind(spec["normalizer"]) not in (None, "NFC"):
        fault = "its tokenizer is no BPE of bytes"
    if fault:
        raise ConfigError(f"no GGUF of this model can be written here: {fault}", hint=_ELSEWHERE)
    _cutting(spec)
    return spec


def _write_shape(writer: Library, config: Library) -> None:
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _write_vocabulary(writer: Library, spec: dict[str, Any], tokenizer: Tokenizer, size: int) -> None:
    """The tokenizer, which ``spec`` describes as tokenizer.json does; tokens beyond its own are unused."""
    tokens, kinds = [f"[PAD{i}]" for i in range(size)], [_UNUSED] * size
    for text, i in spec["model"]["vocab"].items():
        tokens[i], kinds[i] = text, _ORDINARY
    for added in spec["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = _CONTROL if added["special"] else _USER
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_cutting(spec))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = spec["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    # A template writes its own beginning.
    writer.add_add_bos_token(False)
    for name in ("bos", "eos", "pad"):
        if (i := getattr(tokenizer, f"{name}_token_id")) is not None:
            getattr(writer, f"add_{name}_token_id")(i)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _kind(part: dict[str, Any] | None) -> str | None:
    return part["type"] if part else None


def _cutting(spec: dict[str, Any]) -> str:
    """GGUF's name for how texts are cut."""
    outer: dict[str, Any] = spec["pre_tokenizer"] or {}
    parts: list[dict[str, Any]] = outer.get("pretokenizers") or [outer]
    kinds = [part.get("type") for part in parts]
    if kinds == ["Split", "ByteLevel"] and parts[0]["pattern"].get("Regex") == _QWEN2:
        return "qwen2"
    if kinds == ["Digits", "ByteLevel"] and parts[0]["individual_digits"] and parts[1]["use_regex"]:
        return "smollm"
    raise ConfigError(
        f"the embedded engine would cut texts otherwise than this tokenizer ({', '.join(map(str, kinds))})",
        hint=f"judge by --engine transformers. {_ELSEWHERE}",
    )


def _tensors(gguf: Library, model: Module) -> Iterator[tuple[str, Tensor]]:
    """Each weight under GGUF's name."""
    torch, config = package("torch"), model.config
    kind = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}[config.model_type]
    names = gguf.get_tensor_name_map(kind, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stem, _, suffix = name.rpartition(".")
        known = names.get_name(stem)
        if known is None:
            raise ConfigError(f"no GGUF of this model can be written here: {name}", hint=_ELSEWHERE)
        if config.model_type == "llama" and (count := heads.get(stem.rpartition(".")[2])):
            # GGUF's llama turns neighbours, transformers turns halves.
            weight = weight.unflatten(0, (count, 2, -1)).transpose(1, 2).flatten(0, 2)
        values = weight.to(torch.float16 if weight.dim() > 1 else torch.float32)
        if not bool(torch.isfinite(values).all()):
            raise ConfigError(f"{name} does not fit into float16", hint="the weights diverged")
        yield f"{known}.{suffix}", values.contiguous().numpy()
