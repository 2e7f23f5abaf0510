"""One distillation: reads pairs, asks for chains, writes rows; every chain is kept in a run folder."""

from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace as changed

from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.core.files import Warn, write_whole
from jurist.core.run_config import input_facts
from jurist.core.store import Store
from jurist.core.types import Ask, Case, Decision, Judgment, winner
from jurist.data.rows import RowsInOrder
from jurist.deliberation.combine import majority
from jurist.deliberation.votes import decide
from jurist.judging.build import JudgeSetup, Say, assemble
from jurist.judging.config import JudgeConfig, config_of
from jurist.judging.judge import Judge, Memory, check_arity
from jurist.judging.pool import Watch, decide_all
from jurist.protocols.base import Protocol
from jurist.training.distillation.passes import Method, Passes, Teacher
from jurist.training.distillation.rows import row_of
from jurist.training.distillation.tally import Summary, Tally

DISTILLATION = "distillation.json"

# What a chain is has to be the same for the teacher, the repairer and the student.
_SHARED = ("protocol", "family", "rule", "system", "protocol_file")

# Options of a judge that have no meaning for a teacher, and why.
_REFUSED = {
    "deliberation": "chains are asked for one by one; --samples and --both-orders say how many",
    "forced": "a chain has to write its own verdict",
    "thinking_budget": "a chain that was cut teaches cutting; --longest leaves long ones out",
    "first": "there is one teacher",
}


def teacher_of(config: JudgeConfig, method: Method, say: Say) -> JudgeSetup:
    """The judge that writes the chains; raises ``ConfigError`` for options and protocols that cannot."""
    if method.samples < 1 or method.longest < 1:
        raise ConfigError(f"--samples {method.samples} and --longest {method.longest} have to be 1 or more")
    for name, reason in _REFUSED.items():
        if getattr(config, name) not in (None, "never"):
            raise ConfigError(f"--{name.replace('_', '-')} does not go with distill", hint=reason)
    votes = f"vote({method.samples})" if method.samples > 1 else "once"
    teacher = assemble(replace(config, deliberation=votes, forced="never"), say)
    if teacher.protocol.arity != 2:
        raise ConfigError(
            f"the protocol {teacher.protocol.name!r} does not judge pairs",
            hint="distil with a protocol of pairs, such as --protocol rubrics",
        )
    if teacher.protocol.opens_thinking and not method.keep_thinking:
        raise ConfigError(
            f"students of {teacher.protocol.name} think before they answer: their thinking cannot be dropped",
            hint="leave --thinking out",
        )
    return teacher


def repairer_of(path: Path, teacher: JudgeConfig, say: Say) -> JudgeSetup:
    """The repairer, from a TOML file of options; it writes in the teacher's protocol."""
    legal = {f.name for f in fields(JudgeConfig)} - {*_SHARED, *_REFUSED}
    chosen = config_of(path, legal, cache=teacher.cache)
    shared = {name: getattr(teacher, name) for name in _SHARED}
    config = replace(chosen, **shared, deliberation="once", forced="never")
    return assemble(config, lambda line: say(f"repairer: {line}"))


