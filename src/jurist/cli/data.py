"""`jurist data`: from preference rows to training sets."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from jurist.judging.config import DEFAULTS, JudgeConfig

Source = Annotated[str, Parameter(allow_leading_hyphen=True)]
Flag = Annotated[bool, Parameter(negative="")]
Many = Annotated[list[str] | None, Parameter(negative="")]
Choose = Literal["one", "all"]

data = App(name="data", help="Prepare training sets: filter, verify, split, mix, measure difficulty.")


@data.command
def pairs(
    *sources: Source,
    out: Path,
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
    skip_bad: Flag = False,
) -> int:
    """Preference rows of any format, filtered, as one file of pairs; why a row was left out is counted.

    Left out are rows with one response, without gold or with a tie, empty and equal responses, and what the
    options name. The counts stand on standard error and in FILE.report.json.

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
    skip_bad
        Leave out rows that cannot be read, and list them, instead of stopping.
    """
    from jurist.cli import preparing

    limits = preparing.Limits(unique, near, longest, tokenizer, drop or [], against or [], data)
    return preparing.pairs(list(sources), out, limits, field or [], choose, seed, skip_bad=skip_bad)


@data.command
def verifiable(
    source: Source,
    /,
    *,
    out: Path,
    math: Literal["auto", "on", "off"] = "auto",
    answer: Literal["marked", "last-number"] = "marked",
    choose: Choose = "one",
    field: Many = None,
    seed: int = 0,
    skip_bad: Flag = False,
) -> int:
    """Pairs of a right and a wrong response to questions whose answer is known.

    Thoughts are taken out of the responses. A response that states no final answer, or one that cannot be
    compared with the reference, stands in no pair.

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
    from jurist.cli import preparing

    return preparing.verifiable(source, out, math, answer, choose, field or [], seed, skip_bad=skip_bad)


@data.command
def split(source: Source, /, *, parts: str, out: Path, seed: int = 0) -> int:
    """Split a file by its prompts: rows with the same prompt are always in the same part.

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
    from jurist.cli import preparing

    return preparing.split(source, parts, out, seed)


@data.command
def mix(
    *files: str,
    out: Path,
    rows: int | None = None,
    repeat: Flag = False,
    order: Literal["given", "random", "both"] = "given",
    seed: int = 0,
) -> int:
    """A weighted mixture of files, shuffled.

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
    """
    from jurist.cli import preparing

    return preparing.mix(list(files), out, rows, order, seed, repeat=repeat)


@data.command
def difficulty(
    source: Source,
    /,
    *,
    out: Path,
    k: int = 4,
    keep: str = "0..1",
    run: Path | None = None,
    config: Annotated[JudgeConfig, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Let a judge try each pair k times; its pass rate is written to the pair, and may decide what is kept.

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
    from jurist.cli import preparing

    return preparing.difficulty(source, out, k, keep, run, config)


@data.command
def released(source: Source, /, *, out: Path, skip_bad: Flag = False) -> int:
    """RM-R1's released training sets as pairs: prompts taken apart, label leak mended, traces in meta.trace.

    Parameters
    ----------
    source
        A released set: file, folder or hf:ORG/NAME.
    out
        The pairs (.jsonl).
    skip_bad
        Leave out rows that cannot be taken apart, and list them, instead of stopping.
    """
    from jurist.cli import preparing

    return preparing.released(source, out, skip_bad=skip_bad)
