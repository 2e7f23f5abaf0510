"""Random models of several architectures, and GRPO trainers of TRL over them."""

from pathlib import Path
from typing import Any

from tiny import make_tokenizer

TOKENIZER = make_tokenizer()
VOCABULARY, PAD = len(TOKENIZER), TOKENIZER.pad_token_id
SMALL = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "eos_token_id": PAD, "bos_token_id": None}
DEEP = SMALL | {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "initializer_range": 0.3}
OPT = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "init_std": 0.3}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", DEEP),
    "qwen2": ("Qwen2", DEEP),
    "window": ("Mistral", DEEP | {"sliding_window": 8}),
    "gemma2": ("Gemma2", DEEP | {"sliding_window": 8}),
    "gpt2": ("GPT2", SMALL | GPT),
    "bloom": ("Bloom", SMALL | {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}),
    "mamba": ("Mamba", SMALL | {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    "opt": ("OPT", SMALL | OPT | {"word_embed_proj_dim": 32, "max_position_embeddings": 128}),
    "mixtral": ("Mixtral", DEEP | {"num_local_experts": 2, "num_experts_per_tok": 1}),
}


def save_architecture(name: str, folder: Path) -> Path:
    """A random model of this name in ``CONFIGS``, saved."""
    import torch
    import transformers

    kind, options = CONFIGS[name]
    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(**options)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def grpo_trainer(kind: Any, model: Any, out: Path, peft: Any = None, **options: Any) -> Any:
    """A trainer whose reward counts the letters before the m."""
    import trl
    from datasets import Dataset

    base = {"use_cpu": True, "bf16": False, "report_to": "none", "max_completion_length": 16, "seed": 5}
    sizes = {"per_device_train_batch_size": 8, "num_generations": 4, "disable_dropout": True}
    return kind(
        model=str(model),
        args=trl.GRPOConfig(output_dir=str(out), **{**base, **sizes, **options}),
        reward_funcs=lambda completions, **_: [sum(c < "m" for c in text) / 9 for text in completions],
        train_dataset=Dataset.from_dict({"prompt": ["which is better ?", "A or B ?"] * 4}),
        processing_class=TOKENIZER,
        peft_config=peft,
    )
