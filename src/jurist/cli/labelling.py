"""What `jurist label` does, once its options are read: responses sampled, cases judged, rows written."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import msgspec
from msgspec.structs import replace

from jurist.benchmarks.base import Tally
from jurist.cli.console import EVERY, err, say, watching
from jurist.cli.judging import describe
from jurist.cli.label import DRAWN, LABELS, POLICY, SHAPING, Plan
from jurist.core.errors import ConfigError, InputError, JuristError, StoreError
from jurist.core.files import Lines, read_line, scan, write_whole
from jurist.core.store import claim, write_scorecard
from jurist.core.types import (
    Ask,
    Case,
    Completion,
    Decision,
    Judgment,
    Query,
    Record,
    Sampling,
    Status,
    Verdict,
)
from jurist.data.labels import IDENTICAL, different, is_plain, mark_row, marks_of, pair_row, pairs_of
from jurist.deliberation.votes import together
from jurist.inputs import load_cases
from jurist.inputs.files import count_lines, open_source
from jurist.inputs.lines import Fields, Place
from jurist.inputs.rows import RESPONSES, case_of
from jurist.judging import registry
from jurist.judging.build import JudgeSetup, assemble
from jurist.judging.config import JudgeConfig, as_dict
from jurist.judging.judge import check_arity
from jurist.judging.pool import Progress, decide_all
from jurist.judging.run import run
from jurist.reports.views.scorecard import scorecard_view

MANY = "swapped | round_robin(swapped)"
"""How a judge of pairs deliberates unless told: both orders; of more responses, each two in both orders."""

Made = tuple[list[dict[str, Any]], Counter[str]]
"""The rows of a case, and what was left out for which reason."""


def label(plan: Plan) -> int:
    """Judge the cases of a plan and write their rows; raises ``InputError`` where there are none."""
    setup = assemble(plan.config, say, MANY)
    if setup.protocol.arity == 1 and (plan.rules.consistent or plan.rules.min_agreement):
        raise ConfigError(
            f"the protocol {setup.protocol.name!r} rates single responses: nothing can agree",
            hint="leave out --consistent and --min-agreement, or choose a judge of pairs",
        )
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the run folder {plan.out}: {error.strerror or error}") from error
    desk, tally, progress, started = _Desk(plan, setup), Tally(), Progress(), time.monotonic()
    asyncio.run(_judged(plan, setup, desk, tally, progress))
    # What is remembered took its time in an earlier run.
    seconds = 0.0 if progress.remembered else time.monotonic() - started
    card = tally.scorecard("standard input" if plan.source == "-" else Path(plan.source).name, seconds)
    err.print(scorecard_view(card))
    write_scorecard(plan.out, card)
    desk.finish()
    return 0


async def _judged(plan: Plan, setup: JudgeSetup, desk: "_Desk", tally: Tally, progress: Progress) -> None:
    try:
        if plan.policy and plan.sample:
            drawing = _Drawing(plan.out, plan.policy, plan.sample)
            prompts = list(islice(_prompts(plan, desk.bad), plan.limit))
            await drawing.draw(prompts)
            cases, total = drawing.cases(prompts, desk.drawn), len(prompts)
        else:
            rows = load_cases(plan.source, skip_bad=plan.skip_bad, on_bad=desk.bad.append)
            cases, total = islice(rows, plan.limit), count_lines(plan.source, plan.limit)
        say(describe(setup.config))
        with watching(total) as watch:
            taken = desk.taken(cases)
            stream = run(
                setup, taken, out=plan.out, source=plan.source, progress=progress, watch=watch, warn=say
            )
            async with aclosing(stream):
                async for decision in stream:
                    tally.add(decision)
                    desk.add(decision)
    finally:
        await setup.aclose()


class _Desk:
    """The cases on their way, what is left out of them, and their rows until all are there."""

    def __init__(self, plan: Plan, setup: JudgeSetup) -> None:
        self.bad: list[JuristError] = []
        self.drawn: Counter[str] = Counter()
        """Sampled responses: those that are "whole", and the others by what is wrong with them."""
        self._plan, self._bench = plan, setup
        self._cases = 0
        self._spools = {name: _Spool(path) for name, path in plan.targets.items()}
        self._left_out: dict[str, Counter[str]] = {name: Counter() for name in plan.targets}
        self._pending: dict[str, tuple[int, Case]] = {}

    def taken(self, cases: Iterable[Case]) -> Iterator[Case]:
        """The cases that are worth a judgment, their places noted: decisions come as they fall."""
        for case in cases:
            try:
                flaw = self._flaw(case)
            except JuristError as error:
                if not self._plan.skip_bad:
                    raise
                self.bad.append(error)
                continue
            self._cases += 1
            if flaw:
                for counts in self._left_out.values():
                    counts[flaw] += 1
                continue
            self._pending[case.id] = self._cases, case
            yield case

    def _flaw(self, case: Case) -> str:
        """Why a case needs no judging, if so; raises for one that cannot be labelled."""
        n = len(case.responses)
        if n < 2 and self._plan.sample:
            return "fewer than two whole responses"
        if n < 2:
            raise InputError(
                f"case {case.id!r} has one response; a label needs two or more",
                "add responses, or sample them: --sample 4 --policy policy.toml",
            )
        if not self._bench.takes_many:
            check_arity(self._bench.protocol, case, n)
        if self._plan.text and not is_plain(case):
            raise InputError(
                f"case {case.id!r} has more than a user's turn and an assistant's: --text cannot write it",
                "leave out --text: rows are lists of messages then",
            )
        return IDENTICAL if len(different(case)) < 2 else ""

    def add(self, decision: Decision) -> None:
        """Make the rows of a decision."""
        place, case = self._pending.pop(decision.case_id)
        for name, spool in self._spools.items():
            rows, left_out = _made(name, decision, case, self._plan)
            spool.add(place, rows)
            self._left_out[name] += left_out

    def finish(self) -> None:
        """Write the rows and the counts, and say them; raises where there is no row at all."""
        if self.bad:
            say(f"{len(self.bad)} bad rows were left out:")
            for error in self.bad[:10]:
                say(f"  {error.message}")
        for name, spool in self._spools.items():
            spool.write()
            what = ", ".join(f"{reason} {n:,}" for reason, n in self._left_out[name].most_common())
            says = f"{name}: {spool.rows:,} rows of {spool.cases:,} of {self._cases:,} cases in {spool.path}"
            say(f"{says}; left out: {what or 'nothing'}")
        _write_json(self._plan.out / LABELS, self._report())
        if not self._cases:
            raise InputError(
                "no case was labelled: the source has no readable row", "see what is listed above"
            )
        if not any(spool.rows for spool in self._spools.values()):
            raise InputError(
                f"none of {self._cases:,} cases gave a row", f"{self._plan.out / LABELS} says why"
            )

    def _report(self) -> dict[str, Any]:
        plan = self._plan
        report: dict[str, Any] = {"source": plan.source, "cases": self._cases, "bad_rows": len(self.bad)}
        if plan.sample:
            report["responses"] = dict(self.drawn)
        for name, spool in self._spools.items():
            made = {"file": str(spool.path), "rows": spool.rows, "cases": spool.cases}
            report[name] = {**made, "left_out": dict(self._left_out[name])}
        return {**report, "options": {**msgspec.structs.asdict(plan.rules), "text": plan.text}}


def _made(name: str, decision: Decision, case: Case, plan: Plan) -> Made:
    folder = str(plan.out)
    if name == "dpo":
        pairs, left_out = pairs_of(decision, case, plan.rules)
        return [pair_row(pair, case, folder, text=plan.text) for pair in pairs], left_out
    marks, left_out = marks_of(decision, case, plan.rules)
    return [mark_row(mark, case, folder, text=plan.text) for mark in marks], left_out


class _Spool:
    """Rows as they fall, in a file without a name; written in the order of their cases, in one step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        try:
            self._file = TemporaryFile(dir=path.parent)  # noqa: SIM115
        except OSError as error:
            raise StoreError(f"cannot write beside {path}: {error.strerror or error}") from error
        self._where: dict[int, tuple[int, int]] = {}

    @property
    def cases(self) -> int:
        """Cases that gave a row."""
        return len(self._where)

    def add(self, place: int, rows: Sequence[dict[str, Any]]) -> None:
        """Keep the rows of the case at a place of the source."""
        if rows:
            data = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
            self._where[place] = self._file.tell(), len(data)
            self._file.write(data)
            self.rows += len(rows)

    def write(self) -> None:
        """Write the file: readers see the old one or the new one."""
        draft = self.path.with_name(self.path.name + ".tmp")
        try:
            with draft.open("wb") as out:
                for _, (offset, size) in sorted(self._where.items()):
                    self._file.seek(offset)
                    out.write(self._file.read(size))
            draft.replace(self.path)
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror or error}") from error
        finally:
            self._file.close()


