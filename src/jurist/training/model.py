"""Loads the model that is trained and its tokenizer, checks them, and adds a missing padding token."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from jurist.core.errors import ConfigError
from jurist.core.files import cache_folder
from jurist.engines.chat_template import ChatIds
from jurist.engines.gguf import packaged, stamp
from jurist.training.config import TrainOptions
from jurist.training.distributed import package, quiet
from jurist.training.types import Device, Library, Module, Tokenizer

EMBEDDED = "embedded"


@dataclass(slots=True)
class PolicyModel:
    """A model with float32 weights, ready for a trainer, and how it is spoken to."""

    name: str
    model: Module
    tokenizer: Tokenizer
    chat: ChatIds
    context: int
    bf16: bool
    """Whether it is to be computed in bfloat16 (autocast)."""
    peft: Library = None
    """The configuration of its adapters, for the trainer."""

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.model.device

    @property
    def eos(self) -> list[int]:
        """Every token that ends a turn."""
        named = self.model.generation_config.eos_token_id if self.model.can_generate() else None
        listed = cast("list[int | None]", named if isinstance(named, list) else [named])
        ids = {*listed, self.chat.reply("")[-1], self.tokenizer.eos_token_id}
        return sorted(i for i in ids if i is not None)


def load(options: TrainOptions, *, kind: str = "AutoModelForCausalLM", **more: object) -> PolicyModel:
    """The model and its tokenizer; raises ``ConfigError`` with the reason if one cannot be loaded."""
    torch, transformers = package("torch"), package("transformers")
    quiet()
    name = options.model
    source = str(embedded_folder()) if name == EMBEDDED else name
    tokenizer = _read(transformers.AutoTokenizer, source, name)
    chat = ChatIds(tokenizer, name)
    model = _read(getattr(transformers, kind), source, name, dtype=torch.float32, **more)
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            f"the tokenizer of {name!r} names no token that ends a text",
            hint="set eos_token in its tokenizer_config.json",
        )
    if tokenizer.pad_token_id is None:
        # Padding is always masked, so any token can be used.
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    config: Library = model.config.get_text_config()
    context = getattr(config, "max_position_embeddings", None) or 2**31
    return PolicyModel(name, model, tokenizer, chat, context, _bf16(options, torch), _adapters(options))


def check_base(options: TrainOptions, checkpoint: Path) -> None:
    """Raise where a checkpoint is of a model of another shape than the one that is trained."""
    if not (checkpoint / "config.json").exists():
        return
    maker = package("transformers").AutoConfig
    source = str(embedded_folder()) if options.model == EMBEDDED else options.model
    wanted = _read(maker, source, options.model).to_dict()
    saved = _read(maker, str(checkpoint), str(checkpoint)).to_dict()
    names = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size")
    other = [f"{n}: {saved.get(n)} here, {wanted.get(n)} in {options.model}" for n in names
             if saved.get(n) != wanted.get(n)]  # fmt: skip
    if other:
        raise ConfigError(
            f"{checkpoint} is a checkpoint of another model ({'; '.join(other)})",
            hint="choose another --out, or the model that was trained there",
        )


def embedded_tokenizer(folder: Path, name: str) -> Tokenizer:
    """The tokenizer in the embedded model's GGUF file, which splits texts as SmolLM2's does."""
    tokenizer = package("transformers").AutoTokenizer.from_pretrained(str(folder), gguf_file=name)
    # transformers reads the tokens and merges from a GGUF file, but not the rule that splits texts.
    splits = package("tokenizers").pre_tokenizers
    tokenizer.backend_tokenizer.pre_tokenizer = splits.Sequence(
        [splits.Digits(individual_digits=True), splits.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    return tokenizer


def embedded_folder(file: Path | None = None) -> Path:
    """The embedded model as a Hugging Face folder, made from its GGUF file once and cached.

    ``file``: where the GGUF file lies, if its package is not installed.
    """
    source = file or packaged()
    target = cache_folder("models") / f"{source.stem}-{stamp(source)}-hf2"
    if (target / "config.json").exists():
        return target
    torch, transformers = package("torch"), package("transformers")
    package("gguf")
    quiet()
    folder, name = str(source.parent), source.name
    tokenizer = embedded_tokenizer(source.parent, name)
    # As dequantised tensors, since quantised ones cannot be saved.
    how = transformers.GgufConfig(gguf_file=name, dequantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, quantization_config=how, dtype=torch.float32
    )
    draft = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    model.save_pretrained(str(draft))
    tokenizer.save_pretrained(str(draft))
    if not (target / "config.json").exists():
        draft.rename(target)
    return target


def _read(maker: Library, source: str, name: str, **options: object) -> Library:
    try:
        return maker.from_pretrained(source, **options)
    except Exception as error:  # whatever a damaged folder or a missing network raises
        reason = " ".join(str(error).split())[:400]
        raise ConfigError(
            f"cannot load the model {name!r}: {type(error).__name__}: {reason}",
            hint="--model takes a folder, a hub id, or embedded; without network, one that is in the cache",
        ) from error


def _bf16(options: TrainOptions, torch: Library) -> bool:
    if options.precision != "auto":
        return options.precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return ""


def _adapters(options: TrainOptions) -> Library:
    if options.adapter == "full":
        return None
    return package("peft").LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
