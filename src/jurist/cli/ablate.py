"""`jurist ablate`: several ways to make a judge, in one table."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jurist.cli.console import next_step, say, write_json
from jurist.cli.console import out as screen
from jurist.cli.options import CASES, OUTPUT, Flag, Json, MaybeOut
from jurist.core.errors import ConfigError, InputError, JuristError, StoreError, unknown
from jurist.core.files import write_whole

if TYPE_CHECKING:
    from jurist.training.ablation.plan import Plan, Planned, Stage
    from jurist.training.ablation.table import Ablation

TABLE, DATA = "ABLATION.md", "ablation.json"


def ablate(
    recipe: Annotated[Path, Parameter(group=CASES)],
    /,
    *,
    out: MaybeOut = None,
    only: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True, group=CASES)] = None,
    dry_run: Annotated[Flag, Parameter(group=OUTPUT)] = False,
    json: Json = False,
) -> int:
    """Make judges in several ways and measure them on the same pairs, in both orders: one table.

    Each arm is a list of commands (data, distill, train, judge, eval); arms share what they refer to.

    Examples::

        jurist ablate recipes/rm_r1/laptop.toml --dry-run
        jurist ablate recipes/rm_r1/laptop.toml -o runs/ablation
        jurist ablate recipes/rm_r1/laptop.toml -o runs/ablation --only rm-r1

    Parameters
    ----------
    recipe
        TOML file with pairs, judge and arms. See recipes/.
    out
        Run folder (else what the recipe says). The same command goes on where it stopped; the table stands
        in OUT/ABLATION.md and OUT/ablation.json.
    only
        These arms, and the base.
    dry_run
        Check everything, print the commands, run none.
    json
        The table as JSON on standard output.
    """
    import msgspec

    from jurist.training.ablation.plan import plan
    from jurist.training.ablation.recipe import read_recipe
    from jurist.training.ablation.table import markdown, notes, view

    written = read_recipe(recipe)
    folder = out or (Path(written.out) if written.out else None)
    if folder is None:
        raise ConfigError(f"{recipe} names no run folder", hint='--out RUN, or out = "RUN" in the file')
    try:
        planned = plan(written, folder, only or [])
        check_commands([*planned.stages, *_measurements(planned)])
    except JuristError as error:
        raise ConfigError(f"{recipe}: {error.message}", error.hint) from None
    if dry_run:
        _print_commands(planned)
        next_step("run them", "jurist", "ablate", recipe, "--out", folder)
        return 0
    _demand_files(planned)
    table = _run(planned)
    write_whole(folder / DATA, msgspec.json.format(msgspec.json.encode(table), indent=2) + b"\n")
    write_whole(folder / TABLE, markdown(table, f"Ablation: {recipe.stem}").encode())
    if json:
        write_json(table)
    else:
        screen.print(view(table))
        screen.print()
        for line in notes(table):
            screen.print(line, style="dim", soft_wrap=True)
    say(f"the table: {folder / TABLE}, {folder / DATA}")
    next_step("read the judgments of the last arm", "jurist", "show", table.rows[-1].run)
    return 0


def check_commands(stages: Iterable["Stage"]) -> None:
    """Raise for a command line that the command would refuse: unknown flags, values of another type."""
    from cyclopts.exceptions import CycloptsError

    from jurist.cli.main import app
    from jurist.training.ablation.plan import HELD_OUT
    from jurist.training.ablation.running import shown

    for stage in stages:
        if stage.command == HELD_OUT:
            continue
        try:
            app.parse_args([*stage.words], exit_on_error=False, print_error=False)
            _check_names(stage)
        except CycloptsError as error:
            raise ConfigError(f"stage {stage.name}: {error}", hint=shown(stage)) from None
        except JuristError as error:
            raise ConfigError(f"stage {stage.name}: {error.message}", error.hint) from None


def _check_names(stage: "Stage") -> None:
    """Raise for names that do not exist, which the command would say hours later."""
    from jurist.judging.registry import PROTOCOLS, benchmark, is_own
    from jurist.training.presets import PRESETS

    for option, kind, legal in (("--protocol", "protocol", PROTOCOLS), ("--preset", "preset", PRESETS)):
        name = stage.option(option)
        if name is not None and name not in legal and not (option == "--protocol" and is_own(name)):
            raise unknown(kind, name, legal)
    if stage.command == "eval":
        for name in stage.words[1].split(","):
            benchmark(name.strip())


def _measurements(planned: "Plan") -> list["Stage"]:
    """What is asked after the trainings, as far as they will not have measured it themselves."""
    from jurist.training.ablation.running import benchmarks, judging, measured_in

    stages: list[Stage] = []
    for arm in planned.arms:
        stages += [] if measured_in(planned, arm) else [judging(planned, arm)]
        stages += benchmarks(planned, arm).values()
    return stages


def _print_commands(planned: "Plan") -> None:
    from jurist.training.ablation.running import measured_in, shown

    for stage in [*planned.stages, *_measurements(planned)]:
        screen.print(shown(stage), soft_wrap=True)
    for arm in planned.arms:
        if folder := measured_in(planned, arm):
            screen.print(f"# {arm.name}: measured in {folder}", soft_wrap=True)
    for missing in _missing(planned):
        say(f"missing: {missing}")


def _missing(planned: "Plan") -> list[str]:
    """Files that have to be there before, and are not."""
    sources = dict.fromkeys(source for stage in planned.stages for source in stage.reads)
    return [source for source in sources if not source.startswith("hf:") and not Path(source).exists()]


def _demand_files(planned: "Plan") -> None:
    if missing := _missing(planned):
        raise InputError(f"there is no {missing[0]}", hint="[pairs] says what is trained and measured on")


def _run(planned: "Plan") -> "Ablation":
    """Run every stage that is not done, then measure the arms."""
    from jurist.training.ablation.running import RECORDS, benchmarks, digests, run_stage, settled
    from jurist.training.ablation.table import ablation

    records = planned.out / RECORDS
    for stage in planned.stages:
        run_stage(stage, records, say)
    pairs = digests(planned.held_out)
    folders = {arm.name: _measured(planned, arm, pairs, records) for arm in planned.arms}
    scores: dict[str, dict[str, Path]] = {}
    for arm in planned.arms:
        stages = benchmarks(planned, arm)
        for stage in stages.values():
            run_stage(settled(stage), records, say)
        scores[arm.name] = {name: stage.out for name, stage in stages.items()}
    return ablation(planned, folders, scores)


def _measured(planned: "Plan", arm: "Planned", pairs: dict[str, str], records: Path) -> Path:
    """The run folder of an arm on the held-out pairs; where no training left one, the judge is asked."""
    from jurist.training.ablation.running import judging, measured_in, run_stage, same_pairs, settled

    folder = measured_in(planned, arm)
    if folder and same_pairs(folder, pairs):
        say(f"{arm.name}: measured in {folder}")
        return folder
    stage = settled(judging(planned, arm))
    run_stage(stage, records, say)
    if not same_pairs(stage.out, pairs):
        raise StoreError(f"{stage.out} did not decide all of {planned.held_out}", hint="remove it, and go on")
    return stage.out
