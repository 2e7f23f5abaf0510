"""LLMBar: does a judge prefer the answer that follows the instruction; five sets, both orders."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import msgspec

from jurist.benchmarks.base import Benchmark, by_order, demand, gold_winner, grouped, headline_name, scorecard
from jurist.benchmarks.files import missing, on_github, read_list
from jurist.benchmarks.transcripts import PAIR, no_verdict, recorded_judgment, recorded_verdict, transcribed
from jurist.core.errors import InputError
from jurist.core.statistics import cohen_kappa, macro_interval, wilson
from jurist.core.types import (
    Case,
    Completion,
    Decision,
    Finish,
    Judgment,
    Message,
    Order,
    Scorecard,
    ScoreRow,
    Status,
    Verdict,
    winner,
)

SETS = {
    "natural": "Natural",
    "neighbor": "Adversarial/Neighbor",
    "gptinst": "Adversarial/GPTInst",
    "gptout": "Adversarial/GPTOut",
    "manual": "Adversarial/Manual",
}
"""ScoreRow name and folder of each set, as the paper orders them."""
SHA256 = {
    "natural": "f7127b7aa78104cb8e03a2b1b3ac0077e95b125714dd441a8ee63666145a3375",
    "neighbor": "6712c7eda6342602e0bc7c06c282fa95e2110d4e741a284026a62d937f9780a0",
    "gptinst": "1002425f73c2cf54b6e6de99bce3f6c60fa2a17d13194772e37d7481c1351d42",
    "gptout": "1ff56e520d7607750a9866a3be0f5b850392ca4477a1f69d80f32bd3e310f561",
    "manual": "0d9598769a39cdbbd265778c37e49939d41d5f76dcfb17bd75dcfa07516d3837",
}

ROOTS = ("llmbar", "Dataset/LLMBar", "LLMBar")
"""Where the sets may lie below the folder that is given."""
SIZE = 419
SOURCE = "princeton-nlp/LLMBar @900616b, MIT"
UNRESOLVED = (
    "An order without a winner, a tie included, is wrong in that order, and two such orders agree; of "
    "responses that were rated one by one, a tie or an unresolved rating is right in one order of the two."
)

_ORDERS: dict[bool, Order] = {False: (0, 1), True: (1, 0)}
_SCORES = {"1": PAIR.first, "2": PAIR.second}
_FINISH: dict[str, Finish] = {"length": "length", "content management policy": "filter"}
_REASON: dict[Finish, Status] = {"length": Status.TRUNCATED, "filter": Status.REFUSED}


class _Row(msgspec.Struct):
    input: str
    output_1: str
    output_2: str
    label: Literal[1, 2]
    results: list[Any] = []


@dataclass(frozen=True, slots=True)
class _Item:
    """One case as the official code sees it: who won without the swap (False) and with it (True)."""

    gold: int
    winners: Mapping[bool, int | None]

    @property
    def accuracy(self) -> float:
        """Share of its orders that are right."""
        return fmean(best == self.gold for best in self.winners.values())


def load(path: Path) -> Iterator[Case]:
    """The 419 cases of the five sets, from a folder that holds ``Natural`` and ``Adversarial``."""
    root = _root(path)
    for group, folder in SETS.items():
        for index, row in enumerate(read_list(root / folder / "dataset.json", _Row)):
            yield _case(row, group, index)


def recorded(path: Path) -> Iterator[Decision]:
    """Decisions of another judge: one ``result.json``, or all five sets as ``FOLDER#GPT-4/CoT``."""
    folder, mark, run = path.as_posix().rpartition("#")
    if mark:
        root = _root(Path(folder))
        for group, place in SETS.items():
            yield from _run(root / place / "evaluators" / run / "result.json", group)
    elif path.is_dir():
        raise InputError(f"{path} is a folder; say which judge", hint=f"one of {', '.join(_runs(path))}")
    else:
        yield from _run(path, _group(path))


