"""Names for types of torch and transformers, which are imported late and may not be installed.

The protocols say what the callbacks read of the trainer's three records, and are checked. The other names
stand for ``Any``: they tell a reader what a value is.
"""

from typing import Any, Protocol, TypeAlias

Tensor: TypeAlias = Any
"""``torch.Tensor``."""
Device: TypeAlias = Any
"""``torch.device``."""
Module: TypeAlias = Any
"""``torch.nn.Module``, mostly a ``transformers.PreTrainedModel``."""
Tokenizer: TypeAlias = Any
"""``transformers.PreTrainedTokenizerFast``."""
Trainer: TypeAlias = Any
"""``transformers.Trainer``, or one of TRL's that extend it."""
Optimizer: TypeAlias = Any
"""``torch.optim.Optimizer``."""
KeyValueCache: TypeAlias = Any
"""``transformers.Cache``."""
Batch: TypeAlias = dict[str, Any]
"""What a data collator makes: tensors of equal numbers of rows by name, and numbers that all rows share."""
Library: TypeAlias = Any
"""An imported package, or a class of it."""


class Args(Protocol):
    """What is read of ``transformers.TrainingArguments``."""

    output_dir: str
    fp16: bool
    max_grad_norm: float
    learning_rate: float
    logging_steps: int
    should_save: bool
    save_only_model: bool
    save_strategy: object
    logging_nan_inf_filter: bool


class State(Protocol):
    """What is read of ``transformers.TrainerState``."""

    global_step: int
    max_steps: int
    epoch: float | None
    log_history: list[dict[str, float]]
    is_world_process_zero: bool


class Control(Protocol):
    """What is read and set of ``transformers.TrainerControl``."""

    should_log: bool
    should_save: bool
