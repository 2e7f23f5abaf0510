"""`jurist export`: the results of a run in a benchmark's own layout."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jurist.core.errors import ConfigError

if TYPE_CHECKING:
    from jurist.core.types import Decision


def export(run: Path, /, *, format: Literal["rewardbench"], model: str, out: Path) -> int:
    """Write the results of a run as a benchmark publishes them.

    Parameters
    ----------
    run
        Run folder.
    format
        rewardbench: accuracies by subset, eval-set/ORG/MODEL.json of its results.
    model
        The judge's name there, ORG/NAME.
    out
        File to write.
    """
    import msgspec

    from jurist.benchmarks.rewardbench import official_results
    from jurist.cli.console import say
    from jurist.core.files import write_whole
    from jurist.core.store import read_decisions
    from jurist.judging.pool import slim

    _check(run, format, model)
    decisions = [slim(decision) for decision in read_decisions(run)]
    results = official_results(decisions, model)
    for line in _gaps(decisions):
        say(line)
    write_whole(out, msgspec.json.format(msgspec.json.encode(results), indent=4) + b"\n")
    say(f"written to {out}")
    return 0


def _check(run: Path, format: str, model: str) -> None:
    """Refuse what has no such results, or no name to publish them under."""
    from jurist.core.store import read_config

    config = read_config(run)
    if config.get("benchmark") != format:
        raise ConfigError(
            f"{run} is a run of {config.get('benchmark') or config.get('input')!r}, not of {format}",
            hint=f"jurist eval {format} --out RUN makes one",
        )
    if config.get("aggregate"):
        raise ConfigError(
            f"{run} holds results of groups and no decisions", f"they came from {config.get('imported')}"
        )
    org, _, name = model.partition("/")
    if not org or not name or "/" in name:
        raise ConfigError(f"--model {model!r} is not ORG/NAME", hint="such as my-lab/my-judge")


def _gaps(decisions: "Sequence[Decision]") -> list[str]:
    """What whoever publishes the results has to know."""
    from collections import Counter

    from jurist.benchmarks.rewardbench import SIZES

    judged = Counter(d.group for d in decisions if d.group in SIZES)
    if not judged:
        raise ConfigError("the run holds no pair of the 23 subsets", hint="prior sets are not in that layout")
    absent = [subset for subset in SIZES if subset not in judged]
    unresolved = sum(d.verdict.scores is None and "result" not in d.meta for d in decisions)
    lines: list[str] = []
    if judged != SIZES:
        without = f"; without any pair: {', '.join(absent)}" if absent else ""
        share = f"{judged.total():,} of {sum(SIZES.values()):,} pairs were judged"
        lines.append(f"not the official score: {share}{without}")
    if unresolved:
        lines.append(f"{unresolved:,} pairs without a verdict are half right, as officially")
    return lines
