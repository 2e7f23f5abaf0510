"""`jurist data`: from preference rows to training sets."""

import asyncio
from collections import Counter
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App

from jurist.cli.console import describe, list_bad, next_step, say, watched, watching
from jurist.cli.options import Flag, Judge, Many, Out, SkipBad, Source
from jurist.core.errors import ConfigError, InputError
from jurist.judging.config import DEFAULTS, JudgeConfig

if TYPE_CHECKING:
    from jurist.core.types import Case
    from jurist.data.difficulty import Difficulty
    from jurist.data.math_verify import MathVerify
    from jurist.data.overlap import Index
    from jurist.data.report import SourceCounts
    from jurist.data.rows import Writer
    from jurist.data.verifiable import Same
    from jurist.inputs.lines import Row

Choose = Literal["one", "all"]
Format = Literal["jurist", "trl"]

data = App(name="data", help="Prepare training sets: filter, verify, split, mix, measure difficulty.")


@data.command
def pairs(
    *sources: Source,
    out: Out,
    unique: Literal["near", "exact", "prompt", "none"] = "near",
    near: float = 0.8,
    longest: int | None = None,
    tokenizer: str | None = None,
    drop: Many = None,
    field: Many = None,
    against: Many = None,
    data: Path | None = None,
    choose: Choose = "one",
    seed: int = 0,
    format: Format = "jurist",
    skip_bad: SkipBad = False,
) -> int:
    """Preference rows of any format, filtered, as one file of pairs; why a row was left out is counted.

    Left out are rows with one response, without gold or with a tie, empty and equal responses, and what the
    options name. The counts stand on standard error and in FILE.report.json.

    Examples::

        jurist data pairs raw.jsonl -o pairs.jsonl
        jurist data pairs raw.jsonl --against judgebench,rewardbench -o pairs.jsonl
        jurist data pairs chat=a.jsonl hf:ORG/NAME --longest 16000 --skip-bad -o pairs.jsonl

    Parameters
    ----------
    sources
        Files, folders or hf:ORG/NAME, as for `jurist judge`; NAME=SOURCE says what it is called in ids and
        in meta.from.
    out
        The pairs (.jsonl).
    unique
        What may not come twice, in all sources together: nearly the same prompt and responses, exactly the
        same, nearly the same prompt, or none.
    near
        Share of 5-word sequences from which two texts are nearly the same.
    longest
        Most characters of prompt and responses together.
    tokenizer
        Count tokens of this tokenizer (Hugging Face name or folder) in place of characters.
    drop
        FIELD=VALUE: leave out rows whose field (group, or one of meta) has this value.
    field
        OURS=THEIRS+THEIRS: take a field from others, their texts joined: chosen=accepted.
    against
        Benchmarks and files, with commas between them: leave out rows that overlap with them.
    data
        Folder with the benchmarks' published files.
    choose
        Of more than two responses: one pair by seed, or all pairs whose gold differs.
    seed
        Decides which pair.
    format
        jurist: rows as every command reads them. trl: prompt, chosen and rejected as TRL's RewardTrainer and
        DPOTrainer read them (jurist reads those too).
    skip_bad
        Leave out rows that cannot be read, and list them, instead of stopping.
    """
    from jurist.data.filters import FilterOptions, filters_of, fit
    from jurist.data.rows import Writer, check_target, read
    from jurist.data.sources import index_of, renames_of, source_counts
    from jurist.inputs import BadRows

    tallies = source_counts(list(sources))
    check_target(out, *(tally.source for tally in tallies))
    limits = FilterOptions(unique, near, longest, tokenizer, drop or [], against or [], data)
    index = index_of(limits.against, limits.data)
    filters = filters_of(limits, index)
    names, bad = renames_of(field or []), BadRows(skip=skip_bad)
    with Writer(out, format) as writer:
        for tally in tallies:
            before = bad.count
            rows = iter(watched(read(tally.source, names, bad.on_bad), tally.source))
            for pair in fit(rows, filters, tally, choose, seed):
                writer.write(pair)
            tally.unread = bad.count - before
        _demand(writer.rows, "no pair is left", tallies)
    list_bad(bad)
    options = {
        **limits._asdict(),
        "field": field or [],
        "choose": choose,
        "seed": seed,
        "format": format,
    }
    return _done("pairs", options, tallies, [writer], index=index)


