"""What a training or a distillation will take, before anything is loaded: steps, tokens, hours, disk."""

import json
from collections.abc import Sequence
from dataclasses import replace
from math import ceil, prod
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec

from jurist.core.errors import InputError, JuristError, StoreError
from jurist.core.types import Case, Conversation, Message, Record, winner
from jurist.inputs import load_cases, read_rows
from jurist.inputs.lines import Row
from jurist.judging import registry
from jurist.judging.build import JudgeSetup
from jurist.judging.config import JudgeConfig
from jurist.judging.dry_run import DryRun, Span, dry_run
from jurist.judging.judge import check_arity
from jurist.judging.plan import Plan, Range
from jurist.judging.pool import spread
from jurist.judging.rates import Rates
from jurist.judging.tokens import TokenCounter, token_counter
from jurist.training.config import GrpoOptions, ScalarOptions, SftOptions, TrainOptions, chosen
from jurist.training.distillation.passes import Method
from jurist.training.evaluation import judge_of
from jurist.training.model_card import Result
from jurist.training.presets import with_preset
from jurist.training.prompts import PromptCounts, usable
from jurist.training.session import RESULT

_SAMPLED = 300
"""So many rows, evenly spread, have their tokens counted."""

_FLOPS_TRAINED, _FLOPS_WRITTEN = 6, 2
"""Operations for each parameter and token: forward and backward, or forward alone (arXiv 2001.08361)."""


class TrainPlan(Record, frozen=True):
    """What a training will take; None where nothing is known that would tell.

    ``trained``: tokens that go forward and backward, in all steps. ``written``: tokens of rollouts (at most,
    where no mean is known). ``flops``: operations of both, without attention and recomputation.
    ``disk``: bytes of checkpoints and model.
    """

    what: str
    rows: int
    steps: int
    trained: Range
    counted_by: str
    calls: int = 0
    written: Range | None = None
    parameters: int | None = None
    flops: Range | None = None
    hours: Range | None = None
    money: Range | None = None
    disk: float | None = None
    notes: tuple[str, ...] = ()


async def distillation_dry_run(setup: JudgeSetup, cases: Sequence[Case], method: Method) -> DryRun:
    """The calls of a distillation of these pairs; raises ``InputError`` where none can be distilled."""
    pairs = [case for case in cases if _distilled(setup, case)]
    if not pairs:
        raise InputError("nothing to distil: the source has no pair with a preferred response")
    text = "swapped" if method.both_orders else "once"
    once = await dry_run(replace(setup, deliberate=registry.deliberation(text)), pairs)
    each = len(pairs) * (2 if method.both_orders else 1)
    most = each * method.samples
    low = each if method.keep == "first" else most
    calls = Span(low, most * (2 if method.repair else 1))
    written = calls * setup.sampling.max_tokens
    return DryRun(len(pairs), len(pairs), calls, most_written=written, prompts=once.prompts)


def _distilled(setup: JudgeSetup, case: Case) -> bool:
    try:
        check_arity(setup.protocol, case, len(case.responses))
    except JuristError:
        return False
    return winner(case.gold) is not None


def with_distillation_notes(plan: Plan, method: Method) -> Plan:
    """The plan with what is particular to a distillation."""
    notes = [note for note in plan.notes if "depends on the verdicts" not in note]
    if method.keep == "first" and method.samples > 1:
        notes.append("a pair is done with its first good chain: the fewest calls are one try a pair")
    if method.repair:
        notes.append("the most calls have every chain repaired; a repairer also reads the flawed chain")
    return msgspec.structs.replace(plan, notes=tuple(notes))


