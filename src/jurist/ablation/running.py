"""Runs stages, each in a process of its own, and keeps a record of each, so that none is done twice."""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from jurist.ablation.stages import HELD_OUT, Stage
from jurist.errors import ConfigError, InputError, JuristError
from jurist.inputs import load_cases
from jurist.lines import write_whole
from jurist.overlap import file_hash
from jurist.pool import spread
from jurist.training.rows import Writer
from jurist.types import Noun, winner

Say = Callable[[str], None]
RECORDS = "records"
_INTERRUPTED = (130, -signal.SIGINT)
_PATIENCE = 30.0
_STDERR = 2


class StageError(JuristError):
    """A stage whose command did not end well."""


class Record(Noun, frozen=True):
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
    record = Record(stage.words, made_from, now, round(time.monotonic() - started, 3))
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


def _read(path: Path) -> Record | None:
    return msgspec.json.decode(path.read_bytes(), type=Record) if path.exists() else None
