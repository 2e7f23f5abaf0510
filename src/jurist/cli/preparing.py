"""What `jurist data` does, once its options are read."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, aclosing
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace
from rich.progress import track

from jurist.cli.console import err, say, watching
from jurist.cli.judging import describe
from jurist.core.answers import final_answer, last_number
from jurist.core.errors import ConfigError, InputError
from jurist.core.types import Case
from jurist.data import mixture
from jurist.data.dedup import Seen, Unique
from jurist.data.difficulty import Difficulty, check_pair, range_of
from jurist.data.difficulty import difficulty as measured
from jurist.data.filters import Choose, Filters, fit, named, tokens_of
from jurist.data.math_verify import MathVerify, installed
from jurist.data.overlap import Index
from jurist.data.report import Output, Report, Tally, write_report
from jurist.data.rm_r1_release import count as count_released
from jurist.data.rm_r1_release import released as taken_apart
from jurist.data.rows import Writer, check_target, read, read_with, renamed
from jurist.data.sources import index_of, pair_of, renames_of, stem, tallies_of
from jurist.data.splits import part_of, parts_of
from jurist.data.verifiable import Same, question_of, same_plainly, verified
from jurist.inputs.files import count_lines
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig, as_dict
from jurist.judging.pool import Progress
from jurist.judging.run import run


class Limits(NamedTuple):
    """What `jurist data pairs` filters by, as it stands on the command line."""

    unique: Unique | str
    near: float
    longest: int | None
    tokenizer: str | None
    drop: list[str]
    against: list[str]
    data: Path | None


class Bad:
    """Rows that could not be read: passed over and listed, or the first one raised."""

    def __init__(self, *, skip: bool) -> None:
        self.errors: list[InputError] = []
        self.n = 0
        self.take: Callable[[InputError], None] | None = self._take if skip else None

    def _take(self, error: InputError) -> None:
        self.n += 1
        self.errors = [*self.errors, error][:10]

    def tell(self) -> None:
        """List them."""
        if self.n:
            say(f"{self.n:,} bad rows were left out:")
            for error in self.errors:
                say(f"  {error.message}")


def pairs(
    sources: list[str],
    out: Path,
    limits: Limits,
    field: list[str],
    choose: Choose,
    seed: int,
    *,
    skip_bad: bool,
) -> int:
    """Filter rows of many sources into one file of pairs."""
    tallies = tallies_of(sources)
    check_target(out, *(tally.source for tally in tallies))
    index = index_of(limits.against, limits.data)
    filters = _filters(limits, index)
    names, bad = renames_of(field), Bad(skip=skip_bad)
    with Writer(out) as writer:
        for tally in tallies:
            before = bad.n
            rows = _watched(read(tally.source, names, bad.take), tally.source)
            for pair in fit(rows, filters, tally, choose, seed):
                writer.write(pair)
            tally.unread = bad.n - before
        _demand(writer.rows, "no pair is left", tallies)
    bad.tell()
    options = {**limits._asdict(), "field": field, "choose": choose, "seed": seed}
    return _done("pairs", options, tallies, [writer], index=index)


def verifiable(
    source: str, out: Path, math: str, answer: str, choose: Choose, field: list[str], seed: int, *,
    skip_bad: bool,
) -> int:  # fmt: skip
    """Make pairs of right and wrong responses."""
    find = last_number if answer == "last-number" else final_answer
    (tally,) = tallies_of([source])
    check_target(out, tally.source)
    names, bad, counts = renames_of(field), Bad(skip=skip_bad), Counter[str]()

    def question(fields: dict[str, Any], name: str) -> Case:
        return named(question_of(renamed(fields, names), name), tally.name)

    with ExitStack() as stack:
        prove = (
            stack.enter_context(MathVerify()) if math == "on" or (math == "auto" and installed()) else None
        )
        say(f"answers are compared plainly{f', then by {prove.name}' if prove else ''}")
        writer = stack.enter_context(Writer(out))
        for case in _watched(read_with(tally.source, question, bad.take), tally.source):
            tally.read += 1
            made = list(verified(case, _same(prove), choose, seed, counts, find))
            tally.written += bool(made)
            for pair in made:
                writer.write(pair)
        tally.unread = bad.n
        _demand(writer.rows, "no question has a right and a wrong response", [tally])
    bad.tell()
    how = prove.name if prove else "off"
    options = {"math": how, "answer": answer, "choose": choose, "field": field, "seed": seed}
    return _done("verifiable", options, [tally], [writer], dict(sorted(counts.items())))


def split(source: str, parts: str, out: Path, seed: int) -> int:
    """Write each row to the part that its prompt is in."""
    shares, (tally,) = parts_of(parts), tallies_of([source])
    if not out.is_dir():
        out.mkdir(parents=True)
    targets = {name: out / f"{name}.jsonl" for name in shares}
    for target in targets.values():
        check_target(target, tally.source)
    with ExitStack() as stack:
        writers = {name: stack.enter_context(Writer(path)) for name, path in targets.items()}
        for case in _watched(read(tally.source), tally.source):
            tally.read += 1
            writers[part_of(case, shares, seed)].write(case)
        tally.written = tally.read
    return _done("split", {"parts": shares, "seed": seed}, [tally], [*writers.values()], beside=out)


def mix(
    files: list[str], out: Path, rows: int | None, order: mixture.Orders, seed: int, *, repeat: bool
) -> int:
    """Write a weighted mixture."""
    parts = [_part(text) for text in files]
    if not parts:
        raise ConfigError("there is nothing to mix", "jurist data mix a.jsonl=5 b.jsonl=1 --out mix.jsonl")
    tallies = tallies_of([f"{part.name}={part.path}" for part in parts])
    check_target(out, *(tally.source for tally in tallies))
    lines = [mixture.Lines(part.path) for part in parts]
    _demand(min(map(len, lines)), "a file has no rows", tallies)
    counts = mixture.sizes([len(x) for x in lines], [p.weight for p in parts], rows, repeat=repeat)
    for tally, file, n in zip(tallies, lines, counts, strict=True):
        tally.read, tally.written = len(file), n
    try:
        with Writer(out) as writer:
            for case in mixture.mixed(parts, lines, counts, seed, order):
                writer.write(case)
    finally:
        for file in lines:
            file.close()
    options = {"weights": {p.name: str(p.weight) for p in parts}, "rows": rows, "repeat": repeat}
    return _done("mix", {**options, "order": order, "seed": seed}, tallies, [writer])


def difficulty(source: str, out: Path, k: int, keep: str, folder: Path | None, config: JudgeConfig) -> int:
    """Measure pass rates, and write the pairs whose rate is in the range."""
    low, high = range_of(keep)
    if k < 1:
        raise ConfigError(f"--k {k} asks nothing", "4 is usual")
    if source == "-":
        raise ConfigError("the pairs are read twice", "write them to a file first")
    (tally,) = tallies_of([source])
    check_target(out, tally.source)
    folder = folder or out.with_name(out.name + ".run")
    rates = asyncio.run(_measured(tally.source, folder, k, config))
    failed = sum(not d.samples for d in rates.values())
    with Writer(out) as writer:
        for case in read(tally.source):
            tally.read += 1
            found = rates[case.id]
            if found.rate is None:
                tally.dropped["every call failed"] += 1
            elif not low <= found.rate <= high:
                tally.dropped["too hard" if found.rate < low else "too easy"] += 1
            else:
                told = {"samples": found.samples, "right": found.right, "unresolved": found.unresolved}
                meta = {**case.meta, "difficulty": {**told, "rate": found.rate}}
                writer.write(replace(case, meta=meta))
        tally.written = writer.rows
        _demand(writer.rows, f"no pair has a pass rate in {keep}", [tally])
    if failed:
        say(f"{failed:,} pairs have no rate: the same command asks for them again")
    options = {"k": k, "keep": keep, "judge": as_dict(config)}
    return _done("difficulty", options, [tally], [writer], _spread(rates.values()))


def released(source: str, out: Path, *, skip_bad: bool) -> int:
    """Take RM-R1's released rows apart."""
    (tally,) = tallies_of([source])
    check_target(out, tally.source)
    bad, counts = Bad(skip=skip_bad), Counter[str]()

    def case_from(fields: dict[str, Any], name: str) -> Case:
        found = taken_apart(fields, name)
        count_released(found, counts)
        return named(found.case, tally.name)

    with Writer(out) as writer:
        for case in _watched(read_with(tally.source, case_from, bad.take), tally.source):
            writer.write(case)
        tally.read = tally.written = writer.rows
        tally.unread = bad.n
        _demand(writer.rows, "no row could be taken apart", [tally])
    bad.tell()
    return _done("released", {}, [tally], [writer], dict(sorted(counts.items())))


