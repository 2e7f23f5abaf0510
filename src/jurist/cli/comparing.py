"""What `jurist compare` does, once its options are read."""

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from jurist.cli.console import out, write_json
from jurist.core.errors import ConfigError
from jurist.core.store import read_config, read_decisions, read_digests
from jurist.judging.pool import slim
from jurist.reports.comparison import Run, compare
from jurist.reports.views.comparison import comparison_view


def compare_runs(folders: Sequence[Path], flips: int, *, json: bool) -> int:
    """Compare run folders, the first being the baseline."""
    if len(folders) < 2:
        raise ConfigError("a comparison takes two or more runs", hint="jurist compare RUN RUN")
    if flips < 0:
        raise ConfigError(f"--flips {flips} is no number of cases", hint="0 shows none")
    names = run_names(folders)
    found = compare([read_run(folder, name) for folder, name in zip(folders, names, strict=True)])
    if json:
        write_json(found)
    else:
        out.print(comparison_view(found, flips))
    return 0


def read_run(folder: Path, name: str) -> Run:
    """The run in a folder without its texts."""
    named = read_config(folder).get("benchmark")
    decisions = [slim(d) for d in read_decisions(folder)]
    return Run(name, decisions, read_digests(folder), named if isinstance(named, str) else None)


def run_names(folders: Sequence[Path]) -> list[str]:
    """The folders' names; where two are called the same, what tells the paths apart, else a number."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = _distinct([folder.resolve().parts for folder in folders])
    seen: Counter[str] = Counter()
    for i, name in enumerate(names):
        seen[name] += 1
        names[i] = f"{name} ({seen[name]})" if seen[name] > 1 else name
    return names


def _distinct(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """The paths without the parts with which all begin, and without those with which all end."""
    begin, end = _alike(paths), _alike([path[::-1] for path in paths])
    shortest = min(map(len, paths))
    if begin + end >= shortest:
        begin, end = min(begin, shortest - 1), 0
    return ["/".join(path[begin : len(path) - end]) for path in paths]


def _alike(paths: Sequence[tuple[str, ...]]) -> int:
    """How many parts all paths begin with."""
    same = (len(set(parts)) == 1 for parts in zip(*paths, strict=False))
    return sum(takewhile(bool, same))
