"""PPE: 16,038 votes of Chatbot Arena, and pairs of right and wrong answers to five sets of questions.

The schemas were taken from the published cards of the datasets; no row of the real sets was read here, and
the official scorer could not be had: what is marked [M] follows its description and may differ in detail.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from math import sqrt
from pathlib import Path
from statistics import NormalDist, StatisticsError, correlation, fmean
from typing import Any, Literal

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
from jurist.benchmarks.files import hub_files, read_rows
from jurist.core.errors import InputError
from jurist.core.statistics import Z95, macro_interval
from jurist.core.types import Case, Decision, Message, Scorecard, ScoreRow, Scores, winner
from jurist.deliberation.ratings import PRIOR, Match, Strengths, bradley_terry
from jurist.inputs.lines import NoDataError

SOURCE = "lmarena-ai/PPE-Human-Preference-V1 @main, prompts CC-BY-4.0 (arXiv 2410.14872)"
SOURCE_CORRECTNESS = "lmarena-ai/PPE-*-Best-of-K @main, terms of the five source sets (arXiv 2410.14872)"
UNRESOLVED = (
    "Accuracy is over votes with a winner, where a tie or an unresolved verdict is wrong; the rankings of "
    "models leave unresolved verdicts out and take ties as half a win."
)
UNRESOLVED_CORRECTNESS = "A tie or an unresolved verdict is wrong."

ORG = "lmarena-ai"
VOTES = 16038
HUMAN = "PPE-Human-Preference-V1"
SETS = ("MMLU-Pro", "MATH", "GPQA", "MBPP-Plus", "IFEval")
"""The five best-of-k sets, as their datasets ``PPE-<set>-Best-of-K`` are named."""

CATEGORIES = ("hard_prompt", "easy_prompt", "if_prompt", "math_prompt", "is_code")

_WINNERS: dict[str, Scores] = {
    "model_a": (1.0, 0.0),
    "model_b": (0.0, 1.0),
    "tie": (0.5, 0.5),
    "tie (bothbad)": (0.5, 0.5),
}


class _Vote(msgspec.Struct):
    question_id: str
    model_a: str
    model_b: str
    winner: Literal["model_a", "model_b", "tie", "tie (bothbad)"]
    prompt: str
    response_1: str
    response_2: str
    language: str | None = None
    hard_prompt: bool | None = None
    easy_prompt: bool | None = None
    if_prompt: bool | None = None
    math_prompt: bool | None = None
    is_code: bool | None = None


def load_human(path: Path) -> Iterator[Case]:
    """The votes, from ``hf:lmarena-ai/PPE-Human-Preference-V1:test`` or a local file of that schema.

    A tie of either kind is gold (0.5, 0.5). ``meta`` has the models, the language and the categories.
    """
    files = hub_files(path, HUMAN, "test") or [path]
    for number, row in enumerate((row for file in files for row in read_rows(file, _Vote)), 1):
        yield Case(
            id=str(number),
            prompt=(Message("user", row.prompt),),
            responses=(row.response_1, row.response_2),
            gold=_WINNERS[row.winner],
            meta={
                "question_id": row.question_id,
                "models": [row.model_a, row.model_b],
                "vote": row.winner,
                "language": row.language,
                "categories": [name for name in CATEGORIES if getattr(row, name)],
            },
        )


def load_correctness(path: Path) -> Iterator[Case]:
    """Up to five sampled pairs of a right and a wrong answer for each question, from one set or all five.

    ``path``: ``hf:lmarena-ai`` or a folder for all five, else one set: ``hf:lmarena-ai/PPE-MATH-Best-of-K``,
    or a file with the set in its name. The pairs are ``sampled_conflict_pairs``, indices from 0 into
    ``response_1`` and on; which of the two is right is looked up in ``scores``.
    """
    for name, source in _sources(path):
        files = hub_files(source, source.name, "train") or hub_files(source, source.name, "test") or [source]
        rows = (row for file in files for row in read_rows(file, dict[str, Any]))
        for number, row in enumerate(rows, 1):
            try:
                yield from _pairs(row, name, number)
            except (KeyError, IndexError, ValueError) as error:
                what = f"no field {error}" if isinstance(error, KeyError) else str(error)
                hint = f"the schema of {ORG}/PPE-{name}-Best-of-K is meant"
                raise InputError(f"{source}: row {number}: {what}", hint) from error


def score_human(decisions: Iterable[Decision]) -> Scorecard:
    """Accuracy on votes with a winner; what the judge's ranking of the models has of the people's, [M].

    The statistics are those of ``rankings``, where the decisions name their models; the rows are the
    categories, which overlap. Where no vote has a winner there is no headline.
    """
    listed = demand(decisions, "ppe-human")
    decided = [d for d in listed if pair_winner(d) is not None]
    rows = {c: [d for d in decided if c in d.meta.get("categories", ())] for c in CATEGORIES}
    return scorecard(
        "ppe-human",
        listed,
        headline=_accuracy(headline_name("accuracy", len(listed), VOTES, "votes"), decided)
        if decided
        else None,
        groups=(_accuracy(name, ds) for name, ds in rows.items() if ds),
        statistics={"tied_votes": len(listed) - len(decided), **rankings(listed)},
        unresolved=UNRESOLVED,
    )


def score_correctness(decisions: Iterable[Decision]) -> Scorecard:
    """Accuracy on pairs, the mean of the sets that were judged, [M]; over all pairs it is ``micro``.

    Up to five pairs share a question, and the interval takes them for independent: it is too narrow.
    """
    listed = demand(decisions, "ppe-correctness")
    sets = grouped(listed, SETS)
    values = [[float(right) for right in _right(ds)] for ds in sets.values()]
    bounds = macro_interval(values)
    interval = (max(0.0, bounds[0]), min(1.0, bounds[1])) if bounds else None
    name = "mean of the five sets" if tuple(sets) == SETS else f"mean of {', '.join(sets)}"
    return scorecard(
        "ppe-correctness",
        listed,
        headline=ScoreRow(name, fmean(map(fmean, values)), len(listed), interval),
        groups=(_accuracy(name, ds) for name, ds in sets.items()),
        statistics={"micro": fmean(_right(listed))},
        unresolved=UNRESOLVED_CORRECTNESS,
    )


def rankings(decisions: Iterable[Decision]) -> dict[str, float]:
    """How far the judge ranks the models as the people do, [M]; both by ``bradley_terry``, on the same pairs.

    ``spearman`` and ``kendall`` (tau-b) of the models' strengths; ``row_pearson``: of a model's win rates
    against each opponent, mean over the models. Over pairs of models: ``separability``, the share whose 95%
    intervals do not overlap for the judge; ``confidence_agreement``, the mean of 1 where both separate a
    pair the same way, -1 where they do so in opposite ways, else 0; ``brier``, the mean squared distance of
    the judge's probability that the one is stronger from 1 or 0, as the people rank them. Errors are
    Laplace's and taken as independent, where the official ones are bootstrapped. What is undefined, as with
    equal strengths, is left out.
    """
    named = [d for d in decisions if len(set(d.meta.get("models", ()))) == 2 and d.verdict.scores]
    models = sorted({model for d in named for model in d.meta["models"]})
    if len(models) < 2:
        return {}
    people = [_match(d, models, d.gold) for d in named]
    judge = [_match(d, models, d.verdict.scores) for d in named]
    human, ours = (_strengths(len(models), matches) for matches in (people, judge))
    statistics = {
        "spearman": spearman(human.values, ours.values),
        "kendall": kendall(human.values, ours.values),
        "row_pearson": _row_pearson(len(models), people, judge),
        **_of_model_pairs(human, ours),
    }
    return {name: value for name, value in statistics.items() if value is not None}


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Rank correlation, equal values sharing their mean rank; None where one side is constant."""
    return _pearson(_ranks(a), _ranks(b))


