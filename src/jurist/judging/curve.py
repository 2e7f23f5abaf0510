"""Accuracy against compute: several deliberations over the same cases, no judgment paid twice."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import product
from pathlib import Path

import msgspec

from jurist.core.errors import ConfigError
from jurist.core.files import Warn
from jurist.core.run_config import input_facts
from jurist.core.statistics import wilson
from jurist.core.store import Store
from jurist.core.types import (
    Case,
    Decision,
    Record,
    Scorecard,
    ScoreRow,
    Scores,
    Status,
    winner,
)
from jurist.judging import registry
from jurist.judging.build import JudgeSetup
from jurist.judging.judge import JudgmentsInMemory
from jurist.judging.pool import RunProgress, Watch, decide_all, slim, unless_identical

_CHOICES = re.compile(r"\{([^{}]*)\}")

CountRule = Callable[[Iterable[Decision]], Scorecard]


class CurvePolicy(Record, frozen=True):
    """A deliberation by its text, and its line of the plot: the points of ``vote({1,2,4})`` are one line."""

    text: str
    line: str


class CurvePoint(Record, frozen=True):
    """What a policy reached on n cases and what it cost, per case; unresolved is a share of the cases.

    ``tokens`` were written, ``read`` stood in prompts (what a server had cached included).
    """

    policy: str
    line: str
    score: ScoreRow
    judgments: float
    tokens: float
    read: float
    unresolved: float
    efficient: bool = False
    """No other policy reached as much for fewer tokens."""


def decided(decisions: Iterable[Decision]) -> Scorecard:
    """Share of the cases with gold that are decided right; the default count of a curve.

    A tie is worth what a coin would get: the share of right ones among the tied. No verdict is wrong. The
    official counts of benchmarks look at single orders, or call a tie wrong, which punishes even votes.
    """
    worth = [_worth(d.verdict.scores, d.gold) for d in decisions if d.gold and len(d.gold) > 1]
    if not worth:
        return Scorecard("decided")
    n = len(worth)
    return Scorecard("decided", ScoreRow("decided", sum(worth) / n, n, wilson(sum(worth), n)))


def _worth(scores: Scores | None, gold: Scores) -> float:
    if scores is None:
        return 0.0
    if min(gold) == max(gold):
        return float(winner(scores) is None)
    tied = [g for g, s in zip(gold, scores, strict=True) if s == max(scores)]
    return sum(g == max(gold) for g in tied) / len(tied)


def policies_of(texts: Sequence[str]) -> list[CurvePolicy]:
    """The policies that texts name; ``{a,b}`` in a text stands for one policy with each.

    Raises ``ConfigError`` where a text is no deliberation.
    """
    policies = [CurvePolicy(text, line) for line in texts for text in _expanded(line)]
    for policy in policies:
        registry.deliberation(policy.text)
    if not policies:
        raise ConfigError("a curve needs a policy", hint="--policy 'vote({1,2,4,8,16})'")
    return list({policy.text: policy for policy in policies}.values())


async def curve(
    setup: JudgeSetup,
    cases: Sequence[Case],
    policies: Sequence[CurvePolicy],
    score: CountRule,
    *,
    out: Path | None = None,
    source: str = "",
    watch: Watch = lambda _: None,
    warn: Warn = lambda _: None,
) -> list[CurvePoint]:
    """A point for each policy, in their order. The same call with the same ``out`` asks nothing twice.

    What a judgment cost counts for each policy that used it, whether it was paid now, before, or by
    another policy. Raises ``ConfigError`` where a replayed run lacks judgments that a policy needs.
    """
    await setup.check()
    config = {**setup.fingerprint(), "deliberation": None, **input_facts(source), "curve": True}
    store = Store(out, config, warn=warn) if out else None
    memory = store or JudgmentsInMemory()
    judge = setup.judge(memory)
    progress = RunProgress()
    try:
        points: dict[str, CurvePoint] = {}
        official = source in registry.BENCHMARKS
        for policy in _largest_first(policies):
            deliberate = registry.deliberation(policy.text)
            stream = decide_all(
                _begun(cases, store),
                judge.ask,
                deliberate if official else unless_identical(deliberate, setup.protocol.arity),
                concurrency=setup.concurrency,
                progress=progress,
                watch=watch,
                give_up_after=setup.config.give_up_after,
            )
            async with aclosing(stream):
                decisions = [slim(d) async for d in stream]
            _demand_recorded(setup, policy, decisions)
            points[policy.text] = _point(policy, decisions, score)
        return _marked([points[policy.text] for policy in policies])
    finally:
        if store:
            store.close()


def _largest_first(policies: Sequence[CurvePolicy]) -> list[CurvePolicy]:
    """Each line from its end: the largest policy keeps the engine busy and pays for those below it."""
    lines: dict[str, list[CurvePolicy]] = {}
    for policy in policies:
        lines.setdefault(policy.line, []).insert(0, policy)
    return [policy for members in lines.values() for policy in members]


def _begun(cases: Sequence[Case], store: Store | None) -> Iterator[Case]:
    """The cases, each noted in the folder as it comes: their decisions, which would note it, are not kept."""
    for case in cases:
        if store:
            store.begin(case)
        yield case


def _expanded(text: str) -> list[str]:
    parts = _CHOICES.split(text)
    choices = [[p.strip() for p in part.split(",")] if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(picked) for picked in product(*choices)]


def _demand_recorded(setup: JudgeSetup, policy: CurvePolicy, decisions: Sequence[Decision]) -> None:
    if not setup.config.engine.startswith("replay:"):
        return
    missing = sum(j.verdict.status is Status.FAILED for d in decisions for j in d.judgments)
    if missing:
        raise ConfigError(
            f"the recorded run lacks {missing:,} judgments that {policy.text} needs",
            hint="record the largest policy first, with the same seed and sampling: "
            "jurist curve ... --out RUN, then --engine replay:RUN",
        )


def _point(policy: CurvePolicy, decisions: Sequence[Decision], score: CountRule) -> CurvePoint:
    headline = score(decisions).headline
    if headline is None:
        raise ConfigError("a curve needs cases with gold", hint='give each row "gold"')
    n = len(decisions)
    return CurvePoint(
        policy=policy.text,
        line=policy.line,
        score=headline,
        judgments=sum(len(d.judgments) for d in decisions) / n,
        tokens=sum(d.usage.completion_tokens for d in decisions) / n,
        read=sum(d.usage.prompt_tokens for d in decisions) / n,
        unresolved=sum(d.verdict.scores is None for d in decisions) / n,
    )


def _marked(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    return [
        msgspec.structs.replace(
            p, efficient=not any(q.tokens < p.tokens and q.score.value >= p.score.value for q in points)
        )
        for p in points
    ]