def score(decisions: Iterable[Decision]) -> Scorecard:
    """The official statistics per set (princeton-nlp/LLMBar @900616b, ``LLMEvaluator/evaluate.py``).

    The headline is the paper's "Average", the mean of the five sets' accuracy over both orders;
    "adversarial" is the mean of the last four. Values are shares in [0, 1], where the official file has
    percent.
    """
    listed = demand(decisions, "llmbar")
    sets = {name: [_item(d) for d in ds] for name, ds in grouped(listed, tuple(SETS)).items()}
    statistics = {f"{name}/{k}": v for name, items in sets.items() for k, v in _statistics(items).items()}
    means = {"average": tuple(SETS), "adversarial": tuple(SETS)[1:]}
    macros = {k: _macro(k, sets, names) for k, names in means.items() if all(name in sets for name in names)}
    average = _macro(headline_name("average", len(listed), SIZE, "cases"), sets, tuple(sets))
    partial = _macro(f"mean of {', '.join(sets)}", sets, tuple(sets))
    return scorecard(
        "llmbar",
        listed,
        headline=average if "average" in macros else partial,
        groups=tuple(_row(name, items) for name, items in sets.items()),
        statistics={**{name: row.value for name, row in macros.items()}, **statistics},
        unresolved=f"{UNRESOLVED} {_single_orders(sets)}",
    )


def _item(decision: Decision) -> _Item:
    games = by_order(decision)
    if games:
        winners = {swap: winner(games[order].scores) for swap, order in _ORDERS.items() if order in games}
    else:
        winners = _rated(decision.verdict)
    return _Item(gold_winner(decision), winners)


def _rated(verdict: Verdict) -> dict[bool, int | None]:
    """Responses rated one by one: as the official "Rating" judges, a draw or a failure is half right."""
    best = winner(verdict.scores)
    if best is not None:
        return {False: best, True: best}
    return {False: 1, True: 0} if verdict.scores else {False: 0, True: 1}


def _statistics(items: Sequence[_Item]) -> dict[str, float]:
    """The columns of the official ``statistics.json``, each over the cases that have the orders it needs."""
    right = {s: [i.winners[s] == i.gold for i in items if s in i.winners] for s in _ORDERS}
    both = [i for i in items if len(i.winners) == 2]
    columns = {f"correct_{swap}": fmean(games) for swap, games in right.items() if games}
    columns["correct_average"] = fmean(i.accuracy for i in items)
    if both:
        columns["correct_both"] = fmean(i.accuracy == 1 for i in both)
        columns["equal"] = fmean(i.winners[False] == i.winners[True] for i in both)
    return {**columns, **_official_kappas(both)}


def _official_kappas(items: Sequence[_Item]) -> dict[str, float]:
    """Cohen's kappa as the official file has it, which is not the agreement with the labels.

    The official code keeps a predicted "1" as 1 and turns everything else, "2" and None, into 0, and
    compares that with labels that are 1 or 2: a rightly predicted 2 counts as a disagreement, so a
    perfect judge scores far below 1. Kept for parity, under a name that says so; a kappa that is
    undefined is left out.
    """
    predicted = {swap: [int(i.winners[swap] == 0) for i in items] for swap in _ORDERS}
    labels = [i.gold + 1 for i in items]
    kappas = {str(swap): cohen_kappa(predicted[swap], labels) for swap in _ORDERS}
    without, swapped = kappas.values()
    if without is not None and swapped is not None:
        kappas["average"] = (without + swapped) / 2
    kappas["agreement"] = cohen_kappa(predicted[False], predicted[True])
    return {f"official_kappa_{name}": kappa for name, kappa in kappas.items() if kappa is not None}


def _row(name: str, items: Sequence[_Item]) -> ScoreRow:
    """A set's accuracy. The two orders of a case are not independent, so the interval counts cases."""
    total = sum(i.accuracy for i in items)
    return ScoreRow(name, total / len(items), len(items), wilson(total, len(items)))


def _macro(name: str, sets: Mapping[str, Sequence[_Item]], names: Sequence[str]) -> ScoreRow:
    """Mean of the sets' accuracy, each weighing the same."""
    strata = [[i.accuracy for i in sets[s]] for s in names]
    bounds = macro_interval(strata)
    interval = (max(0.0, bounds[0]), min(1.0, bounds[1])) if bounds else None
    return ScoreRow(name, fmean(fmean(values) for values in strata), sum(map(len, strata)), interval)


