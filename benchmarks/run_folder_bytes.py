"""What a run folder weighs as it is, and what blocks of zstd or parquet would make of it.

    python benchmarks/run_folder_bytes.py OUTPUTS.jsonl [CASES] [--deliberation 'vote(16)']

OUTPUTS is a file of JudgeBench's raw outputs (``outputs/*arena_hard*.jsonl``): its pairs are judged, and the
judge answers with what o1-mini wrote about them and about other pairs, so that texts are real and differ from
vote to vote. Needs the extra ``parquet``. Compressed are whole lines, in blocks that can be read alone.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pyarrow
import pyarrow.parquet

from jurist.core.files import lines_from
from jurist.core.hashing import seed_of
from jurist.core.run_lines import FILES
from jurist.core.runs import export_rows
from jurist.core.store import Store
from jurist.core.types import Case, Completion, Message, Query, Usage
from jurist.judging.judge import Judge
from jurist.judging.pool import decide_all
from jurist.judging.registry import deliberation
from jurist.protocols.rubrics import rubrics

BLOCKS = (1 << 16, 1 << 18, 1 << 20)


def main() -> None:
    """Judge, and print bytes by file and by form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("cases", type=int, nargs="?", default=500)
    parser.add_argument("--deliberation", default="vote(16)")
    arguments = parser.parse_args()
    rows = [msgspec.json.decode(line) for line in arguments.outputs.read_bytes().splitlines()]
    with TemporaryDirectory() as work:
        run = Path(work) / "run"
        asked = asyncio.run(_judged(rows, arguments.cases, arguments.deliberation, run))
        print(f"{asked:,} judgments of {arguments.cases:,} cases")
        for name in (*FILES, "index.sqlite"):
            size = (run / name).stat().st_size
            packed = ", ".join(_packed(run / name, block) for block in BLOCKS) if name in FILES else ""
            print(f"{name:16}{size:>12,}  {packed}")
        for kind in ("decisions", "judgments"):
            print(_exported(run, kind, Path(work)))


async def _judged(rows: list[dict[str, Any]], n: int, text: str, run: Path) -> int:
    written = [game["judgment"]["response"] for row in rows for game in row["judgments"]]
    asked = 0

    async def engine(query: Query) -> Completion:
        nonlocal asked
        asked += 1
        words = written[seed_of(query.case_id, query.sample) % len(written)]
        return Completion(f"{words}\n<answer>[[A]]</answer>", usage=Usage(400, len(words) // 4))

    with Store(run, {"benchmark": None}) as store:
        judge = Judge(rubrics(), engine, memory=store)
        stream = decide_all(_cases(rows, n), judge.ask, deliberation(text), concurrency=32, store=store)
        async with aclosing(stream):
            async for _ in stream:
                pass
    return asked


def _cases(rows: list[dict[str, Any]], n: int) -> Iterator[Case]:
    for i in range(n):
        row = rows[i % len(rows)]
        question = (Message("user", row["question"]),)
        yield Case(f"{row['pair_id']} {i}", question, (row["response_A"], row["response_B"]), gold=(1.0, 0.0))


def _packed(path: Path, size: int) -> str:
    """Bytes in blocks of about ``size``, and how fast one is packed and read."""
    codec, blocks, block = pyarrow.Codec("zstd", compression_level=3), [], b""
    for _, line in lines_from(path):
        block += line + b"\n"
        if len(block) >= size:
            blocks, block = [*blocks, block], b""
    begun = time.process_time()
    packed = [codec.compress(each, asbytes=True) for each in [*blocks, block]]
    seconds = time.process_time() - begun
    begun = time.process_time()
    for whole, each in zip([*blocks, block], packed, strict=True):
        codec.decompress(each, len(whole), asbytes=True)
    unpacking = time.process_time() - begun
    total, mb = sum(map(len, packed)), path.stat().st_size / 1e6
    return f"zstd {size >> 10} KiB: {total:,} ({mb / seconds:,.0f} MB/s, read {mb / unpacking:,.0f} MB/s)"


def _exported(run: Path, kind: Any, work: Path) -> str:
    rows, sizes = export_rows(run, kind), [0, 0]
    plain, path = 0, work / "rows.parquet"
    schema = pyarrow.schema([("row", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while batch := list(islice(rows, 1000)):
            lines = [msgspec.json.encode(row).decode() for row in batch]
            plain += sum(len(line.encode()) + 1 for line in lines)
            writer.write_table(pyarrow.table({"row": lines}, schema=schema))
    sizes = plain, path.stat().st_size
    return f"{kind}, exported whole: JSONL {sizes[0]:,}, the same rows in parquet with zstd {sizes[1]:,}"


if __name__ == "__main__":
    main()
