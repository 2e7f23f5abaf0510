"""`jurist score`, `import` and `export`: what can be done with a run without asking anybody again."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from inspect import getdoc
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
from cyclopts import Parameter

from jurist.cli.console import next_step, say, tell_damage, write_json
from jurist.cli.console import out as screen
from jurist.cli.options import Json, Out
from jurist.core.errors import (
    ConfigError,
    InputError,
    JuristError,
    MissingExtraError,
    StoreError,
)
from jurist.core.files import write_whole
from jurist.core.version import __version__

if TYPE_CHECKING:
    from jurist.benchmarks.base import Benchmark
    from jurist.core.types import Case, Decision, Scorecard


def score(run: Path, /, *, benchmark: str | None = None, json: Json = False) -> int:
    """Count a run again: by its benchmark's official rule, or against its own gold.

    Examples::

        jurist score runs/mine
        jurist score runs/x/rm-bench --benchmark rm-bench-rm-r1
        jurist score runs/mine --json

    Parameters
    ----------
    run
        Run folder.
    benchmark
        Count by this benchmark's rule instead of the one that the run names.
    json
        The scorecard as JSON on standard output.
    """
    from jurist.core.store import write_scorecard

    card = _card(run, benchmark)
    write_scorecard(run, card)
    _show_card(card, json=json)
    next_step("read it", "jurist", "show", run)
    return 0


def _show_card(card: "Scorecard", *, json: bool) -> None:
    from jurist.reports.views.scorecard import scorecard_view

    if json:
        write_json(card)
    else:
        screen.print(scorecard_view(card))


def _card(run: Path, benchmark: str | None) -> "Scorecard":
    from jurist.benchmarks.base import score_pairs
    from jurist.core.runs import open_run, read_scorecard
    from jurist.judging import registry

    with open_run(run) as opened:
        config = opened.config
        if config.get("aggregate") and benchmark:
            raise ConfigError(
                f"{run} holds results of groups: it cannot be counted by another benchmark's rule"
            )
        if config.get("aggregate"):
            try:
                return read_scorecard(run)
            except StoreError as error:
                raise StoreError(error.message, hint="import the results again") from None
        name = benchmark or config.get("benchmark")
        if name is None:
            source = config.get("input") or run
            card = score_pairs(opened.decisions(slim=True), Path(str(source)).name)
        elif isinstance(name, str):
            card = registry.benchmark(name).score(opened.decisions(slim=True))
        else:
            raise ConfigError(f"{run}/run.json names a benchmark of another type: {name!r}")
        tell_damage(opened)
        return msgspec.structs.replace(card, lost=opened.lost)


def import_run(
    benchmark: str, file: str, /, *, out: Out, data: Path | None = None, json: Json = False
) -> int:
    """Turn the official outputs of another judge into a run, and count it.

    Examples::

        jurist import judgebench OUTPUTS.jsonl -o runs/o1-mini
        jurist import rewardbench eval-set-scores/ORG/MODEL.json -o runs/model
        jurist import rm-bench-rm-r1 logs/ -o runs/rm-r1

    Parameters
    ----------
    benchmark
        What they are of: autoj, autoj-critique, judgebench, judgebench-claude, llmbar, pandalm, rewardbench,
        rewardbench2, rm-bench, rm-bench-rm-r1, rmb or rmb-rm-r1.
    file
        What was published.

        - judgebench, judgebench-claude: a file of the repository's outputs.
        - llmbar: a result.json, or FOLDER#JUDGE/PROMPT for all five sets.
        - autoj, pandalm: a file of one judge's outputs, the pairs where they were published beside it.
        - autoj-critique: gpt-4-Eval_CRITIC_vs_chatgpt.jsonl, the responses in ../test.
        - rewardbench, rewardbench2: eval-set-scores/ORG/MODEL.json, the results of single cases (of
          rewardbench also RM-R1's logs.json, and MODEL_outputs.jsonl of the rewardbench command); or
          eval-set/ORG/MODEL.json, accuracies by subset or domain, which make a scorecard without decisions.
        - rm-bench, rm-bench-rm-r1: RM-R1's logs total_dataset_{1,2,3}_MODEL.json, or their folder; the files
          of the benchmark's run_rm.py.
        - rmb, rmb-rm-r1: RM-R1's logs, one file or the folder of the run; the files of its my_run_rm.py.
        - any benchmark: rows of a case's id and its scores, {"id": "CASE", "scores": [0.2, 0.9]}.
    out
        Run folder to make.
    data
        Folder with the benchmark's published files: for rows of id and scores (else they are fetched), and
        for the texts of cases that the outputs do not hold.
    json
        The scorecard as JSON on standard output.
    """
    from jurist.benchmarks.files import read_bytes
    from jurist.benchmarks.recorded import read_recorded
    from jurist.core.store import write_scorecard
    from jurist.judging import registry

    chosen = registry.benchmark(benchmark)
    config: dict[str, Any] = {"jurist": __version__, "benchmark": benchmark, "imported": file}
    results = _group_results(read_bytes(Path(file))) if Path(file).is_file() else None
    if results is not None:
        card = _scored(chosen, results, file)
        _keep(out, {**config, "aggregate": True}, card)
        say(f"imported into {out}: a scorecard only, since {file} has results of groups and no decisions")
    else:
        decisions = read_recorded(chosen, Path(file), data)
        card = chosen.score(decisions)
        _store(out, config, decisions, _cases_in(chosen, file, data))
        write_scorecard(out, card)
        say(f"imported into {out}")
    _show_card(card, json=json)
    if results is None:
        next_step("compare it", "jurist", "compare", out, "RUN")
    return 0


def aggregates() -> "dict[str, Callable[[Mapping[str, object]], Scorecard]]":
    """Benchmarks whose official results of groups make a scorecard, without a decision on any case."""
    from jurist.benchmarks.rewardbench import score_subsets
    from jurist.benchmarks.rewardbench2 import score_domains

    return {"rewardbench": score_subsets, "rewardbench2": score_domains}


def form(chosen: "Benchmark") -> str:
    """What can be imported of a benchmark, in one sentence: the first one on its ``recorded``; or ""."""
    recorded = chosen.recorded
    doc = getdoc(getattr(recorded, "func", recorded)) if recorded else ""
    return " ".join((doc or "").partition("\n\n")[0].replace("``", "").split())


def _recorded(chosen: "Benchmark") -> Callable[[Path], Any]:
    from jurist.judging import registry

    if chosen.recorded is None:
        names = [name for name in registry.BENCHMARKS if registry.benchmark(name).recorded]
        raise ConfigError(
            f"{chosen.name} has no official outputs that could be read", hint=f"there are {', '.join(names)}"
        )
    return chosen.recorded


def _group_results(data: bytes) -> dict[str, Any] | None:
    """A JSON object with numbers and without lists; None where it is rows, columns or lines."""
    try:
        fields = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
    columns = any(isinstance(value, list) for value in fields.values())
    return fields if _numbers(fields) and not columns else None


def _numbers(fields: Mapping[str, Any]) -> list[str]:
    return [k for k, v in fields.items() if isinstance(v, (int, float)) and not isinstance(v, bool)]


def _scored(chosen: "Benchmark", results: dict[str, Any], file: str) -> "Scorecard":
    _recorded(chosen)
    count = aggregates().get(chosen.name)
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


def _cases_in(chosen: "Benchmark", file: str, data: Path | None) -> "dict[str, Case]":
    """The cases by id: from ``data``, or where the official outputs hold them too or lie beside them."""
    held = chosen.recorded_cases or chosen.load
    places = [(chosen.load, data)] if data is not None else []
    for read, place in (*places, (held, Path(file)), (held, Path(file.partition("#")[0]))):
        try:
            return {case.id: case for case in read(place)}
        except JuristError:
            continue
    return {}


def _store(out: Path, config: dict[str, Any], decisions: "list[Decision]", cases: "dict[str, Case]") -> None:
    from jurist.core.store import Store

    with Store(out, config) as store:
        for decision in decisions:
            case = cases.get(decision.case_id)
            digest = case.digest if case is not None and case.gold == decision.gold else ""
            if case is not None and digest:
                store.begin(case, digest)
            for judgment in decision.judgments:
                if store.recall(judgment.query) is None:
                    store.record(judgment)
            if store.decided(decision.case_id, digest) is None:
                store.decide(decision, digest)


def _keep(out: Path, config: dict[str, Any], card: "Scorecard") -> None:
    """A run folder without decisions; one that holds another run is refused."""
    from jurist.core.run_config import RUN, read_config
    from jurist.core.run_lines import DECISIONS, JUDGMENTS
    from jurist.core.store import write_scorecard

    present = [name for name in (RUN, JUDGMENTS, DECISIONS) if (out / name).exists()]
    if present and (present != [RUN] or {**read_config(out), "jurist": __version__} != config):
        raise StoreError(f"the run folder {out} holds another run", hint="choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the run folder {out}: {error.strerror or error}") from error
    write_whole(out / RUN, msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")
    write_scorecard(out, card)


def export(
    run: Path,
    /,
    *,
    format: Literal["jsonl", "parquet", "rewardbench"],
    rows: Literal["decisions", "judgments"] = "decisions",
    model: str | None = None,
    out: Annotated[Path, Parameter(alias="-o")],
) -> int:
    """Write a run as plain rows, or its results as a benchmark publishes them.

    Examples::

        jurist export runs/mine --format jsonl -o decisions.jsonl
        jurist export runs/mine --format parquet --rows judgments -o judgments.parquet
        jurist export runs/x/rewardbench --format rewardbench --model ORG/NAME -o results.json

    Parameters
    ----------
    run
        Run folder.
    format
        jsonl or parquet (extra: parquet): a row for each decision with its case, or for each judgment.
        rewardbench: accuracies by subset, eval-set/ORG/MODEL.json of its results.
    rows
        decisions, or judgments with their prompts and texts.
    model
        For rewardbench: the judge's name there, ORG/NAME.
    out
        File to write.
    """
    from jurist.benchmarks.rewardbench import official_results
    from jurist.core.runs import export_rows, open_run

    if format != "rewardbench":
        if model is not None:
            raise ConfigError("--model goes with --format rewardbench", hint="leave it out")
        number = _write_rows(lambda: export_rows(run, rows), out, format)
        say(f"{number:,} {rows} written to {out}")
        next_step("read them here", "jurist", "show", run)
        return 0
    _check_export(run, format, model or "")
    with open_run(run) as opened:
        decisions = list(opened.decisions(slim=True))
        tell_damage(opened)
    results = official_results(decisions, model or "", scalar=opened.config.get("protocol") == "scalar")
    for line in _gaps(decisions):
        say(line)
    write_whole(out, msgspec.json.format(msgspec.json.encode(results), indent=4) + b"\n")
    say(f"written to {out}")
    next_step("compare it with another judge's run", "jurist", "compare", run, "RUN")
    return 0


_TOGETHER = 1000
"""Rows of a parquet file that are in memory at once."""


def _write_rows(rows: Callable[[], Iterator[dict[str, Any]]], out: Path, format: str) -> int:
    """Write rows into a file, which is there only when it is whole; how many."""
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: there is no folder {str(out.parent)!r}", hint="make it first")
    draft, number = out.with_name(f"{out.name}.tmp"), 0
    try:
        if format == "parquet":
            number = write_parquet(rows, draft)
        else:
            with draft.open("wb") as file:
                for row in rows():
                    file.write(msgspec.json.encode(row) + b"\n")
                    number += 1
        draft.replace(out)
    except OSError as error:
        raise StoreError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return number


def write_parquet(rows: Callable[[], Iterator[dict[str, Any]]], path: Path) -> int:
    """Write rows as a table; what is not a number, a text or a list of numbers becomes JSON text.

    They are read twice, for the columns of all and then for the rows, and never held together.
    """
    try:
        pyarrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", "--format parquet") from error
    schema, number = pyarrow.schema([]), 0
    for columns in _columns(rows()):
        more = pyarrow.table(columns).schema
        schema = pyarrow.unify_schemas([schema, more], promote_options="permissive")
    with parquet.ParquetWriter(path, schema) as writer:
        for columns in _columns(rows()):
            rows_of_batch = len(next(iter(columns.values())))
            whole = {name: columns.get(name, [None] * rows_of_batch) for name in schema.names}
            writer.write_table(pyarrow.table(whole, schema=schema))
            number += rows_of_batch
    return number


def _columns(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, list[Any]]]:
    """The columns of some rows after the other."""
    while batch := list(islice(rows, _TOGETHER)):
        listed = [{name: _cell(value) for name, value in row.items()} for row in batch]
        names = dict.fromkeys(name for row in listed for name in row)
        yield {name: [row.get(name) for row in listed] for name in names}


def _cell(value: Any) -> Any:
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        values = cast("list[object]", value)
        numbers = [float(v) for v in values if isinstance(v, (int, float))]
        if len(numbers) == len(values):
            return numbers
    return msgspec.json.encode(value).decode()


def _check_export(run: Path, format: str, model: str) -> None:
    """Refuse what has no such results, or no name to publish them under."""
    from jurist.core.run_config import read_config

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
