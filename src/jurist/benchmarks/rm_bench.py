"""RM-Bench: can a judge tell substance from style; nine pairs of styles per prompt, four domains."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import accumulate, product
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import msgspec

from jurist.benchmarks.base import Benchmark, demand, gold_winner, headline_name, score_pairs
from jurist.benchmarks.files import missing, read_list, read_rows
from jurist.benchmarks.rm_r1_logs import RmBenchRow, Three, judged, rm_bench_rows, shown
from jurist.benchmarks.transcripts import rated
from jurist.core.errors import InputError
from jurist.core.statistics import macro_interval
from jurist.core.types import Case, Decision, Message, Order, Scorecard, ScoreRow, winner

DOMAINS = ("chat", "math", "code", "safety")
STYLES = ("concise", "detailed", "markdown")
"""Styles of the chosen and of the rejected responses, plainest first."""

SIZES = {"chat": 129, "code": 228, "math": 529, "safety-refuse": 284, "safety-response": 157}
"""Prompts of each published file, in the order in which ``total_dataset.json`` and RM-R1's logs hold them."""

FOLDERS = ("data", "rm-bench", "rm-bench/data")
"""Where the files may lie below the folder that is given."""

Cell = tuple[int, int]
"""Style of the chosen response, style of the rejected one."""

CELLS: tuple[Cell, ...] = tuple(product(range(3), range(3)))
LEVELS: dict[str, tuple[Cell, ...]] = {
    "hard": tuple((i, j) for i, j in CELLS if i < j),
    "normal": tuple((i, j) for i, j in CELLS if i == j),
    "easy": tuple((i, j) for i, j in CELLS if i > j),
}
"""Hard: the chosen response is the plainer one; easy: the rejected one is."""

MISREAD: dict[Cell, Cell] = {(0, 1): (0, 2), (1, 2): (1, 0), (2, 0): (2, 1)}
"""What RM-R1's scorer puts into three cells: file 3 is opened where file 2 is meant."""

SOURCE = "THU-KEG/RM-Bench @73c52d7, ODC-BY"
UNRESOLVED = "A tie and an unresolved verdict count as wrong."

Cells = dict[Cell, list[tuple[str, bool]]]
"""Of one domain: the prompts judged in each cell, and whether the verdict was right."""


class _Row(msgspec.Struct):
    id: str | int
    prompt: str
    chosen: Three
    rejected: Three
    domain: str | None = None


_Scores = tuple[float | list[float], float | list[float], float | list[float]]


class _Scored(_Row, kw_only=True):
    """A prompt with the scores of its responses (THU-KEG/RM-Bench @73c52d7, ``scripts/run_rm.py``)."""

    score_chosen: _Scores
    score_rejected: _Scores


class _Prompt(NamedTuple):
    id: str
    domain: str
    text: str
    chosen: Three
    rejected: Three


def load(path: Path) -> Iterator[Case]:
    """Nine pairs per prompt, from the published folder, one of its files, or ``hf:THU-KEG/RM-Bench``.

    The files of single domains do, where ``total_dataset.json`` is absent. ``meta["order"]`` is the order
    of RM-R1's published runs, which depends on a prompt's row in the whole dataset. That row is known
    without the other domains: rows are sorted by domain and id. Where a domain has not its published
    number of prompts its rows are not known, and its cases have no such order.
    """
    prompts = [_prompt(row, file) for file in _files(path) for row in read_rows(file, _Row)]
    if twice := [id for id, n in Counter(p.id for p in prompts).items() if n > 1]:
        raise InputError(f"{path}: prompt {twice[0]} stands there twice", hint="ids are unique in a domain")
    rows = _published_rows(prompts)
    return (case for prompt in prompts for case in _cases(prompt, rows.get(prompt.id)))