@data.command
def verifiable(
    source: Source,
    /,
    *,
    out: Out,
    math: Literal["auto", "on", "off"] = "auto",
    answer: Literal["marked", "last-number"] = "marked",
    choose: Choose = "one",
    field: Many = None,
    seed: int = 0,
    skip_bad: SkipBad = False,
) -> int:
    """Pairs of a right and a wrong response to questions whose answer is known.

    Thoughts are taken out of the responses. A response that states no final answer, or one that cannot be
    compared with the reference, stands in no pair.

    Examples::

        jurist data verifiable answers.jsonl -o pairs.jsonl
        jurist data verifiable answers.jsonl --choose all -o pairs.jsonl
        jurist data verifiable answers.jsonl --answer last-number --math off -o pairs.jsonl

    Parameters
    ----------
    source
        Rows with question (or prompt, problem), reference (or answer, ground_truth) and responses.
    out
        The pairs (.jsonl).
    math
        Compare answers that are no plain numbers with math-verify: where it is installed, on, off.
    answer
        What a response states as its answer: what it marks as final (a box, ####, a line A:), or, where it
        marks nothing, its last number.
    choose
        One pair of each question by seed, or all pairs of a right and a wrong response.
    field
        OURS=THEIRS: take a field from another.
    seed
        Decides which pair, and which response stands first.
    skip_bad
        Leave out rows that cannot be read, and list them, instead of stopping.
    """
    from jurist.core.answers import final_answer, last_number
    from jurist.data.filters import named
    from jurist.data.math_verify import MathVerify, installed
    from jurist.data.rows import Writer, check_target, renamed
    from jurist.data.sources import renames_of, source_counts
    from jurist.data.verifiable import question_of, verified
    from jurist.inputs import BadRows, read_rows

    find = last_number if answer == "last-number" else final_answer
    (tally,) = source_counts([source])
    check_target(out, tally.source)
    names, bad, counts = renames_of(field or []), BadRows(skip=skip_bad), Counter[str]()

    def question(row: "Row") -> "Case":
        return named(question_of(renamed(row.fields, names), row.default_id), tally.name)

    with ExitStack() as stack:
        prove = (
            stack.enter_context(MathVerify()) if math == "on" or (math == "auto" and installed()) else None
        )
        say(f"answers are compared plainly{f', then by {prove.name}' if prove else ''}")
        writer = stack.enter_context(Writer(out))
        for case in watched(read_rows(tally.source, question, bad.on_bad), tally.source):
            tally.read += 1
            made = list(verified(case, _same(prove), choose, seed, counts, find))
            tally.written += bool(made)
            for pair in made:
                writer.write(pair)
        tally.unread = bad.count
        _demand(writer.rows, "no question has a right and a wrong response", [tally])
    list_bad(bad)
    how = prove.name if prove else "off"
    options = {"math": how, "answer": answer, "choose": choose, "field": field or [], "seed": seed}
    return _done("verifiable", options, [tally], [writer], dict(sorted(counts.items())))


@data.command
def split(source: Source, /, *, parts: str, out: Out, seed: int = 0) -> int:
    """Split a file by its prompts: rows with the same prompt are always in the same part.

    Examples::

        jurist data split pairs.jsonl --parts distill=0.4,rl=0.4,held_out=0.2 -o data
        jurist data split pairs.jsonl --parts train=0.9,held_out=0.1 --seed 1 -o data
        jurist data split hf:ORG/NAME --parts train=0.98,held_out=0.02 -o data

    Parameters
    ----------
    source
        Rows, in every format that judge reads.
    parts
        Names and shares: distill=0.12,rl=0.86,heldout=0.02.
    out
        Folder; each part becomes NAME.jsonl there.
    seed
        Another seed is another split.
    """
    from jurist.data.rows import Writer, check_target, read
    from jurist.data.sources import source_counts
    from jurist.data.splits import part_of, parts_of

    shares, (tally,) = parts_of(parts), source_counts([source])
    if not out.is_dir():
        out.mkdir(parents=True)
    targets = {name: out / f"{name}.jsonl" for name in shares}
    for target in targets.values():
        check_target(target, tally.source)
    with ExitStack() as stack:
        writers = {name: stack.enter_context(Writer(path)) for name, path in targets.items()}
        for case in watched(read(tally.source), tally.source):
            tally.read += 1
            writers[part_of(case, shares, seed)].write(case)
        tally.written = tally.read
    return _done("split", {"parts": shares, "seed": seed}, [tally], [*writers.values()], beside=out)


