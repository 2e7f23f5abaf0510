"""What judging will take: calls, tokens, hours, money and disk, before anybody is asked."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import fmean

import msgspec

from jurist.core.errors import StoreError
from jurist.core.runs import open_run, read_scorecard
from jurist.core.types import Case, Record
from jurist.engines.openai.address import is_address
from jurist.judging.build import JudgeSetup
from jurist.judging.config import JudgeConfig
from jurist.judging.dry_run import COUNTED, DryRun, Span
from jurist.judging.rates import Rates
from jurist.judging.tokens import TokenCounter, characters_per_token, token_counter
from jurist.protocols.rm_r1 import guess_family

# Bytes of a run folder beside the texts, from benchmarks/README.md ("The run folder"): a judgment's line, and
# the lines of a case, its prompt and its decision.
_JUDGMENT_BYTES, _CASE_BYTES = 420, 600
_LIKE_CASES = 200
"""So many decisions of a measured run say how many characters a token has."""


class Measured(Record, frozen=True):
    """What a run took: means of a judgment, tokens written in a second (None: not known), bytes."""

    run: str
    written: float
    rate: float | None = None
    bytes: float | None = None
    per_token: float | None = None


class Range(Record, frozen=True):
    """From ``low`` to ``high``; equal where the number is certain."""

    low: int | float
    high: int | float


class Plan(Record, frozen=True):
    """What it will take; None where nothing is known that would tell. Ranges are equal where certain.

    ``calls``: completions asked for (a forced verdict is one more). ``read`` and ``written``: tokens;
    ``written`` and what follows from it are ``at_most`` where no mean is known, and from ``--written`` or
    ``--like`` else. ``money`` is in the unit of the prices, ``hours`` follow from a rate, ``disk`` is bytes.
    ``longest_prompt``: tokens, among the prompts that were counted. ``notes``: what a reader should know.
    """

    what: str
    cases: int
    calls: Range
    read: Range
    written: Range
    at_most: bool
    counted_by: str
    longest_prompt: int
    hours: Range | None = None
    money: Range | None = None
    disk: Range | None = None
    notes: tuple[str, ...] = ()


def measured(run: Path) -> Measured:
    """What a run took. Raises ``StoreError`` where it has no judgment."""
    with open_run(run) as opened:
        judgments = [j for d in opened.decisions(slim=True) for j in d.judgments]
        per_token = characters_per_token(islice(opened.decisions(), _LIKE_CASES))
    if not judgments:
        raise StoreError(
            f"{run} holds no judgment that could be measured", hint="name another run for --like"
        )
    calls = len(judgments) + sum(j.forced is not None for j in judgments)
    written = sum(j.usage.completion_tokens for j in judgments)
    try:
        card = read_scorecard(run)
    except (StoreError, OSError):
        seconds = 0.0
    else:
        seconds = 0.0 if card.reused.completion_tokens else card.seconds
    size = sum(file.stat().st_size for file in run.glob("*.jsonl"))
    rate = written / seconds if seconds and written else None
    return Measured(str(run), written / calls, rate, size / len(judgments), per_token)


def offline(config: JudgeConfig, say: Callable[[str], None]) -> JudgeConfig:
    """The options of a judge without what only its server could tell: that is chosen, and said, here."""
    if not is_address(config.engine) or config.model or config.engine.strip().startswith("scalar+"):
        return config
    if config.protocol is None:
        say("protocol rubrics: no server is asked what it serves (--model or --protocol tells)")
        config = replace(config, protocol="rubrics")
    if config.protocol == "rm-r1" and config.family is None:
        config = replace(config, family=guess_family(""))
    return config


def thinned(cases: Iterable[Case], most: int = 2 * COUNTED) -> tuple[list[Case], int]:
    """At most ``most`` of the cases, evenly spread, and how many there are; the rest is not held."""
    kept: list[Case] = []
    stride, total = 1, 0
    for case in cases:
        if total % stride == 0:
            kept.append(case)
        if len(kept) > most:
            del kept[1::2]
            stride *= 2
        total += 1
    return kept, total


def judging_plan(
    what: str, setup: JudgeSetup, run: DryRun, cases: Sequence[Case], rates: Rates, *, out: Path | None = None
) -> Plan:
    """The plan of a dry run; ``out``: where it would be kept."""
    like = measured(rates.like) if rates.like else None
    counter = token_counter(setup.config, rates.tokenizer, per_token=like and like.per_token)
    written_mean = rates.written if rates.written is not None else like and like.written
    prompt, begun, longest = _prompt_tokens(run, counter)
    # A call that goes on after the reasoning reads that as well.
    least, most = (0, setup.sampling.max_tokens) if written_mean is None else (written_mean, written_mean)
    again = Span(run.continued.low * (begun + least), run.continued.high * (begun + most))
    read = (run.first * prompt).plus(again)
    written = run.most_written if written_mean is None else _written(run, written_mean)
    rate = rates.rate or (like and like.rate)
    # What is known at most only has no low end: an answer may be short.
    written = Span(0, written.high) if written_mean is None else written
    hours = written * (1 / rate / 3600) if rate else None
    notes = _notes(run, setup, written_mean, like)
    return Plan(
        what,
        run.cases,
        _whole(run.calls),
        _whole(read),
        _whole(written),
        written_mean is None,
        counter.how,
        longest,
        hours and _range(hours),
        _money(rates, read, written, hours),
        _whole(_disk(run, cases, written, like)) if out else None,
        notes,
    )


def _prompt_tokens(run: DryRun, counter: TokenCounter) -> tuple[float, float, int]:
    """Mean tokens of a prompt, of a prompt with a beginning, and of the longest."""
    first = [counter.count(q.messages, None) for q in run.prompts if q.prefill is None]
    begun = [counter.count(q.messages, q.prefill) for q in run.prompts if q.prefill is not None]
    prompt = fmean(first or begun or [0])
    return prompt, fmean(begun) if begun else prompt, max([0, *first, *begun])


def _written(run: DryRun, mean: float) -> Span:
    """Tokens written: a continued call ends what a first one began, and adds little."""
    whole = (run.first * mean).plus(run.continued)
    return Span(min(whole.low, run.most_written.high), min(whole.high, run.most_written.high))


def _money(rates: Rates, read: Span, written: Span, hours: Span | None) -> Range | None:
    total: Span | None = None
    for price, amount in ((rates.price_read, read * 1e-6), (rates.price_written, written * 1e-6),
                          (rates.price_hour, hours)):  # fmt: skip
        if price is not None and amount is not None:
            total = (total or Span(0, 0)).plus(amount * price)
    return total and _range(total)


def _disk(run: DryRun, cases: Sequence[Case], written: Span, like: Measured | None) -> Span:
    """Bytes of the run folder; of a like run its bytes a judgment, if it had as many calls for a case."""
    if like and like.bytes:
        return run.first * like.bytes
    some = cases[:: max(1, len(cases) // _LIKE_CASES)]
    case = fmean(len(msgspec.json.encode(c)) for c in some) + _CASE_BYTES if some else 0
    judged = run.first * _JUDGMENT_BYTES
    texts = written * 4.2
    return judged.plus(texts).plus(Span(run.cases * case, run.cases * case))


def _notes(
    run: DryRun, setup: JudgeSetup, written_mean: float | None, like: Measured | None
) -> tuple[str, ...]:
    notes: list[str] = []
    if run.played < run.cases:
        notes.append(f"played through for {run.played:,} of the cases, evenly spread, and scaled")
    if run.calls.low != run.calls.high:
        notes.append("how many calls it takes depends on the verdicts: clear, undecided and none were tried")
    if written_mean is None:
        limit = setup.sampling.max_tokens
        most = f"tokens written are the most that may be ({limit:,} a call)"
        notes.append(f"{most}: --like RUN or --written N tells more")
    if like and like.rate is None:
        notes.append(f"{like.run} does not say how long it took (resumed, or from a cache): --rate N does")
    if setup.config.cache:
        notes.append("what the cache already holds will not be paid, and is not taken off")
    return tuple(notes)


def _range(span: Span) -> Range:
    return Range(span.low, span.high)


def _whole(span: Span) -> Range:
    return Range(round(span.low), round(span.high))
