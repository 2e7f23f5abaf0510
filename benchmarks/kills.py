"""Kills a judging run at random instants, goes on, and counts what was lost and what was asked twice.

    python benchmarks/kills.py [KILLS] [--seed 0]

Each kill is a SIGKILL of the process that writes the run folder, 2 to 300 ms after it began. What stood in
the folder then must stand in it at the end (else it was lost) and must not be asked again (asked twice).
Every third time the index is damaged besides. At the end the run is completed and compared with one that was
never disturbed.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from contextlib import aclosing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from jurist.core.files import is_sealed, lines_from
from jurist.core.run_lines import JUDGMENTS
from jurist.core.runs import Kept, Run
from jurist.core.store import Store
from jurist.core.types import Case, Completion, Decision, Message, Query, Verdict
from jurist.judging.judge import Judge
from jurist.judging.pool import decide_all
from jurist.judging.registry import deliberation
from jurist.protocols.rubrics import rubrics

SLOTS = 16


def main() -> None:
    """Kill, count, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random, kept, twice = Random(arguments.seed), set[str](), 0
    n = 40 * arguments.kills
    with TemporaryDirectory() as work:
        run, asked, said = Path(work) / "run", Path(work) / "asked", Path(work) / "said"
        run.mkdir()
        seen = 0
        for number in range(arguments.kills + 1):
            child = os.fork()
            if not child:
                _judge_and_leave(run, n, asked, said)
            if number < arguments.kills:
                time.sleep(random.uniform(0.002, 0.3))
                os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            lines = asked.read_text().split("\n") if asked.exists() else [""]
            # The last one may be torn.
            twice += sum(key in kept for key in lines[seen:-1])
            seen = len(lines) - 1
            kept |= _keys(run)
            if number % 3 == 2 and number < arguments.kills:
                _damage(run / "index.sqlite", random)
        lost = len(kept - _keys(run))
        with Run(run) as opened:
            decided = {d.case_id: d.verdict for d in opened.decisions(slim=True)}
            count = opened.lost
        whole = asyncio.run(_judge(Path(work) / "whole", n, None, lambda _: None))
        equal = decided == {d.case_id: d.verdict for d in whole}
        print(f"{arguments.kills} kills, {len(kept):,} judgments of {n:,} cases: {lost + count} lost,")
        print(f"{twice} asked twice of what was kept; decisions {'equal' if equal else 'DIFFER'}")
        if said.exists():
            print(said.read_text()[:2000])


def _judge_and_leave(run: Path, n: int, asked: Path, said: Path) -> None:
    code = 1
    try:
        with asked.open("ab", buffering=0) as keys:

            def warn(line: str) -> None:
                if "resumed" not in line and "torn" not in line:
                    with said.open("a") as file:
                        file.write(line + "\n")

            asyncio.run(_judge(run, n, keys.fileno(), warn))
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)


async def _judge(run: Path, n: int, keys: int | None, warn: object) -> list[Decision]:
    async def engine(query: Query) -> Completion:
        if keys is not None:
            os.write(keys, query.key.encode() + b"\n")
            await asyncio.sleep(0.003)
        return Completion(f"{'because ' * 40}<answer>[[{'AB'[query.order[0]]}]]</answer>")

    cases = (
        Case(str(i), (Message("user", f"question {i} " * 20),), (f"good {i} " * 30, f"bad {i} " * 30))
        for i in range(n)
    )
    with Store(run, {}, warn=warn) as store:  # pyright: ignore[reportArgumentType]
        judge, kept = Judge(rubrics(), engine, memory=store), Kept(store)
        stream = decide_all(
            cases, judge.ask, deliberation("swapped"), concurrency=SLOTS, store=store, settled=kept.left
        )
        decisions: list[Decision] = []
        async with aclosing(stream):
            async for decision in stream:
                decisions.append(Decision(decision.case_id, Verdict(decision.verdict.scores)))
    return decisions


def _keys(run: Path) -> set[str]:
    """The keys of the whole judgments in a folder."""
    if not (run / JUDGMENTS).exists():
        return set()
    return {line[8:32].decode() for _, line in lines_from(run / JUDGMENTS) if is_sealed(line)}


def _damage(index: Path, random: Random) -> None:
    """Flip a bit in the head of an index that was not closed: it must be made again, or still be right."""
    if index.exists() and index.stat().st_size:
        with index.open("r+b") as file:
            at = random.randrange(min(100, index.stat().st_size))
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << random.randrange(8)]))


if __name__ == "__main__":
    main()
