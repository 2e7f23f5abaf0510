"""The model card of a trained judge: README.md with the metadata that the Hugging Face Hub reads.

The metadata is huggingface_hub's ``ModelCardData``; the text below it is made here from ``CardFacts``.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Any

import msgspec

from jurist.core.errors import ConfigError, InputError, MissingExtraError
from jurist.core.files import file_hash, write_whole
from jurist.core.types import Record
from jurist.core.version import __version__
from jurist.data.overlap.report import OverlapSummary, stamp
from jurist.reports.views.plotting import COLOURS, INK, figure, plain, save
from jurist.training.config import TrainOptions
from jurist.training.distributed import package, world
from jurist.training.evaluation import EvalResult
from jurist.training.metrics import Line
from jurist.training.model import EMBEDDED
from jurist.training.presets import Method

METHODS: dict[Method, str] = {
    "sft": "supervised fine-tuning on written judgments",
    "grpo": "reinforcement learning with verifiable rewards (GRPO)",
    "scalar": "a Bradley-Terry loss on pairs, as a scalar reward model",
}

COLUMNS = {
    "reward": "reward",
    "held_out/accuracy": "held-out accuracy",
    "held_out/consistent": "consistent",
    "held_out/unanswered": "unanswered",
    "completions/mean_length": "tokens of a judgment",
    "accuracy": "training pairs right",
    "mean_token_accuracy": "tokens right",
    "loss": "loss",
    "kl": "KL",
}
"""Metrics that the card's table and picture show, in their order, and what they are called there."""

ROWS = 12
"""Most rows of the table of logged steps."""


_WRITTEN = (
    "Accuracy: both orders of a pair together choose as gold does; a tie or no verdict counts as wrong. "
    "Consistent: the same response wins in either order. Unanswered: judgments without a verdict."
)
_SCORED = (
    "Accuracy: the response that gold prefers has the higher score; equal scores, or none, count as wrong. "
    "Consistent: always, since a score knows of no order. Unanswered: responses without a score."
)


class DataFile(Record, frozen=True):
    """What was learned from, or measured on: rows that were used, and of the file (sha256, hex).

    ``hub``: the data set's id, where it is published.
    """

    name: str
    rows: int
    sha256: str | None = None
    use: str = "training"
    hub: str | None = None


class Measured(Record, frozen=True):
    """Scores on one set of pairs, before and after the training; ``hub``: the data set's id."""

    name: str
    before: EvalResult | None = None
    after: EvalResult | None = None
    hub: str | None = None


class Overlap(Record, frozen=True):
    """What `jurist overlap` found of the training data in benchmarks; the sha256 of its report."""

    summary: OverlapSummary
    report: str


class CardFacts(Record, frozen=True):
    """All that a card says. ``base_model`` is a hub id, or with ``base_local`` the name of a folder.

    ``picture``: the file with the curves beside the card. ``seconds``: of training, over all sessions;
    ``versions``: of the packages; ``device``: what it ran on, in words; ``limits``: sentences.
    """

    name: str
    base_model: str
    method: Method
    protocol: str
    jurist: str
    base_local: bool = False
    family: str | None = None
    preset: str | None = None
    license: str | None = None
    options: dict[str, Any] = {}
    data: tuple[DataFile, ...] = ()
    overlap: tuple[Overlap, ...] = ()
    scores: tuple[Measured, ...] = ()
    log: tuple[Line, ...] = ()
    picture: str | None = None
    steps: int = 0
    seconds: float = 0.0
    tokens: float | None = None
    device: str = ""
    versions: dict[str, str] = {}
    limits: tuple[str, ...] = ()


def card(facts: CardFacts) -> str:
    """The text of README.md: YAML that the Hub reads, then Markdown."""
    sections = [
        f"# {facts.name}",
        _what(facts),
        "## Use",
        _use(facts),
        "## Scores",
        _scores_section(facts),
        "## Data",
        _data_section(facts),
        "## Training",
        _training(facts),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(facts)),
    ]
    return f"---\n{_metadata(facts)}\n---\n\n" + "\n\n".join(s for s in sections if s) + "\n"


