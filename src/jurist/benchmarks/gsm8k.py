"""GSM8K best-of-4: which of four solutions of a word problem reaches the right answer."""

import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from statistics import fmean

import msgspec

from jurist.benchmarks.base import Benchmark, demand, grouped, headline_name, scorecard
from jurist.benchmarks.files import on_github, published_file, read_lines
from jurist.core.answers import final_answer
from jurist.core.errors import InputError
from jurist.core.statistics import wilson
from jurist.core.types import Case, Decision, Message, Scorecard, ScoreRow, Scores, winner

FILE = "example_model_solutions.jsonl"
SIZE = 731
SOURCE = "openai/grade-school-math @3101c7d, MIT"
UNRESOLVED = (
    "A tie at the top is worth the share of right solutions in it, a question without a verdict their share "
    "in all four: a random pick. Of single matches only those that name the right solution are right."
)

_CALCULATOR = re.compile(r"<<.*?(?:>>|$)", re.MULTILINE)
"""A note of a calculator in a solution; the sum in words comes before it, the result behind it."""


class _Solution(msgspec.Struct):
    solution: str
    is_correct: bool


class _Row(msgspec.Struct):
    question: str
    ground_truth: str
    small: _Solution = msgspec.field(name="6b_finetuning")
    small_verified: _Solution = msgspec.field(name="6b_verification")
    large: _Solution = msgspec.field(name="175b_finetuning")
    large_verified: _Solution = msgspec.field(name="175b_verification")

    @property
    def solutions(self) -> dict[str, _Solution]:
        """The four solutions by their solver, as the file names and orders them."""
        return {
            "6b_finetuning": self.small,
            "6b_verification": self.small_verified,
            "175b_finetuning": self.large,
            "175b_verification": self.large_verified,
        }


def load(path: Path) -> Iterator[Case]:
    """The 731 questions that have right and wrong solutions, from the file or a folder that holds it.

    Calculator notes are cut from all solutions alike. The solvers stand in a shuffled order of each
    question's own: in the published order the last is right in 586 of 731 questions. ``meta`` has the
    final ``answer`` and the solvers in the order of the responses; no judge sees either. Groups are how
    many of the four are right.
    """
    folders = ("gsm8k", "grade_school_math/data")
    file = published_file(path, FILE, folders, "openai/grade-school-math")
    for number, row in enumerate(read_lines(file, _Row), 1):
        solved = sum(s.is_correct for s in row.solutions.values())
        answer = final_answer(row.ground_truth)
        if answer is None:
            raise InputError(
                f"{file}: row {number}: ground_truth states no final answer", hint="a last line 'A: 18'"
            )
        if 0 < solved < len(row.solutions):
            yield _case(f"test/{number}", row, solved, answer)


def score(decisions: Iterable[Decision]) -> Scorecard:
    """Accuracy of the pick: the share of right ones among the responses with the top score, mean over cases.

    Statistics: ``mean``, what a random pick gets; ``oracle``, what a perfect one gets; ``gain``, the share
    of the way from the one to the other (left out where there is none); ``pairwise_accuracy`` over the
    ``mixed_judgments``, those of one right and one wrong response; comparisons (judgments of two
    responses) and tokens read and written per question.
    """
    listed = demand(decisions, "gsm8k")
    pick = _row(headline_name("accuracy of the pick", len(listed), SIZE, "questions"), listed)
    return scorecard(
        "gsm8k",
        listed,
        headline=pick,
        groups=(_row(name, ds) for name, ds in grouped(listed, _GROUPS).items()),
        statistics={**_baselines(listed, pick.value), **_matches(listed), **_costs(listed)},
        unresolved=UNRESOLVED,
    )


_GROUPS = ("1 of 4 right", "2 of 4 right", "3 of 4 right")


def _case(name: str, row: _Row, solved: int, answer: str) -> Case:
    solutions = row.solutions
    solvers = sorted(solutions, key=lambda s: blake2b(f"{s}\n{row.question}".encode()).digest())
    return Case(
        id=name,
        prompt=(Message("user", row.question),),
        responses=tuple(_CALCULATOR.sub("", solutions[s].solution) for s in solvers),
        gold=tuple(float(solutions[s].is_correct) for s in solvers),
        group=f"{solved} of {len(solvers)} right",
        meta={"answer": answer, "solvers": solvers},
    )


def _row(name: str, decisions: Sequence[Decision]) -> ScoreRow:
    worth = [_worth(d) for d in decisions]
    return ScoreRow(name, fmean(worth), len(worth), wilson(sum(worth), len(worth)))


def _worth(decision: Decision) -> float:
    """Share of right ones among the responses tied at the top; without a verdict, among all."""
    gold, scores = _gold(decision), decision.verdict.scores
    if scores is None:
        return fmean(gold)
    if len(scores) != len(gold):
        raise InputError(f"case {decision.case_id!r}: {len(scores)} scores for {len(gold)} responses")
    top = max(scores)
    return fmean(g for g, s in zip(gold, scores, strict=True) if s == top)


def _gold(decision: Decision) -> Scores:
    gold = decision.gold
    if gold is None or len(gold) < 2 or not set(gold) <= {0.0, 1.0}:
        raise InputError(
            f"case {decision.case_id!r}: gold is {gold}, expected right or wrong for several responses",
            hint="one number for each response: 1 where it is right, 0 where it is wrong",
        )
    return gold


def _baselines(decisions: Sequence[Decision], pick: float) -> dict[str, float]:
    mean = fmean(fmean(_gold(d)) for d in decisions)
    oracle = fmean(max(_gold(d)) for d in decisions)
    gain = {"gain": (pick - mean) / (oracle - mean)} if oracle > mean else {}
    return {"mean": mean, "oracle": oracle, **gain}


def _matches(decisions: Sequence[Decision]) -> dict[str, float]:
    right: list[bool] = []
    for decision in decisions:
        gold = _gold(decision)
        for judgment in decision.judgments:
            shown = sorted(judgment.query.order)
            if len(shown) == 2 and (better := winner(tuple(gold[i] for i in shown))) is not None:
                right.append(winner(judgment.verdict.scores) == better)
    accuracy = {"pairwise_accuracy": fmean(right)} if right else {}
    return {**accuracy, "mixed_judgments": len(right)}


def _costs(decisions: Sequence[Decision]) -> dict[str, float]:
    tokens = [d.usage.prompt_tokens + d.usage.completion_tokens for d in decisions]
    comparisons = [sum(len(j.query.order) == 2 for j in d.judgments) for d in decisions]
    return {"comparisons_per_question": fmean(comparisons), "tokens_per_question": fmean(tokens)}


GSM8K = Benchmark(
    name="gsm8k",
    summary="731 word problems with four solutions, some right: best of four by final answer",
    source=SOURCE,
    unresolved=UNRESOLVED,
    load=load,
    score=score,
    many="knockout(swapped)",
    files=on_github(
        "openai/grade-school-math",
        "3101c7d",
        {
            f"grade_school_math/data/{FILE}": (
                FILE,
                "4bc62db838f8418365d51c627bd66294cbdca9fb7f01519cb13f0dce8c51580b",
            )
        },
    ),
)
