"""`jurist compare`: judges on the same cases."""

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from jurist.cli.options import Json
from jurist.core.errors import ConfigError

if TYPE_CHECKING:
    from jurist.core.types import Decision
    from jurist.reports.comparison import ComparedRun


def compare(run: Path, /, *runs: Path, flips: int = 10, json: Json = False) -> int:
    """Compare judges on the same cases: paired differences, exact tests, and the cases that flipped.

    Examples::

        jurist compare runs/baseline runs/new
        jurist compare runs/baseline runs/a runs/b --flips 30
        jurist compare runs/baseline runs/new --json

    Parameters
    ----------
    run
        ComparedRun folder of the baseline ...
    runs
        ... and of one or more judges to compare with it.
    flips
        Show so many cases that one judge has right and the other wrong.
    json
        The comparison as JSON on standard output, with all flipped cases.
    """
    from jurist.cli.console import next_step, out, write_json
    from jurist.reports.comparison import compare
    from jurist.reports.views.comparison import comparison_view

    folders = [run, *runs]
    if len(folders) < 2:
        raise ConfigError("a comparison takes two or more runs", hint="jurist compare RUN RUN")
    if flips < 0:
        raise ConfigError(f"--flips {flips} is no number of cases", hint="0 shows none")
    names = run_names(folders)
    comparison = compare([read_run(folder, name) for folder, name in zip(folders, names, strict=True)])
    if json:
        write_json(comparison)
        return 0
    out.print(comparison_view(comparison, flips))
    flipped = next((flip.case_id for against in comparison.against for flip in against.flips), None)
    if flipped is not None:
        next_step("read a flipped case", "jurist", "show", folders[-1], case=flipped)
    return 0


def read_run(folder: Path, name: str) -> "ComparedRun":
    """The run in a folder without its texts."""
    from jurist.cli.console import tell_damage
    from jurist.core.runs import open_run
    from jurist.reports.compact import Compact
    from jurist.reports.comparison import ComparedRun

    with open_run(folder) as run:
        benchmark = run.config.get("benchmark")
        compact = Compact()
        decisions: list[Decision] = []
        texts: dict[str, str] = {}
        for decision, case in run.decided(slim=True):
            decisions.append(compact.decision(decision))
            if case is not None:
                texts[decision.case_id] = replace(case, meta={}).digest
        tell_damage(run)
        named = benchmark if isinstance(benchmark, str) else None
        return ComparedRun(name, decisions, run.digests(), named, texts)


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
