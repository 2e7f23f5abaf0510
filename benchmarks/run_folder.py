"""How a run folder grows: seconds, peak memory and bytes a judgment, of judging, resuming and reading it.

    python benchmarks/run_folder.py 1000 10000 100000 [--deliberation swapped] [--compare OTHER/src]

Each step is a process of its own, so that its peak memory is its own. The judge answers at once with about
700 characters; a case has about 1,300. ``--compare`` runs the same with another version of the program.
``--commands``: instead, what `jurist show --all`, `compare`, `audit`, `agree` and `report` take to read such
a run. There the judge writes a rubric, an evaluation with quotations of which some are wrong, and a verdict
that differs from case to case; a second judge's run is what `compare` compares with.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from inspect import signature
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

WORDS = (
    "the judge reads both answers and weighs each claim against the question before it says which is better"
)
REASONS = " ".join([WORDS] * 6)
STEPS = ("judge", "resume", "show", "score")
COMMANDS = ("judge", "other", "list", "compare", "audit", "agree", "report")


def main() -> None:
    """Run every step of every size in its own process and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--deliberation", default="swapped")
    parser.add_argument("--compare", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--commands", action="store_true")
    arguments = parser.parse_args()
    sources = [Path(__file__).parents[1] / "src", *filter(None, [arguments.compare])]
    print(f"{'version':12}{'cases':>10}{'step':>9}{'seconds':>10}{'CPU':>9}{'peak MB':>10}  what")
    with TemporaryDirectory(dir=arguments.folder) as work:
        for size in arguments.sizes:
            for source in sources:
                name = "this" if source == sources[0] else "other"
                for step in COMMANDS if arguments.commands else STEPS:
                    text = f"{arguments.deliberation}{'+chains' * arguments.commands}"
                    print(f"{name:12}{size:>10,}", _step(step, size, text, work, source), flush=True)


def _step(step: str, size: int, deliberation: str, work: str, source: Path) -> str:
    run = Path(work) / f"{source.parts[-2]}-{size}"
    command = [sys.executable, __file__, "--step", step, str(size), deliberation, str(run)]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def _cases(n: int) -> "Iterator[object]":
    from jurist.core.types import Case, Message

    for i in range(n):
        question = (Message("user", f"Question {i}: {WORDS}?"),)
        responses = tuple(f"Answer {side} to question {i}: {WORDS * 5}." for side in "pq")
        yield Case(f"case-{i}", question, responses, gold=(1.0, 0.0), group=f"group {i % 7}")


SENTENCES = (
    "Copper conducts heat better than steel, so the pan warms evenly.",
    "The **second** clause limits what the tenant owes after notice.",
    "- Boil the water first, then add salt and the pasta.",
    "A loop over the keys changes the dictionary while it is read.",
    "Mars has two small moons, both found in the year 1877.",
    "Ask your pharmacist before you take both tablets together.",
    "`sorted(rows, key=len)` keeps rows of equal length in order.",
    "The treaty was signed in spring, months after the fighting ended.",
    "Most cats dislike citrus, which keeps them off the beds.",
    "Interest compounds monthly, so the yearly rate is a little higher.",
)


def _varied_cases(n: int) -> "Iterator[object]":
    from jurist.core.types import Case, Message

    for i in range(n):
        draw = Random(i)
        question = (Message("user", f"Question {i}: {WORDS}?"),)
        responses = tuple("\n".join(draw.choices(SENTENCES, k=draw.randint(7, 11))) for _ in "AB")
        yield Case(f"case-{i}", question, responses, gold=(1.0, 0.0), group=f"group {i % 7}")


def _chain(prompt: str, draw: Random) -> str:
    """A judge's chain of about 700 characters about the responses that a prompt shows."""
    shown = [sentence for sentence in SENTENCES if sentence in prompt] or list(SENTENCES)
    quotes = [draw.choice(shown if draw.random() < 0.9 else SENTENCES) for _ in "AB"]
    best = draw.choice("AAB")
    return (
        "<type>Chat</type>\n<rubric>\n1. Correctness (50%): are the facts right and to the point?\n"
        "2. Completeness (30%): is anything left out that was asked?\n3. Clarity (20%): is it plain?\n"
        "<justify>A reader needs right facts first; what is missing costs less than errors.</justify>\n"
        f"</rubric>\n<eval>\nChatbot A answers with <quote_A>{quotes[0]}</quote_A>, which fits. "
        f"Chatbot B says <quote_B>{quotes[1]}</quote_B>, <summary_B>then goes elsewhere</summary_B>. "
        f'It states "{draw.choice(SENTENCES)}" beside that. Overall, Chatbot {best} is better.\n</eval>\n'
        f"<answer>[[{best}]]</answer>"
    )


async def _judge(n: int, text: str, run: Path) -> int:
    from jurist.core.store import Store
    from jurist.core.types import Completion, Query, Usage
    from jurist.judging.judge import Judge
    from jurist.judging.pool import decide_all
    from jurist.judging.registry import deliberation
    from jurist.protocols.rubrics import rubrics

    asked = 0
    text, _, chains = text.partition("+")

    async def engine(query: Query) -> Completion:
        nonlocal asked
        asked += 1
        written = f"{REASONS}\n<answer>[[A]]</answer>"
        if chains:
            written = _chain(query.messages[-1].content, Random(f"{run.name} {query.case_id} {query.order}"))
        return Completion(written, usage=Usage(400, 160))

    with Store(run, {"benchmark": None}) as store:
        judge = Judge(rubrics(), engine, memory=store)
        # Earlier versions have no such options.
        known = signature(decide_all).parameters
        options = {"slim": True} if "slim" in known else {}
        if "settled" in known:
            options["settled"] = store.settled()
        cases = _varied_cases(n) if chains else _cases(n)
        stream = decide_all(cases, judge.ask, deliberation(text), concurrency=32, store=store, **options)
        async with aclosing(stream):
            async for _ in stream:
                pass
    return asked


def _command(name: str, run: Path) -> str:
    """Run one of the program's commands on a run in its own process, and say what it printed."""
    folder, labels, page = str(run), run.with_suffix(".labels.jsonl"), run.with_suffix(".html")
    if name == "agree":
        ids = [json.loads(line)["case_id"] for line in (run / "decisions.jsonl").open()]
        labels.write_text("".join(f'{{"id": "{id}", "gold": {i % 2}}}\n' for i, id in enumerate(ids)))
    arguments = {
        "list": ["show", folder, "--all"],
        "compare": ["compare", folder, f"{folder}-other"],
        "audit": ["audit", folder],
        "agree": ["agree", folder, str(labels)],
        "report": ["report", folder, "--out", str(page)],
    }[name]
    command = [sys.executable, "-m", "jurist", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return f"jurist {arguments[0]}: {len(done.stdout):,} characters" + (
        f", {page.stat().st_size / 1e6:.0f} MB" if name == "report" else ""
    )


def step(name: str, size: int, text: str, run: Path) -> None:
    """One measurement, printed as one line."""
    from jurist.benchmarks.base import score_pairs
    from jurist.core.runs import open_run

    started = time.monotonic()
    usage_of = resource.RUSAGE_SELF
    if name in ("list", "compare", "audit", "agree", "report"):
        usage_of, what = resource.RUSAGE_CHILDREN, _command(name, run)
    elif name in ("judge", "resume", "other"):
        run = run.with_name(f"{run.name}-other") if name == "other" else run
        asked = asyncio.run(_judge(size, text, run))
        used = sum(f.stat().st_size for f in run.iterdir())
        what = f"{asked:,} asked" + (f", {used / asked:,.0f} bytes a judgment on disk" if asked else "")
    else:
        with open_run(run) as opened:
            if name == "show":
                rows = list(islice(opened.decisions(), 24))
                what = f"{len(rows)} of {len(opened):,} cases"
            else:
                what = str(score_pairs(opened.decisions(slim=True)).headline)
    seconds = time.monotonic() - started
    usage = resource.getrusage(usage_of)
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{name:>8}{seconds:>10.2f}{cpu:>9.2f}{usage.ru_maxrss / 1024:>10.0f}  {what}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        step(sys.argv[2], int(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
    else:
        main()
