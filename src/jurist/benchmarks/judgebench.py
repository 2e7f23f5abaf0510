"""JudgeBench: pairs of one right and one wrong answer, judged in both orders."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Literal

import msgspec

from jurist.benchmarks.base import (
    Benchmark,
    by_order,
    demand,
    gold_winner,
    grouped,
    headline_name,
    proportion,
    scorecard,
    unique,
)
from jurist.benchmarks.files import on_github, one_file, published_file, read_lines
from jurist.benchmarks.transcripts import PAIR, no_verdict, recorded_judgment, recorded_verdict, transcribed
from jurist.core.errors import InputError
from jurist.core.types import (
    Case,
    Conversation,
    Decision,
    Judgment,
    Message,
    Order,
    Scorecard,
    Verdict,
    winner,
)

GROUPS = {
    "mmlu-pro": "knowledge",
    "livebench-reasoning": "reasoning",
    "livebench-math": "math",
    "livecodebench": "coding",
}
"""The paper's category by the beginning of a pair's ``source``."""

GIVEN: Order = (0, 1)
REVERSED: Order = (1, 0)

SOURCE = "ScalerLab/JudgeBench @e2c52c2, MIT"
UNRESOLVED = (
    "A tie or an unresolved order is a neutral vote; a pair is right when the net vote of its orders is "
    "above zero, so a pair without any verdict is wrong."
)

_SCORES = {"A>B": PAIR.first, "B>A": PAIR.second, "A=B": PAIR.tie}
"""What a label says, in slot order."""
_LABEL = re.compile(r"\[\[([AB](?:>>|>|=)[AB])\]\]")
MUCH_BETTER = "much better"
"""The note of a verdict that a judge called a strong one."""


class _Call(msgspec.Struct):
    response: object = None
    prompt: object = None


class _Game(msgspec.Struct):
    decision: str | None
    judgment: _Call | None = None


class _Row(msgspec.Struct):
    pair_id: str
    source: str
    question: str
    response_model: str
    response_A: str
    response_B: str
    label: Literal["A>B", "B>A"]
    judge_name: str = ""
    judgments: list[_Game | None] = []


def load(path: Path, model: str) -> Iterator[Case]:
    """The pairs whose responses ``model`` wrote, from one file or from the folder of the published layout."""
    rows = list(_rows(_find(path, model), model))
    for name, row in zip(unique(row.pair_id for row in rows), rows, strict=True):
        yield msgspec.structs.replace(_case(row), id=name)


def recorded(path: Path, model: str) -> Iterator[Decision]:
    """Decisions of another judge from its raw outputs, a file of the repository's ``outputs``."""
    for row in _rows(one_file(path, f"*response_model={model}*.jsonl", "*.jsonl"), model):
        if not 1 <= len(row.judgments) <= 2:
            raise InputError(
                f"{path}: pair {row.pair_id} has {len(row.judgments)} judgments, expected one per order",
                hint="raw outputs of a judge are meant, not the pairs themselves",
            )
        case = _case(row)
        games = zip((GIVEN, REVERSED), row.judgments, strict=False)
        yield transcribed(case, [_judgment(case, order, game) for order, game in games])


def score(decisions: Iterable[Decision], name: str, size: int) -> Scorecard:
    """The official count of ScalerLab/JudgeBench @e2c52c2, ``utils/metrics.py``, ``compute_final_metrics``.

    The headline is the share of all pairs that are right, not the mean of the categories. With one order
    per pair it is the official count of single games. Values are shares in [0, 1]. Of fewer than ``size``
    pairs the headline says so.
    """
    listed = demand(decisions, name)
    rows = grouped(listed, tuple(GROUPS.values()))
    return scorecard(
        name,
        listed,
        headline=proportion(headline_name("overall", len(listed), size), [_right(d) for d in listed]),
        groups=tuple(proportion(group, [_right(d) for d in ds]) for group, ds in rows.items()),
        statistics=_statistics(listed),
        unresolved=f"{UNRESOLVED} {_single_games(listed)}".strip(),
    )


def _right(decision: Decision) -> bool:
    """Net vote above zero. With one order this is the official rule of a single game: it names the label."""
    gold = gold_winner(decision)
    verdicts = list(by_order(decision).values()) or [decision.verdict]
    said = [winner(v.scores) for v in verdicts]
    return said.count(gold) > said.count(1 - gold)


def _single_games(decisions: Sequence[Decision]) -> str:
    """A note where the official protocol of two games per pair was not followed."""
    single = sum(len(by_order(d)) < 2 for d in decisions)
    if not single:
        return ""
    return (
        f"{single} of {len(decisions)} pairs were not judged in both orders and are counted as the "
        "official single game, one verdict against the label; published scores use both."
    )


