"""What a training came to, and the model card that tells it."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

from jurist import __version__
from jurist.errors import ConfigError, MissingExtraError
from jurist.learning.card import DataFile, Facts, Measured, Overlap, Score, card, draw_course, read_overlap
from jurist.learning.held_out import Standing
from jurist.learning.metrics import Line
from jurist.learning.models import EMBEDDED
from jurist.learning.options import TrainOptions
from jurist.learning.packages import package
from jurist.learning.presets import Method
from jurist.learning.processes import world
from jurist.lines import write_whole
from jurist.overlap.report import file_hash
from jurist.types import Noun

CARD, CURVES = "README.md", "curves.png"

_PACKAGES = ("torch", "transformers", "trl", "accelerate")
# The packaged model, as its file names it (general.organization, general.license) and the Hub has it.
_EMBEDDED, _EMBEDDED_LICENSE = "HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"


class Result(Noun, frozen=True):
    """What a training came to. ``seconds`` are of all its sessions; ``tokens`` those the trainer counted."""

    method: Method
    model: str
    steps: int
    seconds: float
    tokens: float | None = None
    before: Standing | None = None
    after: Standing | None = None


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
    told = {f.name: getattr(options, f.name) for f in fields(options)} | {"model": base}
    overlap = overlap_of(options, source)
    facts = Facts(
        name, base, result.method, options.protocol, __version__,
        base_local=local, family=options.family, preset=options.preset, license=license, options=told,
        data=tuple(_data(options, source, rows, held_out)), overlap=(overlap,) if overlap else (),
        scores=tuple(_scores(options, result)), course=tuple(lines), picture=_picture(folder, lines, say),
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
        return CURVES if draw_course(lines, folder / CURVES) else None
    except MissingExtraError as error:
        say(f"no curves in the model card: {error}")
        return None


def _data(options: TrainOptions, source: str, rows: int, held_out: int) -> Iterator[DataFile]:
    yield _file(source, rows, "training")
    if options.held_out:
        yield _file(str(options.held_out), held_out, "held-out")


def _scores(options: TrainOptions, result: Result) -> Iterator[Measured]:
    if path := options.held_out:
        before, after = (s and _score(s) for s in (result.before, result.after))
        yield Measured(path.name, before, after, _hub(str(path)))


def _base(model: str) -> tuple[str, bool, str | None]:
    """(what a reader may know the model by, whether that is only a folder's name, its licence)."""
    if model == EMBEDDED:
        return _EMBEDDED, False, _EMBEDDED_LICENSE
    folder = Path(model)
    if not folder.is_dir():
        return model, False, None
    # A model of ours stands in RUN/model: the run is what it is known by.
    own = folder.resolve()
    return (own.parent.name if own.name == "model" else own.name), True, None


def _file(source: str, rows: int, use: str) -> DataFile:
    return DataFile(Path(source).name, rows, file_hash(source), use, _hub(source))


def _hub(source: str) -> str | None:
    """The data set's id in a name such as hf:someone/pairs:train@revision."""
    return re.split(r"[:@#]", source.removeprefix("hf:"))[0] if source.startswith("hf:") else None


def _score(s: Standing) -> Score:
    return Score(s.accuracy, s.n, s.low, s.high, s.consistent, s.unanswered)


def _device() -> str:
    cuda = package("torch").cuda
    what = cuda.get_device_name(0) if cuda.is_available() else "CPU"
    return what if world() == 1 else f"{world()} x {what}"
