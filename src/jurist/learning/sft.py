"""Supervised fine-tuning: a student learns to write the judgments that were found good."""

from pathlib import Path
from typing import Any

from jurist.asking import Judge
from jurist.errors import ConfigError
from jurist.inputs import load_cases
from jurist.learning.chains import answers_of, lessons_of
from jurist.learning.judging import held_out_pairs, judge_of
from jurist.learning.models import Learner, load
from jurist.learning.options import SftOptions, chosen
from jurist.learning.packages import package
from jurist.learning.presets import with_preset
from jurist.learning.questions import questions
from jurist.learning.session import Result, Say, Session


def train_sft(options: SftOptions, source: str, out: Path, say: Say) -> Result:
    """Train on the rows of ``source`` in the folder ``out``; the same call goes on where it stopped."""
    options = with_preset(options, "sft")
    session = Session("sft", options, out, source, say)
    with session.open() as checkpoint:
        if ended := session.ended():
            return ended
        learner = load(options)
        rows = _rows(options, source, judge_of(options), learner, say)
        held = held_out_pairs(options, learner, out, options.eval_tokens or 512)
        return session.train(_trainer(session, options, learner, rows), checkpoint, learner, held)


def _rows(options: SftOptions, source: str, judge: Judge, learner: Learner, say: Say) -> list[dict[str, Any]]:
    longest = min(options.max_length, learner.context)
    if options.target == "chain":
        lessons, lengths = lessons_of(source, learner.chat, longest)
    else:
        found, count = questions(
            load_cases(source), judge, learner.chat,
            orders=options.orders, max_prompt=options.max_prompt, too_long=options.too_long,
        )  # fmt: skip
        for line in count.lines():
            say(line)
        lessons, lengths = answers_of(found, judge.protocol, learner.chat, longest)
    for line in lengths.lines():
        say(line)
    return [
        {
            "input_ids": lesson.prompt + lesson.completion,
            "completion_mask": [0] * len(lesson.prompt) + [1] * len(lesson.completion),
        }
        for lesson in lessons
    ]


def _trainer(session: Session, options: SftOptions, learner: Learner, rows: list[dict[str, Any]]) -> Any:
    trl, datasets = package("trl"), package("datasets")
    attention = getattr(learner.model.config, "_attn_implementation", "")
    if options.packing and not attention.startswith("flash_attention"):
        raise ConfigError(
            f"packing would let rows in one sequence see one another with the attention {attention!r}",
            hint="leave --packing out, or train with flash attention",
        )
    batch = chosen(options.batch)
    config = trl.SFTConfig(
        **session.arguments(learner, batch, session.micro(batch)),
        max_length=None,
        packing=options.packing,
        completion_only_loss=True,
    )
    return trl.SFTTrainer(
        model=learner.model,
        args=config,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=learner.tokenizer,
        peft_config=learner.peft,
    )