def read_overlap(path: Path) -> Overlap:
    """The summary in a report of `jurist overlap --report`; raises ``InputError`` where there is none."""
    try:
        text = path.read_bytes()
        summary = msgspec.json.decode(text.rstrip(b"\n").rpartition(b"\n")[2], type=OverlapSummary)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        hint = "a file that `jurist overlap ... --report FILE` wrote, whole"
        raise InputError(f"{path}: its last line is no summary of an overlap ({error})", hint) from error
    return Overlap(summary, sha256(text).hexdigest())


def draw_curves(lines: Sequence[Line], path: Path) -> bool:
    """A picture of the card's metrics over the steps, one panel each; False where there is nothing to draw.

    Raises ``MissingExtraError`` without matplotlib, ``ConfigError`` where the file cannot be written.
    """
    curves = {name: _points(lines, name) for name in COLUMNS}
    shown = [(name, points) for name, points in curves.items() if len(points) > 1][:6]
    if not shown:
        return False
    drawn = figure(7.2, 1.5 * len(shown) + 0.5)
    panels: Any = drawn.subplots(len(shown), 1, sharex=True, squeeze=False)
    for i, (name, points) in enumerate(shown):
        axes, colour = panels[i][0], COLOURS[i % len(COLOURS)]
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.4)
        if name == "held_out/accuracy":
            _band(axes, lines, colour)
        axes.set_title(COLUMNS[name], loc="left", color=INK, fontsize=10)
        plain(axes)
    panels[-1][0].set_xlabel("step", color=INK)
    save(drawn, path)
    return True