def training_plan(options: TrainOptions, source: str, rates: Rates) -> TrainPlan:
    """The plan of ``train sft``, ``grpo`` or ``scalar`` on the rows of ``source``; nothing is loaded."""
    model = "embedded" if options.model == "embedded" else "transformers"
    config = JudgeConfig(engine=model, model=None if model == "embedded" else options.model)
    counter = token_counter(replace(config, model=config.model or "base"), rates.tokenizer)
    if isinstance(options, GrpoOptions):
        plan = _grpo(with_preset(options, "grpo"), source, counter, rates)
    elif isinstance(options, ScalarOptions):
        plan = _scalar(with_preset(options, "scalar"), source, counter)
    else:
        assert isinstance(options, SftOptions)
        plan = _sft(with_preset(options, "sft"), source, counter)
    return _costs(plan, options, rates)


def _sft(o: SftOptions, source: str, counter: TokenCounter) -> TrainPlan:
    if o.target == "answer":
        prompts, n = _prompts(o, source)
        lengths = [counter.count(prompt, None) + 8 for prompt in prompts]
    else:
        texts = [text for text in read_rows(source, _texts) if text]
        n = len(texts)
        lengths = [counter.count(*text) for text in spread_any(texts)]
    fitting = [length for length in lengths if length <= o.max_length]
    return _supervised("sft", o, n, lengths, fitting, counter)


def _scalar(o: ScalarOptions, source: str, counter: TokenCounter) -> TrainPlan:
    cases = [case for case in load_cases(source) if usable(case, PromptCounts())]
    lengths: list[int] = []
    for case in spread(cases, _SAMPLED):
        texts = [
            response if isinstance(response, str) else response[-1].content for response in case.responses
        ]
        lengths.append(sum(counter.count((*case.prompt, Message("assistant", t)), None) for t in texts))
    fitting = [length for length in lengths if length <= 2 * o.max_length]
    return _supervised("scalar", o, len(cases), lengths, fitting, counter)


def _supervised(
    name: str, o: TrainOptions, n: int, lengths: Sequence[int], fitting: Sequence[int], counter: TokenCounter
) -> TrainPlan:
    if not n:
        raise InputError(
            "no row to train on: the source has none that fits", hint=f"jurist help train {name}"
        )
    kept = round(n * len(fitting) / len(lengths))
    batch = chosen(o.batch)
    steps = o.steps or ceil(chosen(o.epochs) * kept / batch)
    # The last step of an epoch may have fewer rows.
    rows = min(steps * batch, chosen(o.epochs) * kept) if not o.steps else steps * batch
    trained = rows * fmean(fitting or [0])
    notes = [f"about {n - kept:,} of {n:,} rows are longer than --max-length"] if kept < n else []
    return TrainPlan(
        f"train {name}: {o.model}", kept, steps, Range(trained, trained), counter.how, notes=tuple(notes)
    )