async def _measured(source: str, folder: Path, k: int, config: JudgeConfig) -> dict[str, Difficulty]:
    setup = assemble(config, say, pairs=f"vote({k})")
    say(describe(setup.config))
    rates: dict[str, Difficulty] = {}
    try:
        with watching(count_lines(source)) as watch:
            cases = (_once(check_pair(case), rates) for case in read(source))
            stream = run(setup, cases, out=folder, source=source, progress=Progress(), watch=watch, warn=say)
            async with aclosing(stream):
                async for decision in stream:
                    rates[decision.case_id] = measured(decision)
    finally:
        await setup.aclose()
    return rates


def _once(case: Case, rates: dict[str, Difficulty]) -> Case:
    if case.id in rates:
        raise InputError(f"id {case.id!r} comes twice", "jurist data pairs gives each pair its own id")
    return case


def _spread(rates: Iterable[Difficulty]) -> dict[str, int]:
    """How many pairs have which rate."""
    counts = Counter(f"{d.rate:.2f}" for d in rates if d.rate is not None)
    return {f"pass rate {rate}": n for rate, n in sorted(counts.items())}


def _same(prove: MathVerify | None) -> Same:
    def same(reference: str, answer: str) -> bool | None:
        plainly = same_plainly(reference, answer)
        return prove(reference, answer) if prove and plainly is None else plainly

    return same