def _metadata(facts: CardFacts) -> str:
    """The YAML block. A base model that is only a folder's name, which the Hub could not find, stays out."""
    hub, scalar = package("huggingface_hub"), facts.method == "scalar"
    datasets = list(dict.fromkeys(f.hub for f in facts.data if f.hub and f.use == "training"))
    results = [
        hub.EvalResult(
            task_type="text-classification",
            task_name="preference between two responses",
            dataset_type=one.hub or "pairs",
            dataset_name=one.name,
            metric_type=metric,
            metric_name=metric,
            metric_value=round(value, 6),
        )
        for one in facts.scores
        if one.after
        for metric, value in (("accuracy", one.after.accuracy), ("consistency", one.after.consistent))
        if value is not None
    ]
    data = hub.ModelCardData(
        license=facts.license,
        library_name="transformers",
        pipeline_tag="text-classification" if scalar else "text-generation",
        base_model=None if facts.base_local else facts.base_model,
        datasets=datasets or None,
        tags=["jurist", "reward-model", *(() if scalar else ("llm-as-a-judge", facts.method)), "trl"],
        model_name=facts.name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _what(facts: CardFacts) -> str:
    judge = "A scalar reward model" if facts.method == "scalar" else "A judge that writes its verdict"
    preset = f", with the settings of `{facts.preset}`" if facts.preset else ""
    return (
        f"{judge}: `{facts.base_model}` after {METHODS[facts.method]}{preset}. Its prompts are those of the "
        f"protocol `{facts.protocol}` of jurist {facts.jurist}."
    )


def _use(facts: CardFacts) -> str:
    family = f" --family {facts.family}" if facts.family else ""
    judge = "--engine scalar:FOLDER --protocol scalar"
    if facts.method != "scalar":
        judge = f"--engine transformers --model FOLDER --protocol {facts.protocol}{family}"
    return (
        "```sh\npip install 'jurist[transformers]'\n"
        f"jurist judge pairs.jsonl {judge}\n```\n\n"
        "`FOLDER` is this model's folder or its id on the Hub; each row of `pairs.jsonl` has `prompt` and "
        "`responses` (or `prompt`, `chosen` and `rejected`)."
    )


def _scores_section(facts: CardFacts) -> str:
    rows = [
        (one.name, when, f"{s.accuracy:.1%}", f"{100 * s.low:.1f} to {100 * s.high:.1f}", f"{s.n:,}",
         _share(s.consistent), _share(s.unanswered))
        for one in facts.scores
        for when, s in (("before", one.before), ("after", one.after))
        if s
    ]  # fmt: skip
    if not rows:
        return "Not measured."
    head = ("pairs", "training", "accuracy", "95% interval", "n", "consistent", "unanswered")
    return f"{_table(head, rows)}\n\n{_SCORED if facts.method == 'scalar' else _WRITTEN}"


def _data_section(facts: CardFacts) -> str:
    rows = [(f.name, f.use, f"{f.rows:,}", f"`{f.sha256}`" if f.sha256 else "") for f in facts.data]
    table = _table(("file", "use", "rows", "sha256"), rows) if rows else "Not recorded."
    stamps = [stamp(one.summary, one.report) for one in facts.overlap]
    stamp_text = (
        "\n\n".join(stamps) if stamps else "not checked (`jurist overlap` was not run on the training data)."
    )
    return f"{table}\n\nOverlap with benchmarks: {stamp_text}"


def _training(facts: CardFacts) -> str:
    tokens = f", {facts.tokens:,.0f} tokens" if facts.tokens is not None else ""
    device = f" on {facts.device}" if facts.device else ""
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    ran = f"{facts.steps:,} steps in {_duration(facts.seconds)}{tokens}{device}."
    options = [(f"`{name}`", _value(value)) for name, value in facts.options.items() if value is not None]
    return "\n\n".join(
        part
        for part in (
            f"{ran} {versions}." if versions else ran,
            f"![Curves of the training]({facts.picture})" if facts.picture else "",
            _log_table(facts.log),
            _table(("option", "value"), options) if options else "",
        )
        if part
    )


def _log_table(lines: Sequence[Line]) -> str:
    """A table of the metrics at some steps, the first and the last among them."""
    by_step: dict[int, dict[str, float]] = {}
    for line in lines:
        known = {name: v for name, v in line.metrics.items() if name in COLUMNS and v is not None}
        by_step.setdefault(line.step, {}).update(known)
    logged = [(step, values) for step, values in sorted(by_step.items()) if values]
    # Steps with a measurement say most.
    measured = [one for one in logged if "held_out/accuracy" in one[1]]
    logged = measured if len(measured) > 2 else logged
    if not logged:
        return ""
    count = min(ROWS, len(logged))
    some = [logged[round(i * (len(logged) - 1) / max(count - 1, 1))] for i in range(count)]
    names = [name for name in COLUMNS if any(name in values for _, values in some)]
    rows = [(f"{step:,}", *(_number(name, values.get(name)) for name in names)) for step, values in some]
    return _table(("step", *(COLUMNS[name] for name in names)), rows)


def _limits(facts: CardFacts) -> list[str]:
    after = [(one.name, one.after) for one in facts.scores if one.after]
    orders = [(n, 1 - s.consistent) for n, s in after if s.consistent is not None and s.consistent < 1]
    missing = [(n, s.unanswered) for n, s in after if s.unanswered]
    first = "It was measured on the pairs above alone; other subjects, languages and lengths may go worse."
    learned = {
        "sft": "It learned to write like the judgments it was shown, with what is wrong in them.",
        "grpo": "Only the verdict was rewarded: the reasoning may be wrong where the verdict is right.",
        "scalar": "Its scores have no unit: they compare responses to one prompt, nothing else.",
    }
    nothing = "responses have no score" if facts.method == "scalar" else "judgments have no verdict"
    unchecked = "Benchmarks may stand in its training data: the overlap was not checked."
    return [
        first if after else "How well it judges was not measured.",
        *(
            f"{n}: the order of the responses decides {share:.1%} of the pairs; ask in both."
            for n, share in orders
        ),
        *(f"{n}: {share:.1%} of the {nothing}." for n, share in missing),
        learned[facts.method],
        *(() if facts.overlap else (unchecked,)),
        *facts.limits,
    ]


def _points(lines: Sequence[Line], name: str) -> list[tuple[int, float]]:
    return [(line.step, value) for line in lines if (value := line.metrics.get(name)) is not None]


def _band(axes: Any, lines: Sequence[Line], colour: str) -> None:
    """The 95% interval behind the held-out accuracy."""
    low, high = (dict(_points(lines, f"held_out/{end}")) for end in ("low", "high"))
    steps = sorted(low.keys() & high.keys())
    between = ([end[step] for step in steps] for end in (low, high))
    axes.fill_between(steps, *between, color=colour, alpha=0.15, linewidth=0)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(
        "| " + " | ".join(" ".join(c.split()).replace("|", "\\|") for c in r) + " |" for r in lines
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(name: str, value: float | None) -> str:
    if value is None:
        return ""
    shares = ("held_out/", "accuracy", "mean_token_accuracy")
    return (
        f"{value:.1%}" if name.startswith(shares) else f"{value:,.0f}" if "length" in name else f"{value:.4g}"
    )


def _value(value: object) -> str:
    """An option as a reader may see it: of a path its name alone."""
    return value.name if isinstance(value, PurePath) else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} hours" if hours else f"{minutes}:{rest:02} minutes"


CARD, CURVES = "README.md", "curves.png"

_PACKAGES = ("torch", "transformers", "trl", "accelerate")
# The packaged model, as its file names it (general.organization, general.license) and the Hub has it.
_EMBEDDED, _EMBEDDED_LICENSE = "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"


class Result(Record, frozen=True):
    """What a training came to. ``seconds`` are of all its sessions; ``tokens`` those the trainer counted."""

    method: Method
    model: str
    steps: int
    seconds: float
    tokens: float | None = None
    before: EvalResult | None = None
    after: EvalResult | None = None


def describe(
    folder: Path,
    result: Result,
    options: TrainOptions,
    source: str,
    lines: Sequence[Line],
    *,
    name: str,
    rows: int,
    held_out: int,
    say: Callable[[str], None],
) -> None:
    """Write the card and the curves of a model called ``name`` into its folder.

    ``rows`` of ``source`` were trained on, ``held_out`` pairs measured. Without matplotlib there are no
    curves, and ``say`` is told so.
    """
    base, local, license = _base(options.model)
    chosen = {f.name: getattr(options, f.name) for f in fields(options)} | {"model": base}
    overlap = overlap_of(options, source)
    facts = CardFacts(
        name, base, result.method, options.protocol, __version__,
        base_local=local, family=options.family, preset=options.preset, license=license, options=chosen,
        data=tuple(_data(options, source, rows, held_out)), overlap=(overlap,) if overlap else (),
        scores=tuple(_scores(options, result)), log=tuple(lines), picture=_picture(folder, lines, say),
        steps=result.steps, seconds=result.seconds, tokens=result.tokens, device=_device(),
        versions={name: version(name) for name in _PACKAGES},
    )  # fmt: skip
    write_whole(folder / CARD, card(facts).encode())


def overlap_of(options: TrainOptions, source: str) -> Overlap | None:
    """The stamp of --overlap; raises ``ConfigError`` where it is of other data than ``source``."""
    if options.overlap is None:
        return None
    overlap, data = read_overlap(options.overlap), file_hash(source)
    clean = overlap.summary.clean
    known = {overlap.summary.sha256, clean.sha256 if clean else None}
    if data is not None and data not in known:
        raise ConfigError(
            f"{options.overlap} is about {overlap.summary.source}, not about {source}",
            hint=f"jurist overlap {source} --report FILE, and --overlap FILE",
        )
    return overlap


def _picture(folder: Path, lines: Sequence[Line], say: Callable[[str], None]) -> str | None:
    try:
        return CURVES if draw_curves(lines, folder / CURVES) else None
    except MissingExtraError as error:
        say(f"no curves in the model card: {error}")
        return None


def _data(options: TrainOptions, source: str, rows: int, held_out: int) -> Iterator[DataFile]:
    yield _file(source, rows, "training")
    if options.held_out:
        yield _file(str(options.held_out), held_out, "held-out")


def _scores(options: TrainOptions, result: Result) -> Iterator[Measured]:
    if path := options.held_out:
        yield Measured(path.name, result.before, result.after, _hub(str(path)))


def _base(model: str) -> tuple[str, bool, str | None]:
    """(what a reader may know the model by, whether that is only a folder's name, its licence)."""
    if model == EMBEDDED:
        return _EMBEDDED, False, _EMBEDDED_LICENSE
    folder = Path(model)
    if not folder.is_dir():
        return model, False, None
    # A model trained here stands in RUN/model and is called by the name of the run.
    folder = folder.resolve()
    return (folder.parent.name if folder.name == "model" else folder.name), True, None


def _file(source: str, rows: int, use: str) -> DataFile:
    return DataFile(Path(source).name, rows, file_hash(source), use, _hub(source))


def _hub(source: str) -> str | None:
    """The data set's id in a name such as hf:someone/pairs:train@revision."""
    return re.split(r"[:@#]", source.removeprefix("hf:"))[0] if source.startswith("hf:") else None


def _device() -> str:
    cuda = package("torch").cuda
    name = cuda.get_device_name(0) if cuda.is_available() else "CPU"
    return name if world() == 1 else f"{world()} x {name}"
