"""What `jurist ablate` does, once its options are read."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from cyclopts.exceptions import CycloptsError

from jurist.cli.console import out as screen
from jurist.cli.console import say, write_json
from jurist.core.errors import ConfigError, InputError, JuristError, StoreError, unknown
from jurist.core.files import write_whole
from jurist.judging.registry import PROTOCOLS, benchmark
from jurist.training.ablation.plan import HELD_OUT, Plan, Planned, Stage, plan
from jurist.training.ablation.recipe import read_recipe
from jurist.training.ablation.running import (
    RECORDS,
    benchmarks,
    digests,
    judging,
    measured_in,
    run_stage,
    same_pairs,
    settled,
    shown,
)
from jurist.training.ablation.table import Ablation, ablation, markdown, notes, view
from jurist.training.presets import PRESETS

TABLE, DATA = "ABLATION.md", "ablation.json"


def run(recipe: Path, out: Path | None, only: list[str], *, dry_run: bool, json: bool) -> int:
    """Run an ablation, and show its table; with ``dry_run`` only the commands."""
    found = read_recipe(recipe)
    folder = out or (Path(found.out) if found.out else None)
    if folder is None:
        raise ConfigError(f"{recipe} names no run folder", hint='--out RUN, or out = "RUN" in the file')
    try:
        planned = plan(found, folder, only)
        check_commands([*planned.stages, *_measurements(planned)])
    except JuristError as error:
        raise ConfigError(f"{recipe}: {error.message}", error.hint) from None
    if dry_run:
        _print(planned)
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
            screen.print(line, style="dim")
    say(f"the table: {folder / TABLE}, {folder / DATA}")
    return 0


def check_commands(stages: Iterable[Stage]) -> None:
    """Raise for a command line that the command would refuse: unknown flags, values of another type."""
    from jurist.cli.main import app

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


def _check_names(stage: Stage) -> None:
    """Raise for names that no catalog holds, which the command would say hours later."""
    for option, kind, legal in (("--protocol", "protocol", PROTOCOLS), ("--preset", "preset", PRESETS)):
        name = stage.option(option)
        if name is not None and name not in legal:
            raise unknown(kind, name, legal)
    if stage.command == "eval":
        for name in stage.words[1].split(","):
            benchmark(name.strip())


def _measurements(planned: Plan) -> list[Stage]:
    """What is asked after the trainings, as far as they will not have measured it themselves."""
    stages: list[Stage] = []
    for arm in planned.arms:
        stages += [] if measured_in(planned, arm) else [judging(planned, arm)]
        stages += benchmarks(planned, arm).values()
    return stages


def _print(planned: Plan) -> None:
    for stage in [*planned.stages, *_measurements(planned)]:
        screen.print(shown(stage), soft_wrap=True, markup=False)
    for arm in planned.arms:
        if folder := measured_in(planned, arm):
            screen.print(f"# {arm.name}: measured in {folder}", soft_wrap=True, markup=False)
    for missing in _missing(planned):
        say(f"missing: {missing}")


def _missing(planned: Plan) -> list[str]:
    """Files that have to be there before, and are not."""
    named = dict.fromkeys(source for stage in planned.stages for source in stage.reads)
    return [source for source in named if not source.startswith("hf:") and not Path(source).exists()]


def _demand_files(planned: Plan) -> None:
    if missing := _missing(planned):
        raise InputError(f"there is no {missing[0]}", hint="[pairs] says what is trained and measured on")


def _run(planned: Plan) -> Ablation:
    records = planned.out / RECORDS
    for stage in planned.stages:
        run_stage(stage, records, say)
    pairs = digests(planned.held_out)
    folders = {arm.name: _measured(planned, arm, pairs, records) for arm in planned.arms}
    scores: dict[str, dict[str, Path]] = {}
    for arm in planned.arms:
        found = benchmarks(planned, arm)
        for stage in found.values():
            run_stage(settled(stage), records, say)
        scores[arm.name] = {name: stage.out for name, stage in found.items()}
    return ablation(planned, folders, scores)


def _measured(planned: Plan, arm: Planned, pairs: dict[str, str], records: Path) -> Path:
    """The run folder of an arm on the held-out pairs; where no training left one, the judge is asked."""
    folder = measured_in(planned, arm)
    if folder and same_pairs(folder, pairs):
        say(f"{arm.name}: measured in {folder}")
        return folder
    stage = settled(judging(planned, arm))
    run_stage(stage, records, say)
    if not same_pairs(stage.out, pairs):
        raise StoreError(f"{stage.out} did not decide all of {planned.held_out}", hint="remove it, and go on")
    return stage.out