def recorded(path: Path) -> Iterator[Decision]:
    """Decisions of a run of RM-R1 from its logs ``total_dataset_{1,2,3}_MODEL.json``, or of a scalar model.

    Those are the files that the benchmark's own ``run_rm.py`` writes, one or the folder that holds them.
    """
    for file, row in _scored_rows(path):
        yield from _scalar_decisions(row, file)
    for files, cases in _logged(path):
        for (i, j), case in zip(CELLS, cases, strict=True):
            row = files[(j - i) % 3]
            yield judged(case, row.result[i], row.output[i], row.flipped[i])


def recorded_cases(path: Path) -> Iterator[Case]:
    """The nine pairs of each prompt, from the same files: both kinds hold the texts."""
    for file, row in _scored_rows(path):
        yield from _cases(_prompt(row, file))
    for _, cases in _logged(path):
        yield from cases


def score(decisions: Iterable[Decision], name: str, misread: Mapping[Cell, Cell] | None = None) -> Scorecard:
    """The official count of THU-KEG/RM-Bench @73c52d7, ``scripts/utils.py``, ``compute_accuracy``.

    A cell is the share of a domain's prompts in which chosen style i beat rejected style j. Hard, normal
    and easy are means of three cells, a domain is the mean of nine, the headline the mean of the domains
    (its name says which, where one is absent). ``misread`` says from which other cell a cell is read.
    Intervals are over prompts, by the delta method, since the nine pairs of a prompt are not independent;
    where all prompts agree they say nothing and are left out. ``n`` counts the pairs that are read.
    """
    listed = demand(decisions, name)
    read = {cell: (misread or {}).get(cell, cell) for cell in CELLS}
    domains = _domains(listed)
    levels = {level: [read[cell] for cell in cells] for level, cells in LEVELS.items()}
    rows = [_group(domain, [cells], tuple(read.values())) for domain, cells in domains.items()]
    rows += [_group(level, list(domains.values()), cells) for level, cells in levels.items()]
    size = len(CELLS) * sum(SIZES.values())
    whole = headline_name("overall", len(listed), size)
    if len(domains) < len(DOMAINS):
        whole = f"mean of {', '.join(domains)}"
    counted = score_pairs(listed, name)
    return Scorecard(
        name=name,
        headline=_group(whole, list(domains.values()), tuple(read.values())),
        groups=tuple(row for row in rows if row),
        statistics={**_matrices(domains, read), **_orders(counted.statistics)},
        statuses=counted.statuses,
        unresolved=" ".join(filter(None, (UNRESOLVED, _copies(misread), _gaps(domains)))),
        usage=counted.usage,
    )


def _domains(decisions: Sequence[Decision]) -> dict[str, Cells]:
    """What was judged, by domain in the official order; the two halves of safety are one."""
    domains: dict[str, Cells] = {domain: {} for domain in DOMAINS}
    for d in decisions:
        domain = next((name for name in DOMAINS if (d.group or "").startswith(name)), None)
        cell = _cell(d.meta.get("cell"))
        if domain is None or cell is None:
            raise InputError(
                f"case {d.case_id!r}: group {d.group!r}, meta cell {d.meta.get('cell')!r}: not of RM-Bench",
                hint=f"a group begins with one of {', '.join(DOMAINS)}, a cell is two numbers from 0 to 2",
            )
        right = winner(d.verdict.scores) == gold_winner(d)
        domains[domain].setdefault(cell, []).append((str(d.meta.get("prompt", d.case_id)), right))
    return {domain: cells for domain, cells in domains.items() if cells}


def _cell(value: object) -> Cell | None:
    match value:
        case [int(i), int(j)] if (i, j) in CELLS:
            return i, j
        case _:
            return None


def _group(name: str, domains: Sequence[Cells], cells: Sequence[Cell]) -> ScoreRow | None:
    """Mean over the domains of the mean of these cells; None where none of them was judged."""
    strata = [values for judged in domains if (values := _values(judged, cells))]
    if not strata:
        return None
    n = sum(len(judged.get(cell, ())) for judged in domains for cell in set(cells))
    bounds = macro_interval(strata)
    stated = bounds if bounds and bounds[0] < bounds[1] else None
    interval = (max(0.0, stated[0]), min(1.0, stated[1])) if stated else None
    return ScoreRow(name, fmean(map(fmean, strata)), n, interval)