def _grpo(o: GrpoOptions, source: str, counter: TokenCounter, rates: Rates) -> TrainPlan:
    prompts, n = _prompts(o, source)
    if not n:
        raise InputError("no pair to train on: the source has none with a preferred response")
    lengths = [counter.count(prompt, None) for prompt in prompts]
    fitting = [length for length in lengths if length <= o.max_prompt]
    kept = round(n * len(fitting) / len(lengths))
    batch, group = chosen(o.batch), chosen(o.group)
    steps = o.steps or ceil(chosen(o.epochs) * (kept // batch))
    rollouts = steps * batch * group
    each = rates.written if rates.written is not None else float(chosen(o.max_completion))
    written = Span(rollouts * each if rates.written is not None else 0, rollouts * each * (1 + o.resample))
    trained = Span(rollouts * fmean(fitting or [0]), rollouts * (fmean(fitting or [0]) + each))
    trained = Span(trained.high if rates.written is not None else trained.low, trained.high)
    notes: list[str] = []
    if kept < n:
        notes.append(f"about {n - kept:,} of {n:,} prompts are longer than --max-prompt")
    if kept < batch:
        notes.append(
            f"a step of {batch} prompts needs more than the {kept} that there are: it would be refused"
        )
    if o.resample:
        notes.append("the most rollouts have every group replaced as often as --resample allows")
    if rates.written is None:
        notes.append("rollouts are counted at --max-completion: --written N tells more")
    return TrainPlan(
        f"train grpo: {o.model}", kept, steps, Range(*trained), counter.how, rollouts, Range(*written),
        notes=tuple(notes),
    )  # fmt: skip


def _prompts(o: TrainOptions, source: str) -> tuple[list[Conversation], int]:
    """Rendered prompts of some pairs, and how many pairs there are."""
    judge = judge_of(o)
    cases = [case for case in load_cases(source) if usable(case, PromptCounts())]
    some = spread(cases, _SAMPLED)
    return [judge.query(case, (0, 1), 0).messages for case in some], len(cases)


def _texts(row: Row) -> tuple[Conversation, str | None] | None:
    """Prompt and completion of a row of training data, as far as its tokens go."""

    def turns(value: Any) -> list[Message]:
        if isinstance(value, str):
            return [Message("user", value)]
        return msgspec.convert(value or [], list[Message])

    if "messages" in row.fields:
        return tuple(turns(row.fields["messages"])), None
    prompt, completion = turns(row.fields.get("prompt")), turns(row.fields.get("completion"))
    return (tuple(prompt), "".join(t.content for t in completion)) if prompt else None


def spread_any(values: Sequence[Any]) -> Sequence[Any]:
    """About ``_SAMPLED`` of the values, evenly spread."""
    return values[:: max(1, len(values) // _SAMPLED)]


def _costs(plan: TrainPlan, o: TrainOptions, rates: Rates) -> TrainPlan:
    """The plan with operations, hours, money and disk, as far as something tells them."""
    n = parameters_of(o.model)
    flops = None
    if n is not None:
        low = n * (
            _FLOPS_TRAINED * plan.trained.low + _FLOPS_WRITTEN * (plan.written.low if plan.written else 0)
        )
        high = n * (
            _FLOPS_TRAINED * plan.trained.high + _FLOPS_WRITTEN * (plan.written.high if plan.written else 0)
        )
        flops = Range(low, high)
    hours, notes = _hours(plan, rates), plan.notes
    money = None
    if hours and rates.price_hour is not None:
        money = Range(hours.low * rates.price_hour, hours.high * rates.price_hour)
    # Weights in float32; AdamW keeps two more numbers for each that is trained.
    disk = None
    if n is not None:
        checkpoint = n * 12 if o.adapter == "full" else n * 0.03 * 12
        disk = (o.keep + 1) * checkpoint + n * 4
        if o.adapter == "lora":
            notes = (*notes, "adapters are counted as 3% of the weights")
    return msgspec.structs.replace(
        plan, parameters=n, flops=flops, hours=hours, money=money, disk=disk, notes=notes
    )


def _hours(plan: TrainPlan, rates: Rates) -> Range | None:
    if rates.like is not None:
        path = rates.like / RESULT
        try:
            result = msgspec.json.decode(path.read_bytes(), type=Result)
        except (OSError, msgspec.DecodeError) as error:
            raise StoreError(
                f"cannot read {path}: {error}", "--like names the folder of a training"
            ) from None
        each = result.seconds / max(1, result.steps) / 3600
        return Range(plan.steps * each, plan.steps * each)
    if rates.rate:
        seconds = [
            (getattr(plan.trained, end) + (getattr(plan.written, end) if plan.written else 0)) / rates.rate
            for end in ("low", "high")
        ]
        return Range(seconds[0] / 3600, seconds[1] / 3600)
    return None


def parameters_of(model: str) -> int | None:
    """How many weights a folder of safetensors holds, from the heads of its files; None for another name."""
    folder = Path(model).expanduser()
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    total = 0
    for file in files:
        with file.open("rb") as data:
            head = json.loads(data.read(int.from_bytes(data.read(8), "little")))
        total += sum(prod(t["shape"]) for name, t in head.items() if name != "__metadata__")
    return total or None
