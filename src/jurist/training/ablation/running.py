"""Runs the stages of an ablation, each in its own process, and records each, so that none runs twice.

Then every arm is measured on the same pairs: by the numbers of its training if these are of the same pairs
and options, else by asking its judge.
"""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.core.files import file_hash, write_whole
from jurist.core.run_config import RUN
from jurist.core.runs import read_digests
from jurist.core.types import Record, winner
from jurist.data.rows import Writer
from jurist.inputs import load_cases
from jurist.judging.pool import spread
from jurist.training.ablation.plan import HELD_OUT, Plan, Planned, Stage, with_flags
from jurist.training.ablation.recipe import flag, judge_flags
from jurist.training.config import TrainOptions
from jurist.training.model import EMBEDDED
from jurist.training.session import AFTER, BEFORE
from jurist.training.session import HELD_OUT as MEASURED

Say = Callable[[str], None]
RECORDS = "records"
_INTERRUPTED = (130, -signal.SIGINT)
_PATIENCE = 30.0
_STDERR = 2


class StageError(JuristError):
    """A stage whose command did not end well."""


class StageRecord(Record, frozen=True):
    """A stage that was done: its words, what it was made from, when it ended, and how long it took."""

    words: tuple[str, ...]
    made_from: dict[str, str | None]
    finished: str
    seconds: float


def run_stage(stage: Stage, records: Path, say: Say) -> bool:
    """Run a stage, unless it was done from the same inputs; whether it ran.

    Raises ``ConfigError`` where its place belongs to another command, ``StageError`` where it fails.
    """
    path = records / f"{stage.name.replace('/', '.')}.json"
    before = _read(path)
    made_from = _made_from(stage, records)
    if before and before.words != stage.words:
        raise ConfigError(
            f"{stage.out} was made by another command: jurist {shlex.join(before.words)}; "
            f"now: jurist {shlex.join(stage.words)}",
            hint=f"choose another --out, or remove {stage.out} and {path}",
        )
    if before and before.made_from == made_from and all(result.exists() for result in stage.results):
        say(f"{stage.name}: done")
        return False
    stage.out.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    if stage.command == HELD_OUT:
        say(f"{stage.name}: {pick(*stage.words[1:], out=stage.out)} pairs in {stage.out}")
    else:
        say(f"{stage.name}: {shown(stage)}")
        _called(stage)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = StageRecord(stage.words, made_from, now, round(time.monotonic() - started, 3))
    records.mkdir(parents=True, exist_ok=True)
    write_whole(path, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
    return True


def pick(source: str, limit: str, *, out: Path) -> int:
    """Write so many pairs with gold of ``source``, evenly spread, to ``out``; how many there are."""
    cases = load_cases(source)
    labelled = [case for case in cases if case.gold is not None and winner(case.gold) is not None]
    if not labelled:
        raise InputError(f"{source}: no held-out pair has a preferred response", hint="pairs need gold")
    with Writer(out) as file:
        for case in spread(labelled, int(limit)):
            file.write(case)
    return file.rows


def shown(stage: Stage) -> str:
    """The command of a stage as it would be typed."""
    if stage.command == HELD_OUT:
        source, limit = stage.words[1:]
        return f"# {stage.out}: at most {limit} pairs of {source}, evenly spread"
    return shlex.join((*(stage.launch or ("jurist",)), *stage.words))


def _called(stage: Stage) -> None:
    """Run a command to its end; an interrupt goes through to it, and is waited for."""
    words = [*(stage.launch or (sys.executable, "-m", "jurist")), *stage.words]
    try:
        # What it says on standard output is no part of the table: it goes where the rest goes.
        process = subprocess.Popen(words, stdout=_STDERR)
    except OSError as error:
        raise StageError(f"stage {stage.name}: cannot start {words[0]}: {error.strerror or error}") from None
    try:
        code = process.wait()
    except KeyboardInterrupt:
        _interrupted(process)
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if code in _INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise StageError(
            f"stage {stage.name} ended with {code}: {shown(stage)}",
            hint="mend it, and run the same command again: what is done is kept",
        )


def _interrupted(process: "subprocess.Popen[bytes]") -> None:
    """A terminal's Ctrl-C has reached the process too; one that was sent to us alone has not."""
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.terminate()


def _made_from(stage: Stage, records: Path) -> dict[str, str | None]:
    """When the stages that it needs ended, and the hashes of the files from outside."""
    done = {name: _read(records / f"{name.replace('/', '.')}.json") for name in stage.needs}
    return {name: found and found.finished for name, found in done.items()} | {
        source: file_hash(source) for source in stage.reads
    }


def _read(path: Path) -> StageRecord | None:
    return msgspec.json.decode(path.read_bytes(), type=StageRecord) if path.exists() else None


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
    from jurist.training.model import embedded_folder

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
