"""RM-R1's released logs of RM-Bench and RMB, and the orders in which its runs showed the responses.

Layouts follow RM-R1-UIUC/RM-R1 @d4c2542, ``eval/RM-Bench/scripts/run_generative.py`` and
``eval/RMB-Reward-Model-Benchmark/eval/scripts/run_generative{,_bestofn}.py``.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from jurist.benchmarks.files import read_list
from jurist.benchmarks.mt19937 import numpy_rand
from jurist.benchmarks.transcripts import PAIR, no_verdict, recorded_judgment, recorded_verdict, transcribed
from jurist.core.errors import InputError
from jurist.core.types import Case, Completion, Decision, Message, Order
from jurist.protocols.rm_r1 import parse_eval

SOURCE = "RM-R1-UIUC/RM-R1 @d4c2542, Apache-2.0"
FLAG = "Is_Chosen_Answer_Shuffled_toPositionB"

_SCORES = {1.0: PAIR.first, 0.5: PAIR.tie, 0.0: PAIR.second}
Three = tuple[str, str, str]


class RmBenchRow(msgspec.Struct):
    """A prompt in one of three files: its k-th chosen response was compared with its k-th rejected one."""

    id: str | int
    domain: str
    prompt: str
    chosen: Three
    rejected: Three
    result: tuple[float, float, float]
    output: Three
    flipped: tuple[bool, bool, bool] = msgspec.field(name=FLAG)


class RmbRow(msgspec.Struct):
    """One comparison; ``idx`` counts best-of-n items in the order of the run, pairs have none."""

    text_chosen: list[Message]
    text_rejected: list[Message]
    category_path: str
    results: float
    answers: str
    flipped: bool = msgspec.field(name=FLAG)
    pair_uid: str | None = None
    bon_uid: str | None = None
    idx: int | None = None


def shown(n: int) -> list[Order]:
    """The orders of the first n comparisons of one process of RM-R1's runs; response 0 is the chosen one.

    Chosen is shown second where numpy's ``RandomState(0).rand()`` is above one half: the runs set no seed,
    and their logs hold exactly this sequence.
    """
    return [(1, 0) if draw > 0.5 else (0, 1) for draw in numpy_rand(0, n)]


def rm_bench_rows(path: Path) -> Iterator[tuple[RmBenchRow, RmBenchRow, RmBenchRow]]:
    """The rows of the three files of a run, prompt by prompt; ``path`` is the run's folder or its logs.

    In file 2 and 3 the rejected responses are rotated by one and two, so that three files of three
    comparisons make the nine. Raises ``InputError`` where files are absent or do not belong together.
    """
    files = _rm_bench_files(path)
    tables = [read_list(file, RmBenchRow) for file in files]
    for file, table in zip(files, tables, strict=True):
        if len(table) != len(tables[0]):
            raise InputError(f"{file} has {len(table)} prompts, {files[0]} has {len(tables[0])}")
    for index, rows in enumerate(zip(*tables, strict=True)):
        for turn, (file, row) in enumerate(zip(files, rows, strict=True)):
            rejected = rows[0].rejected[turn:] + rows[0].rejected[:turn]
            if (row.id, row.rejected) != (rows[0].id, rejected):
                raise InputError(
                    f"{file}: row {index} is prompt {row.id}, and not {rows[0].id} of {files[0]} with its "
                    f"rejected responses rotated by {turn}",
                    hint="the three files of one run are meant",
                )
        yield rows


def rmb_tables(path: Path) -> Iterator[list[RmbRow]]:
    """The comparisons of each log below ``path``: one file, or the folder of a run."""
    files = [path] if path.is_file() else _rmb_files(path)
    for file in files:
        table = read_list(file, RmbRow)
        for index, row in enumerate(table):
            if len(row.text_chosen) < 2 or len(row.text_rejected) < 2:
                raise InputError(f"{file}: row {index}: text_chosen or text_rejected has fewer than 2 turns")
            if row.pair_uid is None and (row.bon_uid is None or row.idx is None):
                raise InputError(f"{file}: row {index} has neither pair_uid nor bon_uid and idx")
        yield table


def judged(case: Case, result: float, text: str, flipped: bool) -> Decision:
    """The decision of one recorded comparison; ``flipped``: the chosen response was shown second.

    The record has 0 for a lost comparison and for a text without one verdict; which it was, the text says.
    Raises ``InputError`` where the result is none of 0, 0.5, 1.
    """
    if result not in _SCORES:
        raise InputError(f"case {case.id!r}: the recorded result is {result}, expected 0, 0.5 or 1")
    completion = Completion(text)
    verdict = recorded_verdict(_SCORES[result])
    if result == 0 and (parsed := parse_eval(completion)).scores is None:
        verdict = no_verdict(parsed.note, parsed.status)
    order = (1, 0) if flipped else (0, 1)
    return transcribed(case, [recorded_judgment(case.id, order, verdict, completion)])


def _rm_bench_files(path: Path) -> list[Path]:
    for folder in (path, path / "logs", path / "RM-Bench" / "logs"):
        log_files = [sorted(folder.glob(f"total_dataset_{n}_*.json")) for n in (1, 2, 3)]
        if all(len(files) == 1 for files in log_files):
            return [files[0] for files in log_files]
        if any(log_files):
            names = ", ".join(file.name for files in log_files for file in files)
            raise InputError(f"{folder}: expected one file each of total_dataset_1_, _2_, _3_, saw {names}")
    raise InputError(
        f"{path}: no file total_dataset_1_*.json here or in RM-Bench/logs",
        hint="a folder of eval/result in https://github.com/RM-R1-UIUC/RM-R1 is meant",
    )


def _rmb_files(path: Path) -> list[Path]:
    for folder in (path, path / "RMB"):
        log_files = sorted(
            [*folder.glob("*/log_result/logs.json"), *folder.glob("*/log_result/raw_logs.json")]
        )
        if log_files:
            return log_files
    raise InputError(
        f"{path}: no logs.json or raw_logs.json in SET/log_result here or in RMB",
        hint="a folder of eval/result in https://github.com/RM-R1-UIUC/RM-R1 is meant",
    )
