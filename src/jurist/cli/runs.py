"""`jurist score`, `import` and `show`: what can be done with a run without asking anybody again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jurist.core.errors import ConfigError, StoreError, unknown

if TYPE_CHECKING:
    from jurist.core.types import Scorecard

Flag = Annotated[bool, Parameter(negative="")]


def score(run: Path, /, *, benchmark: str | None = None, json: Flag = False) -> int:
    """Count a run again: by its benchmark's official rule, or against its own gold.

    Parameters
    ----------
    run
        Run folder.
    benchmark
        Count by this benchmark's rule instead of the one that the run names.
    json
        The scorecard as JSON on standard output.
    """
    from jurist.cli.console import out, write_json
    from jurist.core.store import write_scorecard
    from jurist.reports.views.scorecard import scorecard_view

    card = _card(run, benchmark)
    write_scorecard(run, card)
    if json:
        write_json(card)
    else:
        out.print(scorecard_view(card))
    return 0


def import_run(benchmark: str, file: str, /, *, out: Path, json: Flag = False) -> int:
    """Turn the official outputs of another judge into a run, and count it.

    Parameters
    ----------
    benchmark
        What they are of: autoj, judgebench, judgebench-claude, llmbar, pandalm, rewardbench, rewardbench2,
        rm-bench, rm-bench-rm-r1, rmb or rmb-rm-r1.
    file
        What was published.

        - judgebench, judgebench-claude: a file of the repository's outputs.
        - llmbar: a result.json, or FOLDER#JUDGE/PROMPT for all five sets.
        - autoj, pandalm: a file of one judge's outputs, the pairs where they were published beside it.
        - rewardbench, rewardbench2: eval-set-scores/ORG/MODEL.json, the results of single cases (of
          rewardbench also RM-R1's logs.json); or eval-set/ORG/MODEL.json, accuracies by subset or domain,
          which make a scorecard without decisions.
        - rm-bench, rm-bench-rm-r1: RM-R1's logs total_dataset_{1,2,3}_MODEL.json, or their folder.
        - rmb, rmb-rm-r1: RM-R1's logs, one file or the folder of the run.
    out
        Run folder to make.
    json
        The scorecard as JSON on standard output.
    """
    from jurist.cli.importing import import_results

    return import_results(benchmark, file, out, json=json)


def show(run: Path, case: str | None = None, /, *, json: Flag = False) -> int:
    """Read a run: its decisions in a table, or one case with every judgment's reasons.

    Parameters
    ----------
    run
        Run folder.
    case
        Id of the case to read.
    json
        Decisions as JSON lines on standard output.
    """
    from jurist.cli.console import out, say, write_json
    from jurist.core.store import read_config, read_decisions
    from jurist.reports.views.judgment import decision_view
    from jurist.reports.views.scorecard import SHOWN, decisions_view

    if read_config(run).get("aggregate"):
        raise ConfigError(f"{run} holds results of groups and no decisions", hint=f"jurist score {run}")
    decisions = [d for d in read_decisions(run) if case in (None, d.case_id)]
    if case is not None and not decisions:
        raise unknown(f"case in {run}", case, [d.case_id for d in read_decisions(run)][:2000])
    if json:
        for decision in decisions:
            write_json(decision)
    elif case is not None:
        out.print(decision_view(decisions[0]))
    else:
        out.print(decisions_view(decisions[:SHOWN], more=len(decisions) - SHOWN))
        say(f"read one with: jurist show {run} CASE")
    return 0


def _card(run: Path, benchmark: str | None) -> "Scorecard":
    from jurist.benchmarks.base import score_pairs
    from jurist.core.store import read_config, read_decisions
    from jurist.judging import registry
    from jurist.judging.pool import slim

    config = read_config(run)
    if config.get("aggregate"):
        return _imported(run, benchmark)
    name = benchmark or config.get("benchmark")
    decisions = map(slim, read_decisions(run))
    if name is None:
        return score_pairs(decisions, Path(str(config.get("input") or run)).name)
    if not isinstance(name, str):
        raise ConfigError(f"{run}/run.json names a benchmark of another type: {name!r}")
    return registry.benchmark(name).score(decisions)


def _imported(run: Path, benchmark: str | None) -> "Scorecard":
    """The scorecard that official results of groups made: there are no decisions to count again."""
    import msgspec

    from jurist.core.store import SCORECARD
    from jurist.core.types import Scorecard

    if benchmark:
        raise ConfigError(f"{run} holds results of groups: it cannot be counted by another benchmark's rule")
    try:
        return msgspec.json.decode((run / SCORECARD).read_bytes(), type=Scorecard)
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(f"cannot read {run / SCORECARD}: {error}", hint="import the results again") from None
