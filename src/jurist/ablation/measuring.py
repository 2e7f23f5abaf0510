"""Every arm on the same pairs: what its training measured where that is the same, else a judge is asked."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jurist.ablation.plan import Plan, Planned
from jurist.ablation.recipe import flag, judge_flags
from jurist.ablation.stages import HELD_OUT, Stage, with_flags
from jurist.inputs import load_cases
from jurist.learning.models import EMBEDDED
from jurist.learning.options import TrainOptions
from jurist.learning.session import AFTER, BEFORE
from jurist.learning.session import HELD_OUT as MEASURED
from jurist.store import RUN, read_digests

_AS_IN_TRAINING = frozenset(
    {"model", "protocol", "family", "protocol_file", "max_tokens", "engine", "concurrency", "extra"}
)
"""Options of a judge that a training knows too, or that do not change what is said."""


def measured_in(plan: Plan, arm: Planned) -> Path | None:
    """The run folder in which a training of the plan measures this very judge, if one does."""
    if set(arm.judge) - _AS_IN_TRAINING:
        return None
    if arm.trained:
        return arm.trained.out / MEASURED / AFTER if _same_question(plan, arm, arm.trained) else None
    for stage in plan.stages:
        started = stage.command in ("train sft", "train grpo") and stage.option("--model") == arm.model
        if started and _same_question(plan, arm, stage):
            return stage.out / MEASURED / BEFORE
    return None


def _same_question(plan: Plan, arm: Planned, stage: Stage) -> bool:
    """Whether a training asks as this arm is to be asked: the same pairs, protocol and room to answer."""
    limit = stage.option("--eval-limit")
    if stage.option("--held-out") != str(plan.held_out) or limit != str(plan.recipe.pairs.limit):
        return False
    asked = {"--protocol": "protocol", "--family": "family", "--eval-tokens": "max_tokens"}
    known = arm.judge.keys() >= {"protocol", "max_tokens"}
    return arm.scalar or (
        known
        and all(
            stage.option(word) == (str(arm.judge[name]) if name in arm.judge else None)
            for word, name in asked.items()
        )
    )


def judging(plan: Plan, arm: Planned) -> Stage:
    """The stage that asks an arm about every held-out pair, in both orders."""
    words = [
        "judge",
        str(plan.held_out),
        *_judge(arm),
        *([] if arm.scalar else flag("deliberation", "swapped")),
    ]
    return _stage(plan, arm, words, HELD_OUT)


def benchmarks(plan: Plan, arm: Planned) -> dict[str, Stage]:
    """The stages that measure an arm on benchmarks, by their names."""
    names = plan.recipe.benchmarks
    return {name: _stage(plan, arm, ["eval", name, *_judge(arm)], f"eval-{name}") for name in names}


def settled(stage: Stage) -> Stage:
    """The stage with the embedded model's name as the folder that engines read."""
    at = [i for i, word in enumerate(stage.words) if word == "--model"]
    if not at or stage.words[at[0] + 1] != EMBEDDED or stage.option("--engine") == EMBEDDED:
        return stage
    from jurist.learning.models import embedded_folder

    words = [*stage.words]
    words[at[0] + 1] = str(embedded_folder())
    return replace(stage, words=tuple(words))


def same_pairs(folder: Path, pairs: Mapping[str, str]) -> bool:
    """Whether a run decided exactly these cases, given as hashes by id."""
    return (folder / RUN).exists() and read_digests(folder) == dict(pairs)


def digests(held_out: Path) -> dict[str, str]:
    """The hash of each held-out pair, by its id."""
    return {case.id: case.digest for case in load_cases(held_out)}


def _stage(plan: Plan, arm: Planned, words: Sequence[str], name: str) -> Stage:
    shared = shlex.split(plan.recipe.flags.get(words[0], ""))
    out = plan.out / arm.name / name
    needs = (HELD_OUT, *([arm.trained.name] if arm.trained else []))
    return Stage(f"{arm.name}/{name}", (*with_flags(words, shared), "--out", str(out)), out, needs)


def _judge(arm: Planned) -> list[str]:
    return list(_words(arm))


def _words(arm: Planned) -> Iterator[str]:
    """The judge's flags; the model is the one that was trained, where one was."""
    if arm.scalar:
        yield from flag("engine", f"scalar:{arm.model}")
        return
    yield from flag("engine", arm.judge.get("engine", "transformers"))
    yield from flag("model", arm.model or TrainOptions.model)
    yield from judge_flags({k: v for k, v in arm.judge.items() if k not in ("engine", "model")})