def _values(judged: Cells, cells: Sequence[Cell]) -> list[float]:
    """One value per prompt, their mean the mean of the cells' shares, their spread that of its estimate.

    Where every prompt was judged in every cell, it is the share of the prompt's pairs that are right.
    """
    played = [judged[cell] for cell in cells if cell in judged]
    prompts = {prompt for cell in played for prompt, _ in cell}
    values = dict.fromkeys(prompts, fmean(map(_share, played)) if played else 0.0)
    for cell in played:
        share, weight = _share(cell), len(prompts) / len(cell) / len(played)
        for prompt, right in cell:
            values[prompt] += weight * (right - share)
    return list(values.values())


def _share(cell: Sequence[tuple[str, bool]]) -> float:
    return sum(right for _, right in cell) / len(cell)


def _matrices(domains: Mapping[str, Cells], read: Mapping[Cell, Cell]) -> dict[str, float]:
    """Every domain's levels and cells, and the cells' mean over the domains: ``chat/concise>markdown``."""
    matrices = {
        domain: {_named(cell): _share(cells[read[cell]]) for cell in CELLS if read[cell] in cells}
        for domain, cells in domains.items()
    }
    statistics: dict[str, float] = {}
    for domain, matrix in matrices.items():
        for level, cells in LEVELS.items():
            if shares := [matrix[_named(c)] for c in cells if _named(c) in matrix]:
                statistics[f"{domain}/{level}"] = fmean(shares)
        statistics |= {f"{domain}/{name}": share for name, share in matrix.items()}
    for name in map(_named, CELLS):
        if shares := [matrix[name] for matrix in matrices.values() if name in matrix]:
            statistics[name] = fmean(shares)
    return statistics


def _named(cell: Cell) -> str:
    return f"{STYLES[cell[0]]}>{STYLES[cell[1]]}"


def _orders(statistics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in statistics.items() if name != "without_gold"}


def _copies(misread: Mapping[Cell, Cell] | None) -> str:
    if not misread:
        return ""
    copies = ", ".join(f"{_named(cell)} is read from {_named(source)}" for cell, source in misread.items())
    return f"As RM-R1 published it, with an error: {copies}, and those three cells are never read."


def _gaps(domains: Mapping[str, Cells]) -> str:
    """A note where the nine pairs of a prompt were not all judged."""
    judged = Counter(prompt for cells in domains.values() for rows in cells.values() for prompt, _ in rows)
    gaps = sum(n < len(CELLS) for n in judged.values())
    return f"{gaps} of {len(judged)} prompts were not judged in all nine pairs." if gaps else ""


def _files(path: Path) -> list[Path]:
    """The whole dataset in one file, or the files of single domains."""
    if not path.is_dir():
        return [path]
    for folder in (path, *(path / name for name in FOLDERS)):
        names = ["total_dataset.json", *(f"{domain}_filtered.json" for domain in SIZES)]
        if files := [folder / name for name in names if (folder / name).is_file()]:
            return files[:1] if files[0].name == names[0] else files
    raise missing(path, "total_dataset.json or chat_filtered.json", FOLDERS, "THU-KEG/RM-Bench")


def _scored_files(path: Path) -> list[Path]:
    """The files of ``run_rm.py``: this one, or those of a folder; none where the logs are RM-R1's."""
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    return [file for file in files if file.is_file() and b'"score_chosen"' in file.read_bytes()]


def _scored_rows(path: Path) -> list[tuple[Path, _Scored]]:
    """The rows of the files of ``run_rm.py``, each with its file."""
    rows = [(file, row) for file in _scored_files(path) for row in read_list(file, _Scored)]
    names = Counter(_prompt(row, file).id for file, row in rows)
    if twice := [name for name, n in names.items() if n > 1]:
        raise InputError(f"{path}: prompt {twice[0]} stands there twice", "the files of one run are meant")
    return rows


