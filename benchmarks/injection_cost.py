"""What the guard against injections costs: CPU a judgment with and without it, here and in another checkout.

python benchmarks/injection_cost.py [OTHER_CHECKOUT] [--cases 300]

A scripted judge answers at once, so that rendering, guarding, hashing and voting are all there is. Three
ways to ask: one order, vote(16), and both orders of long responses. Each row is measured in a process of
its own, in turn with the other checkout's, and the smallest of three rounds counts. ``guard`` is the CPU
that the guard takes.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
MODES = ("given", "vote(16)", "swapped, 16 KB")
TEXT = "the tower has 324 metres and `code[i]` of **bold** lists, so $x < 2$ holds \\frac{1}{2} – “quoted”"
WORDS = TEXT.split()


def measure(mode: str, cases: int) -> dict[str, float]:
    """CPU microseconds a judgment, with the guard and with the guard left out, in this process."""
    import asyncio
    import time

    from jurist.core.types import Case, Message
    from jurist.engines.scripted import ScriptedEngine
    from jurist.judging import judge as judging
    from jurist.judging import registry
    from jurist.protocols.rubrics import rubrics

    question = (Message("user", "How tall is it?"),)
    draw = random.Random(7)
    length = 2_700 if "KB" in mode else 340
    deliberate = registry.deliberation(mode.partition(",")[0])
    asked = 16 if "16)" in mode else 2 if "swapped" in mode else 1

    def fresh() -> list[Case]:
        """Cases whose texts no earlier round has seen."""
        texts = [f"# Answer\n\n{' '.join(draw.choices(WORDS, k=length))}" for _ in range(2 * cases)]
        return [Case(str(i), question, (texts[2 * i], texts[2 * i + 1])) for i in range(cases)]

    async def run() -> float:
        rows = fresh()
        engine = ScriptedEngine("<answer>[[A]]</answer>")
        judge = judging.Judge(rubrics(), engine)
        start = time.process_time()
        for case in rows:
            await deliberate(judge.ask, case)
        return (time.process_time() - start) / (cases * asked) * 1e6

    whole = min(asyncio.run(run()) for _ in range(3))
    judging.guarded = lambda case, *_: case
    return {"whole": whole, "bare": min(asyncio.run(run()) for _ in range(3))}


def measured(checkout: Path, mode: str, cases: int) -> dict[str, float]:
    """The same in a fresh process that imports ``checkout``."""
    command = [sys.executable, __file__, "--mode", mode, "--cases", str(cases)]
    environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)


def main() -> None:
    """Print one row for each way to ask."""
    parser = argparse.ArgumentParser()
    parser.add_argument("other", nargs="?", type=Path)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--mode")
    options = parser.parse_args()
    if options.mode:
        print(json.dumps(measure(options.mode, options.cases)))
        return
    for mode in MODES:
        rows = {"here": measured(HERE, mode, options.cases)}
        if options.other:
            rows["other"] = measured(options.other, mode, options.cases)
        for name, row in rows.items():
            guard = row["whole"] - row["bare"]
            print(f"{mode:16} {name:6} {row['whole']:8.1f} µs a judgment, guard {guard:8.1f} µs")
        if options.other:
            print(f"{mode:16} ratio  {rows['other']['whole'] / rows['here']['whole']:8.2f}")


if __name__ == "__main__":
    main()
