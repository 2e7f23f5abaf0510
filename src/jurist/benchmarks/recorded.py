"""Outputs of other judges as decisions: in a benchmark's official layout, or scores by case id."""

from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from jurist.benchmarks.base import Benchmark, demand, unique
from jurist.benchmarks.fetch import place
from jurist.benchmarks.transcripts import no_verdict, rated
from jurist.core.errors import ConfigError, InputError
from jurist.core.types import Case, Decision
from jurist.inputs import read_rows
from jurist.inputs.files import READERS
from jurist.inputs.lines import Fields, Row, seen
from jurist.inputs.values import number_of

SCORES_FORM = '{"id": "CASE", "scores": [0.2, 0.9]} a line, of any benchmark'
"""The layout that every benchmark takes: one number for each response of the case, null without a verdict."""


def read_recorded(benchmark: Benchmark, path: Path, data: Path | None = None) -> list[Decision]:
    """The decisions in a file of another judge's outputs.

    Official raw outputs as ``Benchmark.recorded`` reads them, or of any benchmark rows with ``id`` (or
    ``case_id``) and ``scores``; for those the cases are below ``data``, or fetched. A case that stands there
    twice is two decisions, as official code counts it, and ids tell them apart. Raises ``InputError`` where
    nothing can be read, ``ConfigError`` where the benchmark has no official outputs.
    """
    if _holds_scores(path):
        decisions = list(_scored(benchmark, path, data))
    elif benchmark.recorded:
        decisions = list(benchmark.recorded(path))
    else:
        raise ConfigError(
            f"{benchmark.name} has no official outputs that could be read", hint=f"rows like {SCORES_FORM}"
        )
    names = unique(decision.case_id for decision in demand(decisions, benchmark.name))
    return [
        decision if decision.case_id == name else _renamed(decision, name)
        for decision, name in zip(decisions, names, strict=True)
    ]


def _holds_scores(path: Path) -> bool:
    """Whether the first row of a file is one of scores by case id."""
    if not path.is_file() or path.suffix not in READERS:
        return False
    try:
        first = next(read_rows(path, lambda row: row.fields), None)
    except InputError:
        return False  # the benchmark's own reader says what is wrong
    return bool(first) and "scores" in first and ("case_id" in first or set(first) <= {"id", "scores"})


def _scored(benchmark: Benchmark, path: Path, data: Path | None) -> Iterator[Decision]:
    cases = {case.id: case for case in benchmark.load(place(benchmark, data))}

    def decision(row: Row) -> Decision:
        name = row.fields.get("case_id", row.fields.get("id"))
        if not isinstance(name, str) or name not in cases:
            raise InputError(
                f"id: {name!r} is no case of {benchmark.name}", f"such as {next(iter(cases), '')!r}"
            )
        return _rated(cases[name], row.fields)

    return read_rows(path, decision)


def _rated(case: Case, fields: Fields) -> Decision:
    scores = fields["scores"]
    if scores is None:
        return replace(rated(case, ()), verdict=no_verdict("recorded as null"))
    if not isinstance(scores, list) or len(scores) != len(case.responses):
        raise InputError(
            f"scores: the case {case.id!r} has {len(case.responses)} responses, saw {seen(scores)}",
            "one number for each, or null",
        )
    return rated(case, tuple(number_of(score, "scores") for score in scores))


def _renamed(decision: Decision, name: str) -> Decision:
    judgments = tuple(replace(j, query=replace(j.query, case_id=name)) for j in decision.judgments)
    return replace(decision, case_id=name, judgments=judgments)