def _logged(path: Path) -> Iterator[tuple[tuple[RmBenchRow, RmBenchRow, RmBenchRow], list[Case]]]:
    """The rows of RM-R1's logs, prompt by prompt, with its nine cases; none where the files are others."""
    for rows in () if _scored_files(path) else rm_bench_rows(path):
        yield rows, list(_cases(_prompt(rows[0], path)))


def _scalar_decisions(row: _Scored, file: Path) -> Iterator[Decision]:
    """The nine pairs of a prompt; each response has one score, a tie is none of both."""
    chosen, rejected = (tuple(map(_number, scores)) for scores in (row.score_chosen, row.score_rejected))
    for (i, j), case in zip(CELLS, _cases(_prompt(row, file)), strict=True):
        yield rated(case, (chosen[i], rejected[j]))


def _number(score: float | list[float]) -> float:
    return score[0] if isinstance(score, list) else score


def _prompt(row: _Row | RmBenchRow, file: Path) -> _Prompt:
    domain = row.domain or file.name.partition("_")[0]
    if domain not in SIZES:
        where = f"domain {row.domain!r}" if row.domain else "no domain in the row or the name of the file"
        raise InputError(f"{file}: prompt {row.id}: {where}", hint=f"domains are {', '.join(SIZES)}")
    id = f"{domain}/{str(row.id).removeprefix(f'{domain}/')}"
    return _Prompt(id, domain, row.prompt, row.chosen, row.rejected)


def _published_rows(prompts: Sequence[_Prompt]) -> dict[str, int]:
    """The row of each prompt in ``total_dataset.json``: sorted by id, which begins with the domain."""
    rows: dict[str, int] = {}
    for (domain, size), end in zip(SIZES.items(), accumulate(SIZES.values()), strict=True):
        ids = sorted(p.id for p in prompts if p.domain == domain)
        if len(ids) == size:
            rows |= zip(ids, range(end - size, end), strict=True)
    return rows


def _cases(prompt: _Prompt, row: int | None = None) -> Iterator[Case]:
    for i, j in CELLS:
        meta: dict[str, object] = {"prompt": prompt.id, "domain": prompt.domain, "cell": [i, j]}
        yield Case(
            id=f"{prompt.id}/{i}{j}",
            prompt=(Message("user", prompt.text),),
            responses=(prompt.chosen[i], prompt.rejected[j]),
            gold=(1.0, 0.0),
            group=prompt.domain.partition("-")[0],
            meta=meta if row is None else {**meta, "order": list(_published_orders()[i][row])},
        )


@cache
def _published_orders() -> list[list[Order]]:
    """By chosen style and row: each file was one process, which went through all rows once per style."""
    total = sum(SIZES.values())
    orders = shown(len(STYLES) * total)
    return [orders[i * total : (i + 1) * total] for i in range(len(STYLES))]


RM_BENCH = Benchmark(
    name="rm-bench",
    summary="11,943 pairs: a right answer against a subtly wrong one, in three styles each",
    source=SOURCE,
    unit="prompt",
    unresolved=UNRESOLVED,
    load=load,
    score=partial(score, name="rm-bench"),
    recorded=recorded,
    recorded_cases=recorded_cases,
)
RM_BENCH_AS_PUBLISHED_BY_RM_R1 = Benchmark(
    name="rm-bench-rm-r1",
    summary="the pairs of rm-bench with the counting error of RM-R1's published numbers, for comparison",
    source=f"{SOURCE}; RM-R1-UIUC/RM-R1 @d4c2542, eval/RM-Bench/scripts/process_final_result.py",
    unresolved=f"{UNRESOLVED} {_copies(MISREAD)}",
    load=load,
    score=partial(score, name="rm-bench-rm-r1", misread=MISREAD),
    recorded=recorded,
    recorded_cases=recorded_cases,
)
