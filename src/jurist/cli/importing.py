"""What `jurist import` does: recorded outputs become a run, official results of groups a scorecard."""

from collections.abc import Callable, Mapping
from inspect import getdoc
from pathlib import Path
from typing import Any

import msgspec

from jurist.benchmarks.base import Benchmark, read_bytes
from jurist.benchmarks.rewardbench import score_subsets
from jurist.benchmarks.rewardbench2 import score_domains
from jurist.cli.console import out as screen
from jurist.cli.console import say, write_json
from jurist.core.errors import ConfigError, InputError, StoreError
from jurist.core.files import write_whole
from jurist.core.store import DECISIONS, JUDGMENTS, RUN, Store, read_config, write_scorecard
from jurist.core.types import Decision, Scorecard
from jurist.core.version import __version__
from jurist.judging import registry
from jurist.reports.views.scorecard import scorecard_view

AGGREGATES: dict[str, Callable[[Mapping[str, object]], Scorecard]] = {
    "rewardbench": score_subsets,
    "rewardbench2": score_domains,
}
"""Benchmarks whose official results of groups make a scorecard, without a decision on any case."""


def import_results(name: str, file: str, out: Path, *, json: bool) -> int:
    """Import a file of official outputs or results; nothing is made of one that cannot be read."""
    chosen = registry.benchmark(name)
    config: dict[str, Any] = {"jurist": __version__, "benchmark": name, "imported": file}
    results = _of_groups(Path(file))
    if results is not None:
        card = _scored(chosen, results, file)
        _keep(out, {**config, "aggregate": True}, card)
        say(f"imported into {out}: a scorecard only, since {file} has results of groups and no decisions")
    else:
        decisions = list(_recorded(chosen)(Path(file)))
        card = chosen.score(decisions)
        _store(out, config, decisions)
        write_scorecard(out, card)
        say(f"imported into {out}")
    if json:
        write_json(card)
    else:
        screen.print(scorecard_view(card))
    return 0


def form(chosen: Benchmark) -> str:
    """What can be imported of a benchmark, in one sentence: the first one on its ``recorded``; or ""."""
    recorded = chosen.recorded
    said = getdoc(getattr(recorded, "func", recorded)) if recorded else ""
    return " ".join((said or "").partition("\n\n")[0].replace("``", "").split())


def _recorded(chosen: Benchmark) -> Callable[[Path], Any]:
    if chosen.recorded is None:
        names = [name for name in registry.BENCHMARKS if registry.benchmark(name).recorded]
        raise ConfigError(
            f"{chosen.name} has no official outputs that could be read", hint=f"there are {', '.join(names)}"
        )
    return chosen.recorded


def _of_groups(path: Path) -> dict[str, Any] | None:
    """A JSON object with numbers and without lists; None where it is rows, columns, lines or no file."""
    if not path.is_file():
        return None
    try:
        found = msgspec.json.decode(read_bytes(path), type=dict[str, Any])
    except msgspec.DecodeError:
        return None
    columns = any(isinstance(value, list) for value in found.values())
    return found if _numbers(found) and not columns else None


def _numbers(found: Mapping[str, Any]) -> list[str]:
    return [k for k, v in found.items() if isinstance(v, (int, float)) and not isinstance(v, bool)]


def _scored(chosen: Benchmark, results: dict[str, Any], file: str) -> Scorecard:
    _recorded(chosen)
    count = AGGREGATES.get(chosen.name)
    if count is None:
        names = _numbers(results)
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        raise InputError(
            f"{file} holds results of groups ({', '.join(names[:4])}{more}), of which no scorecard of "
            f"{chosen.name} can be made",
            hint=f"what can be imported: {form(chosen)}",
        )
    try:
        return count(results)
    except InputError as error:
        raise InputError(f"{file}: {error.message}", error.hint or "results of another benchmark?") from None


def _store(out: Path, config: dict[str, Any], decisions: list[Decision]) -> None:
    with Store(out, config) as store:
        for decision in decisions:
            for judgment in decision.judgments:
                if store.recall(judgment.query.key) is None:
                    store.record(judgment)
            if store.decided(decision.case_id, "") is None:
                store.decide(decision, "")


def _keep(out: Path, config: dict[str, Any], card: Scorecard) -> None:
    """A run folder without decisions; one that holds another run is refused."""
    held = [name for name in (RUN, JUDGMENTS, DECISIONS) if (out / name).exists()]
    if held and (held != [RUN] or {**read_config(out), "jurist": __version__} != config):
        raise StoreError(f"the run folder {out} holds another run", hint="choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the run folder {out}: {error.strerror or error}") from error
    write_whole(out / RUN, msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")
    write_scorecard(out, card)