@data.command
def mix(
    *files: str,
    out: Out,
    rows: int | None = None,
    repeat: Flag = False,
    order: Literal["given", "random", "both"] = "given",
    seed: int = 0,
    format: Format = "jurist",
) -> int:
    """A weighted mixture of files, shuffled.

    Examples::

        jurist data mix chat.jsonl=5 math.jsonl=1 -o mix.jsonl
        jurist data mix chat.jsonl=5 math.jsonl=1 --rows 10000 --repeat -o mix.jsonl
        jurist data mix chat.jsonl=1 math.jsonl=1 --format trl -o trl.jsonl

    Parameters
    ----------
    files
        FILE=WEIGHT, JSONL; the weights are ratios of rows: skywork.jsonl=5 tulu.jsonl=1.
    out
        The mixture (.jsonl).
    rows
        How many rows. Without it, as many as there are without repetition.
    repeat
        Rows may come again, after all others of their file; without --rows until no row is missing.
    order
        Note in meta.order which response is to be shown first: nothing, by seed, or each row twice, in both
        orders (then the file has twice the rows).
    seed
        Decides which rows, their order in the file, and meta.order.
    format
        jurist, or trl: prompt, chosen and rejected as TRL's RewardTrainer and DPOTrainer read them.
    """
    from jurist.data import mixture
    from jurist.data.rows import Writer, check_target
    from jurist.data.sources import source_counts

    parts = [mixture.part_of(text) for text in files]
    if not parts:
        raise ConfigError("there is nothing to mix", "jurist data mix a.jsonl=5 b.jsonl=1 --out mix.jsonl")
    tallies = source_counts([f"{part.name}={part.path}" for part in parts])
    check_target(out, *(tally.source for tally in tallies))
    lines = [mixture.IndexedRows(part.path) for part in parts]
    _demand(min(map(len, lines)), "a file has no rows", tallies)
    counts = mixture.sizes([len(x) for x in lines], [p.weight for p in parts], rows, repeat=repeat)
    for tally, file, n in zip(tallies, lines, counts, strict=True):
        tally.read, tally.written = len(file), n
    try:
        with Writer(out, format) as writer:
            for case in mixture.mixed(parts, lines, counts, seed, order):
                writer.write(case)
    finally:
        for file in lines:
            file.close()
    options = {"weights": {p.name: str(p.weight) for p in parts}, "rows": rows, "repeat": repeat}
    return _done("mix", {**options, "order": order, "seed": seed, "format": format}, tallies, [writer])


@data.command
def difficulty(
    source: Source,
    /,
    *,
    out: Out,
    k: int = 4,
    keep: str = "0..1",
    run: Path | None = None,
    config: Judge = DEFAULTS,
) -> int:
    """Let a judge try each pair k times; its pass rate is written to the pair, and may decide what is kept.

    Examples::

        jurist data difficulty pairs.jsonl -o rated.jsonl -e http://localhost:8000/v1
        jurist data difficulty pairs.jsonl --k 8 --keep 0.1..0.9 -o hard.jsonl -e http://localhost:8000/v1
        jurist data difficulty pairs.jsonl --k 2 -p pairwise -o tried.jsonl -e http://localhost:8000/v1

    Parameters
    ----------
    source
        Pairs, prepared.
    out
        The pairs with meta.difficulty (.jsonl).
    k
        Samples of each pair; the order of the responses changes from one to the next.
    keep
        Range of pass rates, ends included: 0.1..0.9.
    run
        Run folder, FILE.run if not given. The same command goes on where it stopped.
    """
    from msgspec.structs import replace

    from jurist.data.difficulty import range_of
    from jurist.data.rows import Writer, check_target, read
    from jurist.data.sources import source_counts
    from jurist.judging.config import as_dict

    low, high = range_of(keep)
    if k < 1:
        raise ConfigError(f"--k {k} asks nothing", "4 is usual")
    if source == "-":
        raise ConfigError("the pairs are read twice", "write them to a file first")
    (tally,) = source_counts([source])
    check_target(out, tally.source)
    folder = run or out.with_name(out.name + ".run")
    rates = asyncio.run(_measured(tally.source, folder, k, config))
    failed = sum(not d.samples for d in rates.values())
    with Writer(out) as writer:
        for case in read(tally.source):
            tally.read += 1
            tried = rates[case.id]
            if tried.rate is None:
                tally.dropped["every call failed"] += 1
            elif not low <= tried.rate <= high:
                tally.dropped["too hard" if tried.rate < low else "too easy"] += 1
            else:
                counts = {"samples": tried.samples, "right": tried.right, "unresolved": tried.unresolved}
                meta = {**case.meta, "difficulty": {**counts, "rate": tried.rate}}
                writer.write(replace(case, meta=meta))
        tally.written = writer.rows
        _demand(writer.rows, f"no pair has a pass rate in {keep}", [tally])
    if failed:
        say(f"{failed:,} pairs have no rate: the same command asks for them again")
    options = {"k": k, "keep": keep, "judge": as_dict(config)}
    return _done("difficulty", options, [tally], [writer], _spread([*rates.values()]))


