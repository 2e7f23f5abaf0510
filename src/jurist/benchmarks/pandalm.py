"""PandaLM: pairs that three people judged, where a tie is an answer of its own."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal

import msgspec

from jurist.benchmarks.base import (
    Benchmark,
    demand,
    grouped,
    headline_name,
    pair_winner,
    proportion,
    scorecard,
)
from jurist.benchmarks.files import on_github, one_file, published_file, read_list
from jurist.benchmarks.transcripts import PAIR, no_verdict, recorded_judgment, recorded_verdict, transcribed
from jurist.core.errors import InputError
from jurist.core.types import Case, Decision, Judgment, Message, Order, Scorecard, Verdict, winner

FILE = "testset-v1.json"
SIZE = 999
GIVEN: Order = (0, 1)
SOURCE = "WeOpenML/PandaLM @3871806, Apache-2.0"
UNRESOLVED = "A pair without a verdict counts as judged a tie, which is right where people call it one."

_SCORES = {"0": PAIR.tie, "1": PAIR.first, "2": PAIR.second}
_TIES = ("0", "tie")

Label = Literal[0, 1, 2]
"""A tie, the first response, the second."""


class _Row(msgspec.Struct):
    idx: int
    cmp_key: str
    motivation_app: str
    instruction: str
    input: str
    # Six responses that read "true" were published as JSON booleans.
    response1: str | bool
    response2: str | bool
    annotator1: Label
    annotator2: Label
    annotator3: Label


class _Output(msgspec.Struct):
    idx: int
    gpt_result: str | int | None = None
    gpt_reason: str | None = None
    pandalm_result: str | int | None = None
    pandalm_reason: str | None = None


def load(path: Path) -> Iterator[Case]:
    """The 999 pairs, from the file or a folder that holds it; gold is the majority of three people.

    ``meta`` has their three labels, the application that the task imitates and the published ``order``.
    Groups are the pairs of models that answer.
    """
    file = published_file(path, FILE, ("data", "pandalm"), "WeOpenML/PandaLM")
    for row in read_list(file, _Row):
        yield _case(row, file)


def recorded(path: Path) -> Iterator[Decision]:
    """Decisions of another judge: a file of its official output, with the pairs in the same folder."""
    path = one_file(path, f"*-{FILE}")
    pairs, outputs = read_list(path.parent / FILE, _Row), read_list(path, _Output)
    if [row.idx for row in pairs] != [row.idx for row in outputs]:
        raise InputError(
            f"{path}: its idx are not those of the {len(pairs)} pairs in {FILE}",
            hint="the official output of one judge is meant, complete and in order",
        )
    for row, output in zip(pairs, outputs, strict=True):
        case = _case(row, path)
        yield transcribed(case, [_judgment(case, output, path)])


def recorded_cases(path: Path) -> Iterator[Case]:
    """The pairs in the same folder as the output."""
    return load(one_file(path, f"*-{FILE}").parent / FILE)


def score(decisions: Iterable[Decision]) -> Scorecard:
    """Accuracy, and macro precision, recall and F1 over tie, first and second.

    Source: WeOpenML/PandaLM @3871806, ``data/compute_metrics.py``; a class that is never predicted has
    precision and F1 of 0. Values are shares in [0, 1].
    """
    listed = demand(decisions, "pandalm")
    rows = grouped(listed)
    return scorecard(
        "pandalm",
        listed,
        headline=proportion(headline_name("accuracy", len(listed), SIZE), _right(listed)),
        groups=[proportion(g, _right(ds)) for g, ds in rows.items()] if len(rows) > 1 else (),
        statistics=macro([_labels(d) for d in listed]),
        unresolved=f"{UNRESOLVED} {_other_orders(listed)}",
    )


def macro(labels: Sequence[tuple[Label, Label]]) -> dict[str, float]:
    """Precision, recall and F1, each the mean of the three classes, of (gold, predicted) labels."""
    cells = Counter(labels)
    gold, predicted = Counter(g for g, _ in labels), Counter(p for _, p in labels)
    classes: tuple[Label, ...] = (0, 1, 2)
    precision = [cells[c, c] / (predicted[c] or 1) for c in classes]
    recall = [cells[c, c] / (gold[c] or 1) for c in classes]
    f1 = [2 * p * r / ((p + r) or 1) for p, r in zip(precision, recall, strict=True)]
    return {"macro_precision": fmean(precision), "macro_recall": fmean(recall), "macro_f1": fmean(f1)}


def _class(best: int | None) -> Label:
    """The class of a winner; without one it is a tie, as in the official count, also without a verdict."""
    return 0 if best is None else (1 if best == 0 else 2)


def _labels(decision: Decision) -> tuple[Label, Label]:
    """(gold, verdict)."""
    return _class(pair_winner(decision)), _class(winner(decision.verdict.scores))


def _right(decisions: Sequence[Decision]) -> list[bool]:
    return [gold == said for gold, said in map(_labels, decisions)]


def _other_orders(decisions: Sequence[Decision]) -> str:
    """A note where the official protocol of one order, as given, was not followed."""
    other = sum(any(j.query.order != GIVEN for j in d.judgments) for d in decisions)
    if not other:
        return ""
    return (
        f"{other} of {len(decisions)} pairs were not judged in the given order alone; published scores are."
    )


def _case(row: _Row, file: Path) -> Case:
    said = (row.annotator1, row.annotator2, row.annotator3)
    label, votes = Counter(said).most_common(1)[0]
    if votes < 2:
        raise InputError(
            f"{file}: pair {row.idx}: the annotators say {said}, which has no majority",
            hint="at least two of the three agree in the published set",
        )
    prompt = f"{row.instruction}\n\n{row.input}" if row.input else row.instruction
    return Case(
        id=str(row.idx),
        prompt=(Message("user", prompt),),
        responses=(str(row.response1), str(row.response2)),
        gold=_SCORES[str(label)],
        group=row.cmp_key,
        meta={"annotators": list(said), "application": row.motivation_app, "order": list(GIVEN)},
    )


def _judgment(case: Case, output: _Output, file: Path) -> Judgment:
    result = output.pandalm_result if output.gpt_result is None else output.gpt_result
    if result is None:
        raise InputError(
            f"{file}: pair {output.idx} has neither gpt_result nor pandalm_result",
            hint="raw output of a judge is meant, not the pairs themselves",
        )
    text = output.gpt_reason or output.pandalm_reason or ""
    return recorded_judgment(case.id, GIVEN, _verdict(str(result)), text)


def _verdict(label: str) -> Verdict:
    scores = _SCORES["0"] if label.lower() in _TIES else _SCORES.get(label)
    if scores is None:
        return no_verdict(f"recorded as {label!r}")
    return recorded_verdict(scores)


PANDALM = Benchmark(
    name="pandalm",
    summary="999 pairs of small models' answers, three human judges, ties as a class of their own",
    source=SOURCE,
    unresolved=UNRESOLVED,
    load=load,
    score=score,
    recorded=recorded,
    recorded_cases=recorded_cases,
    files=on_github(
        "WeOpenML/PandaLM",
        "3871806",
        {f"data/{FILE}": (FILE, "cc154f9067c7382d7ea86f8f246511a5e1ac87e1fddd845c5938d789505b07a4")},
    ),
)