def _single_orders(sets: Mapping[str, Sequence[_Item]]) -> str:
    items = [i for members in sets.values() for i in members]
    single = sum(len(i.winners) < 2 for i in items)
    if not single:
        return ""
    return f"{single} of {len(items)} cases were judged in one order only; published scores use both."


def _root(path: Path) -> Path:
    for folder in (path, *(path / name for name in ROOTS)):
        if (folder / SETS["natural"]).is_dir():
            return folder
    raise missing(path, "folder Natural, with Adversarial beside it,", ROOTS, "princeton-nlp/LLMBar")


def _runs(path: Path) -> list[str]:
    """What may be given for a folder: itself with each judge and prompt that has results."""
    evaluators = _root(path) / SETS["natural"] / "evaluators"
    results = sorted(file.parent.relative_to(evaluators) for file in evaluators.glob("*/*/result.json"))
    return [f"{path}#{run.as_posix()}" for run in results]


def _group(result: Path) -> str:
    """The set that a lone ``SET/evaluators/JUDGE/PROMPT/result.json`` belongs to."""
    parts = result.absolute().parts
    if "evaluators" not in parts[1:]:
        raise InputError(
            f"{result}: cannot tell which set this is",
            hint="keep the published layout, SET/evaluators/JUDGE/PROMPT/result.json",
        )
    last = len(parts) - 1 - parts[::-1].index("evaluators")
    return parts[last - 1].lower()


def _run(file: Path, group: str) -> Iterator[Decision]:
    for index, row in enumerate(read_list(file, _Row)):
        case = _case(row, group, index)
        if not row.results:
            raise InputError(
                f"{file}: item {index} has no results", hint="result.json is meant, not dataset.json"
            )
        # Earlier entries are steps on the way (metrics, a reference, a first round); the last one counts.
        result = row.results[-1]
        try:
            judgments = [_judgment(case, result, swap) for swap in _ORDERS]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{file}: item {index} is not a result of two orders ({error!r})") from error
        yield transcribed(case, judgments)


def _case(row: _Row, group: str, index: int) -> Case:
    return Case(
        id=f"{group}/{index}",
        prompt=(Message("user", row.input),),
        responses=(row.output_1, row.output_2),
        gold=_SCORES[str(row.label)],
        group=group,
    )


def _judgment(case: Case, result: dict[str, Any], swap: bool) -> Judgment:
    game: dict[str, Any] = result[f"swap = {swap}"]
    completion = _completion(result, game, swap)
    prompt = (Message("user", game["prompt"]),) if "prompt" in game else ()
    verdict = _verdict(game["winner"], completion.finish)
    return recorded_judgment(case.id, _ORDERS[swap], verdict, completion, prompt)


def _completion(result: dict[str, Any], game: dict[str, Any], swap: bool) -> Completion:
    """What the judge wrote; a rating judge wrote two texts, given one below the other in slot order."""
    if "completion" in game:
        text, finish = game["completion"]
        return Completion(text, finish=_FINISH.get(finish, "stop"))
    texts = [result[f"score_{response + 1}"][0] for response in _ORDERS[swap]]
    return Completion("\n".join(texts))


def _verdict(label: str | None, finish: Finish) -> Verdict:
    """A recorded winner; the official program has mapped it back to the order of the case already."""
    if label is None:
        status = _REASON.get(finish, Status.UNPARSED)
        return no_verdict("recorded as null", status)
    return recorded_verdict(_SCORES[label])


LLMBAR = Benchmark(
    name="llmbar",
    summary="419 pairs in five sets, four of them adversarial: which answer follows the instruction",
    source=SOURCE,
    unresolved=UNRESOLVED,
    load=load,
    score=score,
    recorded=recorded,
    files=on_github(
        "princeton-nlp/LLMBar",
        "900616b",
        {
            f"Dataset/LLMBar/{folder}/dataset.json": (f"{folder}/dataset.json", SHA256[name])
            for name, folder in SETS.items()
        },
    ),
)
