"""`jurist overlap`: which training rows hold texts of a benchmark."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

Flag = Annotated[bool, Parameter(negative="")]


def overlap(
    source: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    against: Annotated[list[str], Parameter(negative="")],
    data: Path | None = None,
    out: Path | None = None,
    report: Path | None = None,
    json: Flag = False,
    check: Flag = False,
    skip_bad: Flag = False,
    prompts_only: Flag = False,
    ngram: int = 5,
    threshold: float = 0.6,
    words: int = 13,
) -> int:
    """Find training rows that overlap with benchmarks, the same or nearly so, and leave them out.

    Texts are compared by their words, without case and punctuation: prompts (all turns, and the last of the
    user's) with prompts, responses with responses. Near is a text most of whose word sequences stand in the
    other one; the measure is the share of the shorter text. What stands in more than 10 texts of a
    benchmark is its boilerplate and not counted.

    Parameters
    ----------
    source
        Training rows: pairs, ratings, prompts alone or with an answer, in every format that judge reads.
    against
        Benchmarks and files of rows, with commas between them, or the flag once for each.
    data
        Folder with the benchmarks' published files.
    out
        The training rows without those that overlap (.jsonl); lines of JSONL stay as they are, byte by byte.
    report
        Every hit, one JSON line each, and a summary as the last line.
    json
        The summary as JSON on standard output, in place of the table.
    check
        End with exit code 1 where a row overlaps.
    skip_bad
        Leave out rows that cannot be read, and list them, instead of stopping; they are not in --out either.
    prompts_only
        Do not compare responses.
    ngram
        Words in a sequence.
    threshold
        Share of the shorter text's sequences from which two texts are near. 0 with --ngram 13: the rule of
        GPT-3, any 13 words in a row.
    words
        Shorter texts are never near. They can be the same: a prompt from 3 words on.
    """
    from jurist.cli import overlapping
    from jurist.data.overlap import Rule

    rule = Rule(ngram, threshold, words, responses=not prompts_only)
    touched = overlapping.check(source, against, data, out, report, rule, json=json, skip_bad=skip_bad)
    return int(check and touched > 0)