def _statistics(decisions: Sequence[Decision]) -> dict[str, float]:
    """Accuracy of each order alone, consistency, and what being shown first is worth.

    ``consistency``: pairs whose two orders say the same, two ties included; an unresolved order agrees
    with nothing. ``first_shown``: games with a winner that the response shown first won; one half is
    unbiased. ``first_shown_both``: pairs in which it won both orders, so that position alone decided.
    """
    games = [(gold_winner(d), by_order(d)) for d in decisions]
    pairs = [(played[GIVEN], played[REVERSED]) for _, played in games if len(played) == 2]
    wins = [
        order[0] == best for _, p in games for order, v in p.items() if (best := winner(v.scores)) is not None
    ]
    shares = {
        "accuracy_given_order": [winner(p[GIVEN].scores) == gold for gold, p in games if GIVEN in p],
        "accuracy_reversed_order": [winner(p[REVERSED].scores) == gold for gold, p in games if REVERSED in p],
        "consistency": [_same(given, reverse) for given, reverse in pairs],
        "first_shown": wins,
        "first_shown_both": [(winner(g.scores), winner(r.scores)) == (0, 1) for g, r in pairs],
    }
    return {name: fmean(share) for name, share in shares.items() if share}


def _same(a: Verdict, b: Verdict) -> bool:
    return a.scores is not None and b.scores is not None and winner(a.scores) == winner(b.scores)


def _find(path: Path, model: str) -> Path:
    """The file of a split: ``path`` itself, or below it in the published layout."""
    pattern = f"dataset=judgebench,response_model={model}*.jsonl"
    return published_file(path, pattern, ("data", "judgebench", "judgebench/data"), "ScalerLab/JudgeBench")


def _rows(path: Path, model: str) -> Iterator[_Row]:
    seen: set[str] = set()
    for row in read_lines(path, _Row):
        seen.add(row.response_model)
        if not row.response_model.startswith(model):
            raise InputError(
                f"{path}: responses are by {row.response_model}, expected {model}",
                hint="judgebench holds the pairs of gpt-4o, judgebench-claude those of claude-3-5-sonnet",
            )
        yield row
    if not seen:
        raise InputError(f"{path} holds no pairs")


def _case(row: _Row) -> Case:
    group = next((name for prefix, name in GROUPS.items() if row.source.startswith(prefix)), None)
    if group is None:
        raise InputError(f"pair {row.pair_id}: source {row.source!r} begins with none of {', '.join(GROUPS)}")
    meta = {"source": row.source, "response_model": row.response_model}
    return Case(
        id=row.pair_id,
        prompt=(Message("user", row.question),),
        responses=(row.response_A, row.response_B),
        gold=_SCORES[row.label],
        group=group,
        meta={**meta, "judge_name": row.judge_name} if row.judge_name else meta,
    )


def _judgment(case: Case, order: Order, game: _Game | None) -> Judgment:
    call = (game.judgment if game else None) or _Call()
    text = str(call.response or "")
    verdict = _verdict(game.decision if game else None, order, text)
    return recorded_judgment(case.id, order, verdict, text, _messages(str(call.prompt or ""), text))


def _messages(prompt: str, text: str) -> Conversation:
    """The prompt, if the file has it: the Arena-Hard runs have the judge's own answer in its field."""
    return (Message("user", prompt),) if prompt.strip() and prompt.strip() not in text else ()


def _verdict(label: str | None, order: Order, text: str) -> Verdict:
    """A recorded label, from slot order to the order of the case.

    The record has two strengths less than Arena-Hard's judges say: ``[[A>>B]]`` is kept as the note.
    """
    if label in _SCORES:
        labels = _LABEL.findall(text)
        stronger = labels and labels[-1].replace(">>", ">") == label != labels[-1]
        return recorded_verdict(_SCORES[label], order, MUCH_BETTER if stronger else "")
    known = ", ".join(_SCORES)
    note = "recorded as null" if label is None else f"recorded label {label!r} is none of {known}"
    return no_verdict(note)


def _benchmark(name: str, model: str, size: int, summary: str, release: str, sha256: str) -> Benchmark:
    file = f"dataset=judgebench,response_model={model}-{release}.jsonl"
    return Benchmark(
        name=name,
        summary=summary,
        source=SOURCE,
        unresolved=UNRESOLVED,
        load=partial(load, model=model),
        score=partial(score, name=name, size=size),
        recorded=partial(recorded, model=model),
        files=on_github("ScalerLab/JudgeBench", "e2c52c2", {f"data/{file}": (file, sha256)}),
    )


JUDGEBENCH = _benchmark(
    "judgebench",
    "gpt-4o",
    350,
    "350 pairs of GPT-4o answers, one right; the published table",
    "2024-05-13",
    "d5106306b38dead1b2e964ecf5534a3e7b2fc4b8d3b8da327599edfcebd76042",
)
JUDGEBENCH_CLAUDE = _benchmark(
    "judgebench-claude",
    "claude-3-5-sonnet",
    270,
    "270 pairs of Claude 3.5 Sonnet answers, one right",
    "20240620",
    "3b70504588e400613bf5744a20a345da8701b7150be9a30c9db0e6f3d7b70a62",
)