async def distil(
    setup: JudgeSetup,
    cases: Iterable[Case],
    method: Method,
    *,
    out: Path,
    rows: Path,
    source: str = "",
    repairer: JudgeSetup | None = None,
    bad: list[JuristError] | None = None,
    watch: Watch = lambda _: None,
    warn: Warn = lambda _: None,
) -> Summary:
    """Write the rows of all pairs to ``rows``, in their order, and the counts to ``out``.

    ``repairer`` mends what the judge of ``setup`` got wrong (None: that judge itself). Rows without a
    preference known raise ``InputError``, or are added to ``bad`` and left out; ties are left out. What
    ``out`` holds is not asked again: another ``keep``, more samples or a second pass pay only what is new.
    """
    await setup.check()
    if repairer:
        await repairer.check()
    config = facts_of(setup, repairer, source)
    with Store(out, config, warn=warn) as store, RowsInOrder(rows) as file:
        work = _Work(passes_of(setup, method, repairer, store), store, file)
        stream = decide_all(
            work.usable(cases, bad),
            work.passes.teacher.ask,
            work.pair,
            concurrency=setup.concurrency,
            watch=watch,
            give_up_after=setup.config.give_up_after,
        )
        async with aclosing(stream):
            async for _ in stream:
                pass
        file.finish()
        summary = work.tally.summary(source, asdict(method), len(bad or ()))
        write_whole(out / DISTILLATION, msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    return summary


def facts_of(setup: JudgeSetup, repairer: JudgeSetup | None, source: str) -> dict[str, Any]:
    """What run.json keeps of a distillation."""
    config = {**setup.fingerprint(), "deliberation": None, **input_facts(source), "distil": True}
    config["repairer"] = repairer.fingerprint() | {"deliberation": None} if repairer else None
    return config


def passes_of(setup: JudgeSetup, method: Method, repairer: JudgeSetup | None, memory: Memory) -> Passes:
    """Both passes of a distillation, which remember in ``memory``."""
    return Passes(Teacher(setup.judge(memory), _repairer(setup, repairer, memory)), method)


def usable_pairs(cases: Iterable[Case], protocol: Protocol, bad: list[JuristError] | None) -> Iterator[Case]:
    """The pairs that have a preferred response; others raise ``InputError`` or are added to ``bad``."""
    for case in cases:
        try:
            check_pair(case, protocol)
        except JuristError as error:
            if bad is None:
                raise
            bad.append(error)
            continue
        if winner(case.gold) is not None:
            yield case


def check_pair(case: Case, protocol: Protocol) -> None:
    """Raise ``ProtocolError`` or ``InputError`` for a case whose chains cannot be checked."""
    check_arity(protocol, case, len(case.responses))
    if case.gold is None:
        raise InputError(
            f"case {case.id!r} has no gold: nobody can say which of its chains are right",
            hint='give each pair "gold", such as [1, 0], or leave such rows out with --skip-bad',
        )


def decision_of(case: Case, judgments: tuple[Judgment, ...]) -> Decision:
    """What the first pass, which did not know the label, says about a pair."""
    return decide(case, majority([j.verdict for j in judgments]), judgments)


def _repairer(setup: JudgeSetup, repairer: JudgeSetup | None, memory: Memory) -> Judge:
    """The judge of the second pass; its name tells its queries apart in the memory."""
    chosen = repairer or setup
    sampling = changed(chosen.sampling, thinking_budget=None)
    return Judge(setup.protocol, chosen.engine, sampling, "never", chosen.config.seed, memory, name="repair")


@dataclass(slots=True)
class _Work:
    """Pairs on their way from the source to their rows."""

    passes: Passes
    store: Store
    file: RowsInOrder
    tally: Tally = field(default_factory=Tally)
    places: dict[str, int] = field(default_factory=dict[str, int])

    def usable(self, cases: Iterable[Case], bad: list[JuristError] | None) -> Iterator[Case]:
        """The pairs that have a preferred response, their places noted; ties are counted."""
        for place, case in enumerate(cases):
            try:
                check_pair(case, self.passes.teacher.judge.protocol)
            except JuristError as error:
                if bad is None:
                    raise
                bad.append(error)
                continue
            if winner(case.gold) is None:
                self.tally.ties += 1
                continue
            self.places[case.id] = place
            yield case

    async def pair(self, ask: Ask, case: Case) -> Decision:
        """Both passes over a pair; the decision is that of the first, which did not know the label."""
        self.store.begin(case)
        outcome, judgments = await self.passes.outcome(ask, case)
        self.tally.add(outcome)
        protocol = self.passes.teacher.judge.protocol
        self.file.add(self.places.pop(case.id), [row_of(draft, protocol) for draft in outcome.rows])
        decision = decision_of(case, judgments)
        known = self.store.decided(case.id, case.digest)
        if known is None or len(known.judgments) != len(judgments):
            self.store.decide(decision, case.digest)
        return decision