def kendall(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Kendall's tau-b; None where one side is constant. Source: Kendall 1945, Biometrika 33(3)."""
    pairs = [(_sign(a[i] - a[j]), _sign(b[i] - b[j])) for i, j in combinations(range(len(a)), 2)]
    size = sqrt(sum(abs(x) for x, _ in pairs) * sum(abs(y) for _, y in pairs))
    return sum(x * y for x, y in pairs) / size if size else None


def _sources(path: Path) -> Iterator[tuple[str, Path]]:
    text = path.as_posix()
    if text == f"hf:{ORG}":
        yield from ((name, Path(f"hf:{ORG}/PPE-{name}-Best-of-K")) for name in SETS)
    elif path.is_dir() and _set_of(path) is None:
        by_set = {_set_of(entry): entry for entry in sorted(path.iterdir())}
        if missing := [name for name in SETS if name not in by_set]:
            raise NoDataError(
                f"{path}: nothing here is named after {', '.join(missing)}",
                hint="files or folders as the datasets are named: PPE-MATH-Best-of-K; or give one set",
            )
        yield from ((name, by_set[name]) for name in SETS)
    elif (name := _set_of(path)) is not None:
        yield name, path
    else:
        raise InputError(
            f"{path}: its name tells none of the sets {', '.join(SETS)}",
            hint="name it as its dataset: PPE-MATH-Best-of-K.jsonl",
        )


def _set_of(path: Path) -> str | None:
    plain = path.name.lower().replace("_", "-")
    return next((name for name in SETS if name.lower() in plain), None)


def _pairs(row: dict[str, Any], name: str, number: int) -> Iterator[Case]:
    right = msgspec.convert(row["scores"], list[bool])
    pairs = msgspec.convert(row["sampled_conflict_pairs"], list[tuple[int, int]])
    question = (Message("user", msgspec.convert(row["prompt"], str)),)
    for place, pair in enumerate(pairs, 1):
        if min(pair) < 0 or right[pair[0]] == right[pair[1]]:
            raise ValueError(f"sampled_conflict_pairs: {pair} is not a right and a wrong answer")
        yield Case(
            id=f"{name}/{number}/{place}",
            prompt=question,
            responses=tuple(msgspec.convert(row[f"response_{i + 1}"], str) for i in pair),
            gold=tuple(float(right[i]) for i in pair),
            group=name,
        )


def _accuracy(name: str, decisions: Sequence[Decision]) -> ScoreRow:
    return proportion(name, _right(decisions))


def _right(decisions: Iterable[Decision]) -> list[bool]:
    """A decision is right where it names the one that gold names, which a tie never does."""
    return [winner(d.verdict.scores) == pair_winner(d) is not None for d in decisions]


def _match(decision: Decision, models: Sequence[str], scores: Scores | None) -> Match:
    first, second = (models.index(model) for model in decision.meta["models"])
    best = winner(scores)
    return Match(first, second, 0.5 if best is None else 1.0 - best)


def _strengths(n: int, matches: Iterable[Match]) -> Strengths:
    """Strengths with their errors against the mean of all, without that of the mean, which is the prior's."""
    fitted = bradley_terry(n, matches, PRIOR)
    return Strengths(fitted.values, tuple(sqrt(max(e * e - PRIOR**2 / n, 1e-18)) for e in fitted.errors))


def _rates(n: int, matches: Iterable[Match]) -> list[dict[int, float]]:
    """For each model its win rate against each opponent that it met."""
    shares: list[dict[int, list[float]]] = [defaultdict(list) for _ in range(n)]
    for m in matches:
        shares[m.first][m.second].append(m.score)
        shares[m.second][m.first].append(1 - m.score)
    return [{other: fmean(s) for other, s in row.items()} for row in shares]


def _row_pearson(n: int, people: Sequence[Match], judge: Sequence[Match]) -> float | None:
    rows = [
        _pearson(list(human.values()), [ours[other] for other in human])
        for human, ours in zip(_rates(n, people), _rates(n, judge), strict=True)
    ]
    defined = [value for value in rows if value is not None]
    return fmean(defined) if defined else None


def _of_model_pairs(people: Strengths, judge: Strengths) -> dict[str, float]:
    pairs = list(combinations(range(len(judge.values)), 2))
    ours = [_separates(judge, i, j) for i, j in pairs]
    theirs = [_separates(people, i, j) for i, j in pairs]
    misses = [
        (_stronger(judge, i, j) - (_sign(people.values[i] - people.values[j]) + 1) / 2) ** 2 for i, j in pairs
    ]
    return {
        "separability": fmean(map(abs, ours)),
        "confidence_agreement": fmean(a * b for a, b in zip(ours, theirs, strict=True)),
        "brier": fmean(misses),
    }


def _separates(strengths: Strengths, i: int, j: int) -> int:
    """1 where i lies above j with their 95% intervals apart, -1 where below, else 0."""
    gap = strengths.values[i] - strengths.values[j]
    return _sign(gap) if abs(gap) > Z95 * (strengths.errors[i] + strengths.errors[j]) else 0


def _stronger(strengths: Strengths, i: int, j: int) -> float:
    gap = strengths.values[i] - strengths.values[j]
    return NormalDist().cdf(gap / sqrt(strengths.errors[i] ** 2 + strengths.errors[j] ** 2))


def _pearson(a: Sequence[float], b: Sequence[float]) -> float | None:
    try:
        return correlation(a, b)
    except StatisticsError:
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 0 in ascending order; equal values share the mean of theirs."""
    ordered = sorted(values)
    return [ordered.index(v) + (ordered.count(v) - 1) / 2 for v in values]


def _sign(x: float) -> int:
    return (x > 0) - (x < 0)


PPE_HUMAN = Benchmark(
    name="ppe-human",
    summary="16,038 votes of Chatbot Arena: agreement with people, and with their ranking of models",
    source=SOURCE,
    unresolved=UNRESOLVED,
    load=load_human,
    score=score_human,
    hub=f"{ORG}/{HUMAN}:test",
)
PPE_CORRECTNESS = Benchmark(
    name="ppe-correctness",
    summary="right against wrong answers to MMLU-Pro, MATH, GPQA, MBPP-Plus and IFEval: mean accuracy",
    source=SOURCE_CORRECTNESS,
    unresolved=UNRESOLVED_CORRECTNESS,
    load=load_correctness,
    score=score_correctness,
    hub=ORG,
)