# From here on: responses drawn from a policy.

_FLAWS = {"length": "cut", "filter": "filtered", "error": "failed"}


class _Drawn(Record, frozen=True):
    """One response as it was drawn: a line of responses.jsonl."""

    key: str
    case_id: str
    sample: int
    completion: Completion


class _Drawing:
    """A policy behind an engine, and the file that keeps what it said; nothing is drawn twice."""

    def __init__(self, folder: Path, config: JudgeConfig, n: int) -> None:
        self._folder, self._config, self._samples = folder, config, range(n)
        self._kept: dict[str, int] = {}

    async def draw(self, prompts: Sequence[Case]) -> None:
        """Draw what is missing; raises where another policy, or another process, works in the folder."""
        with claim(self._folder):
            _adopt(self._folder / POLICY, self._config)
            lines = Lines(self._folder / DRAWN, say)
            try:
                self._kept = {line.key: offset for offset, line in scan(lines.path, _Drawn)}
                queries = (self._query(case, i) for case in prompts for i in self._samples)
                missing = sum(query.key not in self._kept for query in queries)
                who = f"{self._config.engine} {self._config.model or ''}".strip()
                say(f"policy: {who}, temperature {self._config.temperature:g}: {missing:,} responses to draw")
                if missing:
                    await self._run(prompts, lines)
            finally:
                lines.close()

    async def _run(self, prompts: Sequence[Case], lines: Lines) -> None:
        engine = registry.engine(self._config)
        engine.say = say

        async def ask(case: Case, _order: object, sample: int) -> Judgment:
            query = self._query(case, sample)
            if query.key in self._kept:
                return Judgment(query, Completion(), Verdict())
            completion = await engine(query)
            if completion.finish == "error":
                return Judgment(query, completion, Verdict(status=Status.FAILED, note=completion.error or ""))
            line = _Drawn(query.key, case.id, sample, completion)
            self._kept[query.key] = lines.append(msgspec.json.encode(line))
            return Judgment(query, completion, Verdict())

        async def draw(ask: Ask, case: Case) -> Decision:
            return Decision(case.id, Verdict(), await together(ask, case, [(None, i) for i in self._samples]))

        try:
            await engine.check()
            # The pool of cases does for responses what it does for judgments.
            stop, watch = self._config.give_up_after, _telling(len(prompts))
            stream = decide_all(
                prompts, ask, draw, concurrency=engine.concurrency, watch=watch, give_up_after=stop
            )
            async with aclosing(stream):
                async for _ in stream:
                    pass
        finally:
            await engine.aclose()

    def _query(self, case: Case, sample: int) -> Query:
        config = self._config
        drawn = repr((config.seed, case.id, sample)).encode()
        seed = int.from_bytes(blake2b(drawn, digest_size=8).digest()) % 2**31
        sampling = Sampling(config.temperature or 0.0, config.top_p or 1.0, config.max_tokens or 0, seed)
        return Query(case.id, (), sample, case.prompt, sampling, judge="policy")

    def cases(self, prompts: Iterable[Case], counts: Counter[str]) -> Iterator[Case]:
        """The prompts with their whole responses; all that were drawn are counted in ``counts``.

        What was cut at its length, filtered, empty or failed is no response that anyone should learn from.
        ``meta["samples"]`` names the samples that the responses are.
        """
        with (self._folder / DRAWN).open("rb") as file:
            for case in prompts:
                whole: dict[int, str] = {}
                for i in self._samples:
                    offset = self._kept.get(self._query(case, i).key)
                    completion = Completion(finish="error")
                    if offset is not None:
                        line = read_line(file.fileno(), offset)
                        completion = msgspec.json.decode(line, type=_Drawn).completion
                    flaw = _FLAWS.get(completion.finish) or ("" if completion.text.strip() else "empty")
                    counts[flaw or "whole"] += 1
                    if not flaw:
                        whole[i] = completion.text
                meta = {**case.meta, "samples": list(whole)}
                yield replace(case, responses=tuple(whole.values()), meta=meta)


