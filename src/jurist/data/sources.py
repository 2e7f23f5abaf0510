"""Arguments of `jurist data`: named sources, renamed fields, the benchmarks to keep out."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from jurist.benchmarks.fetch import place
from jurist.core.errors import ConfigError, InputError, unknown
from jurist.core.files import file_hash
from jurist.core.types import Case
from jurist.data.overlap import Index, Rule, read_cases
from jurist.data.report import SourceCounts
from jurist.inputs import OnBad
from jurist.inputs.files import READERS
from jurist.judging import registry

_NAMED = re.compile(r"(?P<name>[\w.-]+)=(?P<rest>.+)", re.DOTALL)


def source_counts(sources: Sequence[str]) -> list[SourceCounts]:
    """A count for each source, under its name: ``NAME=SOURCE``, else the stem of the file or data set."""
    if not sources:
        raise ConfigError("no source is named", "jurist data pairs train.jsonl --out pairs.jsonl")
    tallies: list[SourceCounts] = []
    for text in sources:
        match = None if Path(text).exists() else _NAMED.fullmatch(text)
        source = match["rest"] if match else text
        tallies.append(SourceCounts(match["name"] if match else stem(source), source, file_hash(source)))
    names = [tally.name for tally in tallies]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two sources are called {twice!r}", "name them: NAME=SOURCE")
    return tallies


def stem(source: str) -> str:
    """What a source is called: ``train.jsonl.gz`` is train, ``hf:org/name:split`` is name."""
    if source == "-":
        return "stdin"
    if source.startswith("hf:"):
        return re.split("[:@#]", source.removeprefix("hf:"))[0].rpartition("/")[2]
    return Path(source).name.partition(".")[0] or "rows"


def renames_of(texts: Sequence[str]) -> dict[str, list[str]]:
    """The fields of ``chosen=accepted`` and ``chosen=steps+answer``."""
    pairs = (pair_of(text, "--field chosen=accepted") for text in texts)
    return {ours: theirs.split("+") for ours, theirs in pairs}


def pair_of(text: str, example: str) -> tuple[str, str]:
    """Both sides of ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ConfigError(f"{text!r} is no NAME=VALUE", f"for example {example}")
    return name, value


def index_of(
    against: Sequence[str],
    data: Path | None,
    rule: Rule | None = None,
    on_bad: OnBad | None = None,
) -> Index | None:
    """The texts of benchmarks and files, ready for look-ups; None where nothing is named.

    ``against``: names of benchmarks, files and ``hf:`` names, several in one text with commas between them.
    A benchmark's published files are below ``data``, or are fetched. Bad rows of files raise, or with
    ``on_bad`` are handed there and passed over.
    """
    names = list(dict.fromkeys(name for text in against for name in _parts(text)))
    if not names:
        return None
    sources = [(short_name(name), _texts(name, data, on_bad)) for name in names]
    index = Index(rule or Rule())
    for name, cases in sources:
        index.add(name, cases)
        if not index.cases[-1]:
            raise InputError(f"{name} holds no cases")
    index.freeze()
    return index


def short_name(source: str) -> str:
    """What a source is called in reports: the end of its path, since many files are train.jsonl."""
    if source == "-":
        return "standard input"
    if source in registry.BENCHMARKS or source.startswith("hf:"):
        return source
    return "/".join(Path(source).parts[-2:])


def _parts(text: str) -> list[str]:
    """The names in a text with commas; a file whose name has commas is one."""
    if Path(text).exists():
        return [text]
    return [part.strip() for part in text.split(",") if part.strip()]


def _texts(name: str, data: Path | None, on_bad: OnBad | None) -> Iterable[Case]:
    """The cases of a benchmark, or of a file; raises where there is no such thing."""
    if name in registry.BENCHMARKS:
        benchmark = registry.benchmark(name)
        return benchmark.load(place(benchmark, data))
    file = "/" in name or any(name.lower().removesuffix(".gz").endswith(suffix) for suffix in READERS)
    if not file and not name.startswith("hf:") and not Path(name).exists():
        raise unknown("benchmark", name, registry.BENCHMARKS)
    return (row.case for row in read_cases(name, skip_bad=on_bad is not None, on_bad=on_bad))
