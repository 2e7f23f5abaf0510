"""Random models of real shapes and a tokenizer of bytes, made on the spot: nothing has to be carried."""

from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    # SmolLM2-135M: what the embedded judge is.
    "135m": {
        "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3,
    },
    # Qwen2.5-1.5B, as a Llama with the same sizes.
    "1.5b": {
        "vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
        "num_attention_heads": 12, "num_key_value_heads": 2,
    },
    # For trying the benchmark itself on a CPU.
    "toy": {
        "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2,
    },
}  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def tokenizer(size: int) -> Any:
    """A token for each byte; the rest of ``size`` are tokens that no text has."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(alphabet)}
    vocabulary |= {f"<unused{i}>": i for i in range(len(alphabet), size - 2)}
    raw = Tokenizer(models.BPE(vocabulary, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(["<|start|>", "<|end|>"])
    one = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|end|>", pad_token="<|end|>")
    one.chat_template = TEMPLATE
    return one


def model(shape: str, words: Any, device: str, dtype: Any, context: int = 8192) -> Any:
    """A Llama with random weights on a device."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **SHAPES[shape],
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )
    torch.manual_seed(0)
    with torch.device(device):
        return LlamaForCausalLM(config).to(dtype)


def saved(shape: str, folder: Path, device: str, context: int = 8192) -> Path:
    """The same as a folder in float32."""
    import torch

    words = tokenizer(SHAPES[shape]["vocab_size"])
    model(shape, words, device, torch.float32, context).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