@data.command
def released(source: Source, /, *, out: Out, skip_bad: SkipBad = False) -> int:
    """RM-R1's released training sets as pairs: prompts taken apart, label leak mended, traces in meta.trace.

    Examples::

        jurist data released hf:gaotang/filtered_sky_code_8k_math_10k_rest_wo_rubric -o pairs.jsonl
        jurist data released released.jsonl --skip-bad -o pairs.jsonl
        jurist data released hf:gaotang/RM-R1-Entire-RLVR-Train -o rlvr.jsonl

    Parameters
    ----------
    source
        A released set: file, folder or hf:ORG/NAME.
    out
        The pairs (.jsonl).
    skip_bad
        Leave out rows that cannot be taken apart, and list them, instead of stopping.
    """
    from jurist.data.filters import named
    from jurist.data.rm_r1_release import count
    from jurist.data.rm_r1_release import released as taken_apart
    from jurist.data.rows import Writer, check_target
    from jurist.data.sources import source_counts
    from jurist.inputs import BadRows, read_rows

    (tally,) = source_counts([source])
    check_target(out, tally.source)
    bad, counts = BadRows(skip=skip_bad), Counter[str]()

    def case_from(row: "Row") -> "Case":
        parts = taken_apart(row.fields, row.default_id)
        count(parts, counts)
        return named(parts.case, tally.name)

    with Writer(out) as writer:
        for case in watched(read_rows(tally.source, case_from, bad.on_bad), tally.source):
            writer.write(case)
        tally.read = tally.written = writer.rows
        tally.unread = bad.count
        _demand(writer.rows, "no row could be taken apart", [tally])
    list_bad(bad)
    return _done("released", {}, [tally], [writer], dict(sorted(counts.items())))


async def _measured(source: str, folder: Path, k: int, config: JudgeConfig) -> "dict[str, Difficulty]":
    from jurist.data.difficulty import check_pair
    from jurist.data.difficulty import difficulty as measured
    from jurist.data.rows import read
    from jurist.inputs.files import count_lines
    from jurist.judging.build import assemble
    from jurist.judging.run import run

    setup = assemble(config, say, pairs=f"vote({k})")
    say(describe(setup.config))
    rates: dict[str, Difficulty] = {}
    cases = (_once(check_pair(case), rates) for case in read(source))
    try:
        with watching(count_lines(source)) as watch:
            stream = run(setup, cases, out=folder, source=source, watch=watch, warn=say)
            async with aclosing(stream):
                async for decision in stream:
                    rates[decision.case_id] = measured(decision)
    finally:
        await setup.aclose()
    return rates


def _once(case: "Case", rates: "dict[str, Difficulty]") -> "Case":
    if case.id in rates:
        raise InputError(f"id {case.id!r} comes twice", "jurist data pairs gives each pair its own id")
    return case


def _spread(rates: "list[Difficulty]") -> dict[str, int]:
    """How many pairs have which rate."""
    counts = Counter(f"{d.rate:.2f}" for d in rates if d.rate is not None)
    return {f"pass rate {rate}": n for rate, n in sorted(counts.items())}


def _same(prove: "MathVerify | None") -> "Same":
    from jurist.data.verifiable import same_plainly

    def same(reference: str, answer: str) -> bool | None:
        plainly = same_plainly(reference, answer)
        return prove(reference, answer) if prove and plainly is None else plainly

    return same


def _demand(rows: int, message: str, tallies: "list[SourceCounts]") -> None:
    from jurist.data.report import DataReport

    if not rows:
        lines = DataReport("", {}, tuple(tallies), ()).lines()
        raise InputError(f"{message}: {'; '.join(line.strip() for line in lines)}", "nothing was written")


def _done(
    command: str,
    options: dict[str, Any],
    tallies: "list[SourceCounts]",
    writers: "list[Writer]",
    counts: dict[str, int] | None = None,
    beside: Path | None = None,
    index: "Index | None" = None,
) -> int:
    """Say what was done, and write it beside the output."""
    from jurist.data.report import DataReport, OutputFile, write_report

    outputs = tuple(OutputFile(w.path.name, w.rows, w.sha256) for w in writers)
    options = {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}
    benchmarks = (
        {n: (len(index.cases[i]), index.digest(i)) for i, n in enumerate(index.names)} if index else {}
    )
    report = DataReport(f"data {command}", options, tuple(tallies), outputs, counts or {}, benchmarks)
    for line in report.lines():
        say(line)
    say(f"report: {write_report(report, beside or writers[0].path)}")
    if len(writers) == 1:
        next_step("write chains for them", "jurist", "distill", writers[0].path, "--out", "RUN")
    else:
        next_step("train on one", "jurist", "train", "grpo", writers[0].path, "--out", "RUN")
    return 0
