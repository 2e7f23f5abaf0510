"""Decisions of a run as sharded parquet: tasks of Ray Data read the run folder and write a shard each."""

from array import array
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from jurist.core.records import Records
from jurist.core.run_config import read_run
from jurist.core.runs import open_run
from jurist.core.types import Case, Decision, Response
from jurist.inputs.remote import is_remote, remote_of

ROWS = 50_000
"""Rows of a shard."""


def write_shards(data: Any, run: Path, places: Sequence[int], target: str, filesystem: Any = None) -> int:
    """Write a row for each case (by the offset of its line) to parquet files in ``target``; returns how many.

    ``data`` is ``ray.data``, ``target`` a folder that all nodes share or an address (``s3://...``). What was
    there before is replaced, so that it holds each case once.
    """
    shards = [array("q", places[i : i + ROWS]).tobytes() for i in range(0, len(places), ROWS)]
    items = [{"number": number, "places": shard} for number, shard in enumerate(shards)]
    rows = data.from_items(items, override_num_blocks=len(items)).map_batches(
        shard_rows, batch_size=1, batch_format="pyarrow", fn_args=(str(run),), num_cpus=0.5
    )
    # Ray Data itself knows the addresses of pyarrow, and takes filesystems of pyarrow and fsspec.
    if filesystem is None and is_remote(target):
        filesystem, target = remote_of(target)
    elif filesystem is None:
        target = str(Path(target).expanduser().resolve())
    rows.write_parquet(target, filesystem=filesystem, mode=import_module("ray.data").SaveMode.OVERWRITE)
    return len(items)


def shard_rows(table: Any, run: str) -> Any:
    """The rows of a shard as a pyarrow table, from the row that names its cases."""
    folder = Path(run)
    records = Records(folder, read_run(folder).unsealed)
    rows: list[dict[str, Any]] = []
    try:
        with open_run(folder) as opened:
            for place in array("q", table.column("places")[0].as_py()):
                case = records.case(place).case
                decision = opened.decision(case.id)
                if decision is not None:
                    rows.append(row_of(case, decision))
    finally:
        records.close()
    return _arrow().Table.from_pylist(rows, schema=_schema())


def row_of(case: Case, decision: Decision) -> dict[str, Any]:
    """A case with its decision as a row; a response of several turns, and the meta, are JSON."""
    return {
        "case_id": case.id,
        "group": case.group,
        "prompt": [{"role": turn.role, "content": turn.content} for turn in case.prompt],
        "responses": [_text(response) for response in case.responses],
        "gold": None if case.gold is None else list(case.gold),
        "scores": None if decision.verdict.scores is None else list(decision.verdict.scores),
        "status": str(decision.verdict.status),
        "note": decision.verdict.note,
        "agreement": decision.agreement,
        "judgments": len(decision.judgments),
        "tokens": decision.usage.completion_tokens,
        "meta": msgspec.json.encode(case.meta).decode(),
    }


def _text(response: Response) -> str:
    return response if isinstance(response, str) else msgspec.json.encode(response).decode()


def _schema() -> Any:
    arrow = _arrow()
    text, numbers = arrow.string(), arrow.list_(arrow.float64())
    turn = arrow.struct([("role", text), ("content", text)])
    return arrow.schema(
        [
            ("case_id", text),
            ("group", text),
            ("prompt", arrow.list_(turn)),
            ("responses", arrow.list_(text)),
            ("gold", numbers),
            ("scores", numbers),
            ("status", text),
            ("note", text),
            ("agreement", arrow.float64()),
            ("judgments", arrow.int64()),
            ("tokens", arrow.int64()),
            ("meta", text),
        ]
    )


def _arrow() -> Any:
    return import_module("pyarrow")