def _prompts(plan: Plan, bad: list[JuristError]) -> Iterator[Case]:
    """The prompts of a source, as cases without responses; those that rows bring are not used."""
    places: dict[str, Place] = {}
    for row in open_source(plan.source):
        try:
            if isinstance(row.fields, InputError):
                raise row.fields
            case = _prompt_case(row.fields, row.default_id)
            if case.id in places:
                raise InputError(
                    f"id: {case.id!r} was taken by {places[case.id]}", "give each row its own id"
                )
        except InputError as error:
            placed = InputError(f"{row.place}: {error.message}", error.hint)
            if not plan.skip_bad:
                raise placed from None
            bad.append(placed)
            continue
        places[case.id] = row.place
        yield case


def _prompt_case(fields: Fields, default_id: str) -> Case:
    answered = any(fields.get(name) is not None for name in RESPONSES)
    case = case_of(fields if answered else {**fields, "response": ""}, default_id)
    return replace(case, responses=(), gold=None)


def _adopt(path: Path, config: JudgeConfig) -> None:
    """Note the policy, or check that it is the one that drew what is there."""
    chosen = {name: value for name, value in as_dict(config).items() if name in SHAPING}
    if not path.exists():
        _write_json(path, chosen)
        return
    before = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    changed = [f"{n} was {before.get(n)!r}, now {v!r}" for n, v in chosen.items() if before.get(n) != v]
    if changed:
        raise StoreError(
            f"the responses in {path.parent} are another policy's: {'; '.join(changed)}",
            hint="choose another --out, or repeat that policy",
        )


def _telling(prompts: int) -> Callable[[Progress], None]:
    """A line on standard error now and then."""
    last = time.monotonic()

    def tell(now: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY:
            last = time.monotonic()
            say(f"responses to {now.decisions:,}/{prompts:,} prompts, {now.tokens:,} tokens")

    return tell


def _write_json(path: Path, value: Any) -> None:
    write_whole(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
