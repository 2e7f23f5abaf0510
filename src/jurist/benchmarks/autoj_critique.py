"""Auto-J critique: which of two critiques of a response is better, a critic's or ChatGPT's.

The official judge is GPT-4, whose recorded comparisons are imported. Any judge of pairs can take its place.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from jurist.benchmarks.autoj import GROUPS, SCENARIOS
from jurist.benchmarks.base import Benchmark, demand, grouped, headline_name, proportion, scorecard
from jurist.benchmarks.files import missing, on_github, one_file, read_lines
from jurist.benchmarks.transcripts import PAIR, no_verdict, recorded_judgment, recorded_verdict
from jurist.core.errors import InputError
from jurist.core.types import Case, Decision, Message, Order, Scorecard, Verdict, winner

PROMPTS, REFERENCE = "testdata_critique.jsonl", "reference_chatgpt_critique.jsonl"
CRITIC = "critique_example_output.jsonl"
SHA256 = {
    f"test/{PROMPTS}": "4d51956bd5015b2cf9d62c98a5b068a3d5b8153a6783c05d35f360931ff7234a",
    f"test/{REFERENCE}": "243c2a9b47e16d841fce13265aa8dfe1ce6e35d68c1b1469605ffd8bfe41d050",
    f"outputs/{CRITIC}": "a12d1abf012ec9172ca94dcc3a1e564ee279203edbbb165cfd6e1ca21cc7426e",
}
SIZE = 232
SOURCE = "GAIR-NLP/auto-j @2ae17a3, no licence stated"
UNRESOLVED = "A tie and an unresolved verdict are no win."

_LETTERS = {"A:": PAIR.first, "B:": PAIR.second, "C:": PAIR.tie}
"""What the first line of a comparison names, and what it says in slot order."""


class _Prompt(msgspec.Struct):
    scenario: str
    prompt: str
    response: str = ""


class _Meta(msgspec.Struct):
    exchange: bool | int | str | None = None


class _Output(msgspec.Struct):
    output: str
    meta: _Meta = msgspec.field(default_factory=_Meta)


def load(path: Path) -> Iterator[Case]:
    """The 232 pairs of critiques, the critic's first, from the folder of the published layout.

    The critic is the one in ``data/outputs``, or the outputs in a file that is given, with ``../test`` beside
    it. There is no gold: what is counted is how often the first wins.
    """
    outputs = path if path.is_file() else _folder(path) / "outputs" / CRITIC
    test = outputs.parent.parent / "test"
    critics, references = (list(read_lines(f, _Output)) for f in (outputs, test / REFERENCE))
    prompts = list(read_lines(test / PROMPTS, _Prompt))
    if not len(prompts) == len(critics) == len(references):
        raise InputError(
            f"{outputs}: {len(critics)} critiques, {len(references)} of ChatGPT, {len(prompts)} responses"
        )
    for number, (row, critic, reference) in enumerate(zip(prompts, critics, references, strict=True), 1):
        asked = f"Criticise this response to a query.\n\n[Query]\n{row.prompt}\n\n[Response]\n{row.response}"
        yield Case(
            id=str(number),
            prompt=(Message("user", asked),),
            responses=(critic.output, reference.output),
            group=_group(row, test / PROMPTS, number),
            meta={"scenario": row.scenario},
        )


def recorded(path: Path) -> Iterator[Decision]:
    """Comparisons of a critic with ChatGPT by GPT-4: a file ``gpt-4-Eval_CRITIC_vs_chatgpt.jsonl``.

    The responses that were criticised stand in ``../test``. In half of the comparisons the two critiques
    changed places, as ``meta.exchange`` says.
    """
    file = one_file(path, "*-Eval_*.jsonl", "data/outputs/*-Eval_*.jsonl")
    test = file.parent.parent / "test" / PROMPTS
    rows, prompts = list(read_lines(file, _Output)), list(read_lines(test, _Prompt))
    if len(rows) != len(prompts):
        raise InputError(f"{file}: {len(rows)} comparisons of {len(prompts)} responses in {test}")
    for number, (row, prompt) in enumerate(zip(rows, prompts, strict=True), 1):
        order: Order = (1, 0) if row.meta.exchange else (0, 1)
        verdict = _verdict(row.output, order)
        judgment = recorded_judgment(str(number), order, verdict, row.output)
        group = _group(prompt, test, number)
        yield Decision(str(number), verdict, (judgment,), None, None, group, {"scenario": prompt.scenario})


def recorded_cases(path: Path) -> Iterator[Case]:
    """The pairs of critiques, where the critic's own stand beside the comparisons: those of Auto-J do."""
    file = one_file(path, "*-Eval_*.jsonl", "data/outputs/*-Eval_*.jsonl")
    critic = file.with_name(CRITIC)
    return load(critic) if "-Eval_auto-j_" in file.name and critic.is_file() else iter(())


def score(decisions: Iterable[Decision]) -> Scorecard:
    """The win rate of the first critique (GAIR-NLP/auto-j @2ae17a3, ``leaderboard/critique_eval.py``).

    Values are shares in [0, 1]; a tie is no win. Where the official code stops at a text without a verdict,
    it is no win either, and counted.
    """
    listed = demand(decisions, "autoj-critique")
    rows = grouped(listed, tuple(GROUPS))
    return scorecard(
        "autoj-critique",
        listed,
        headline=proportion(headline_name("win rate", len(listed), SIZE), _wins(listed)),
        groups=(proportion(group, _wins(members)) for group, members in rows.items()),
        statistics={"ties": sum(bool(d.verdict.scores) and winner(d.verdict.scores) is None for d in listed)},
        unresolved=UNRESOLVED,
    )


def _wins(decisions: Iterable[Decision]) -> list[bool]:
    return [winner(d.verdict.scores) == 0 for d in decisions]


def _verdict(text: str, order: Order) -> Verdict:
    """The one letter that the first line names, from slot order to the order of the case."""
    first = text.partition("\n")[0]
    named = [scores for letter, scores in _LETTERS.items() if letter in first]
    if len(named) != 1:
        return no_verdict(f"the first line names {'several letters' if named else 'no letter'}")
    return recorded_verdict(named[0], order)


def _group(row: _Prompt, file: Path, number: int) -> str:
    if row.scenario not in SCENARIOS:
        raise InputError(f"{file}, row {number}: scenario {row.scenario!r} is none of the 58")
    return SCENARIOS[row.scenario]


def _folder(path: Path) -> Path:
    for folder in (path, path / "data"):
        if (folder / "test" / PROMPTS).is_file():
            return folder
    raise missing(path, f"file {PROMPTS}", ("test", "data/test"), "GAIR-NLP/auto-j")


AUTOJ_CRITIQUE = Benchmark(
    name="autoj-critique",
    summary="232 critiques of responses, each against ChatGPT's: how often it is the better one (Auto-J)",
    source=SOURCE,
    unresolved=UNRESOLVED,
    load=load,
    score=score,
    recorded=recorded,
    recorded_cases=recorded_cases,
    files=on_github(
        "GAIR-NLP/auto-j",
        "2ae17a3",
        {f"data/{path}": (path, digest) for path, digest in SHA256.items()},
    ),
)
