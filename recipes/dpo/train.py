"""DPO on the rows of `jurist label`: a policy learns from a judge's preferences.

    python recipes/dpo/train.py runs/dpo/rows.jsonl --out runs/dpo/policy

The prompts are the sums of recipes/laptop, shown behind the same answered ones as when they were sampled. For
other prompts leave out --sums. The loss is TRL's (DPOTrainer); the model stands in OUT.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from jurist.training.config import TrainOptions
from jurist.training.model import load

sys.path.append(str(Path(__file__).parents[1] / "laptop"))
from sums import messages


def rows_of(source: Path, *, sums: bool) -> list[dict[str, Any]]:
    """Rows in TRL's conversational format."""
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    for row in rows if sums else ():
        shown = messages(row["prompt"][0]["content"])
        row["prompt"] = [{"role": m.role, "content": m.content} for m in shown]
    return [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in rows]


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--sums", action=argparse.BooleanOptionalAction, default=True)
    chosen = parser.parse_args()
    policy = load(TrainOptions(model=chosen.model))
    config = DPOConfig(
        output_dir=str(chosen.out / "checkpoints"),
        per_device_train_batch_size=chosen.batch,
        num_train_epochs=chosen.epochs,
        learning_rate=chosen.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=0.1,
        beta=chosen.beta,
        bf16=policy.bf16,
        use_cpu=policy.device.type == "cpu",
        save_strategy="no",
        logging_steps=5,
        report_to="none",
        seed=0,
    )
    rows = Dataset.from_list(rows_of(chosen.rows, sums=chosen.sums))
    trainer = DPOTrainer(
        model=policy.model, args=config, train_dataset=rows, processing_class=policy.tokenizer
    )
    trainer.train()
    trainer.save_model(str(chosen.out))


if __name__ == "__main__":
    main()