def _filters(limits: Limits, index: Index | None) -> Filters:
    if not 0 < limits.near <= 1:
        raise ConfigError(f"--near {limits.near:g} is no share", "0.8 is usual")
    drop = [
        (name, value) for name, value in (pair_of(text, "--drop source=magpie_ultra") for text in limits.drop)
    ]
    measure = tokens_of(limits.tokenizer) if limits.tokenizer else len
    unique = limits.unique
    seen = None if unique == "none" else Seen(unique, limits.near)  # pyright: ignore[reportArgumentType]
    return Filters(drop, limits.longest, measure, index, seen)


def _part(text: str) -> mixture.Part:
    path, _, weight = text.rpartition("=")
    try:
        ratio = Fraction(weight)
    except (ValueError, ZeroDivisionError):
        ratio = Fraction(0)
    if not path or ratio <= 0:
        raise ConfigError(f"{text!r} is no FILE=WEIGHT", "for example skywork.jsonl=5")
    return mixture.Part(Path(path), ratio, stem(path))


def _watched(rows: Iterator[Case], source: str) -> Iterator[Case]:
    total = None if source == "-" else count_lines(source)
    return iter(track(rows, "reading", total, console=err, transient=True, disable=not err.is_terminal))


def _demand(rows: int, message: str, tallies: list[Tally]) -> None:
    if not rows:
        lines = Report("", {}, tuple(tallies), ()).lines()
        raise InputError(f"{message}: {'; '.join(line.strip() for line in lines)}", "nothing was written")


def _done(
    command: str,
    options: dict[str, Any],
    tallies: list[Tally],
    writers: list[Writer],
    counts: dict[str, int] | None = None,
    beside: Path | None = None,
    index: Index | None = None,
) -> int:
    """Say what was done, and write it beside the output."""
    outputs = tuple(Output(w.path.name, w.rows, w.sha256) for w in writers)
    options = {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}
    held = {n: (len(index.cases[i]), index.digest(i)) for i, n in enumerate(index.names)} if index else {}
    report = Report(f"data {command}", options, tuple(tallies), outputs, counts or {}, held)
    for line in report.lines():
        say(line)
    say(f"report: {write_report(report, beside or writers[0].path)}")
    return 0
