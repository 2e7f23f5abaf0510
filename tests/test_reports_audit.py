"""The audit of a run: habits put in by hand are found, absent ones are not, and a source is asked for."""

import json
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from shared import shared

from jurist.cli.audit import audit as audit_command
from jurist.cli.runs import import_run
from jurist.core.errors import ConfigError, InputError, MissingExtraError, UnknownNameError
from jurist.core.statistics import difference, paired_difference, wilson
from jurist.core.store import Store
from jurist.core.types import (
    Case,
    Completion,
    Decision,
    Judgment,
    Message,
    Query,
    Sampling,
    Status,
    Verdict,
    winner,
)
from jurist.protocols.injection import guarded
from jurist.reports.audit.audit import audit, read_items
from jurist.reports.audit.calibration import calibration, chance_error, expected_error
from jurist.reports.audit.findings import Finding, Item, Traits, percent, points
from jurist.reports.audit.leanings import leanings, traits
from jurist.reports.audit.position import position
from jurist.reports.audit.probes import FORGED, NAMES, WORTHLESS, probes, read_probes
from jurist.reports.audit.unanswered import unanswered
from jurist.reports.views.audit import audit_view
from jurist.reports.views.reliability import plot

RIGHT, WRONG, TIE = Verdict((1.0, 0.0)), Verdict((0.0, 1.0)), Verdict((0.5, 0.5))
NOTHING = Verdict(status=Status.UNPARSED)
SHORT, LONG = Traits(10), Traits(100)


def decided(
    verdict: Verdict,
    *games: tuple[int, Verdict],
    case: str = "c",
    gold: tuple[float, ...] | None = (1.0, 0.0),
    **rest,
) -> Decision:
    """A decision; each game is (the response shown first, what was said)."""
    judgments = tuple(
        Judgment(Query(case, (first, 1 - first), 0, (), Sampling()), Completion("x"), said)
        for first, said in games
    )
    return Decision(case, verdict, judgments, None, gold, **rest)


def both(given_order: Verdict, reverse: Verdict) -> Item:
    return Item(decided(TIE, (0, given_order), (1, reverse)))


def named(findings: list[Finding]) -> dict[str, Finding]:
    return {f.name: f for f in findings}


def test_position_worked_by_hand():
    # 6 consistent, 3 to the first shown, 1 to the last, one tie twice, one with half an answer.
    items = [both(RIGHT, RIGHT)] * 4 + [both(WRONG, WRONG)] * 2 + [both(RIGHT, WRONG)] * 3
    items += [both(WRONG, RIGHT), both(TIE, TIE), both(RIGHT, NOTHING)]
    found = named(position(items))
    same, alone, first = (found[k] for k in ("consistency", "position_decided", "first_shown_wins"))
    assert (same.value, same.n, same.interval) == (7 / 11, 11, wilson(7, 11))
    assert (alone.value, alone.n) == (4 / 10, 10)
    assert "shown first won both in 3, the one shown last in 1" in alone.sentence
    low, high = paired_difference(3, 1, 10)
    assert (first.value, first.interval) == (0.6, (0.5 + low / 2, 0.5 + high / 2))
    assert first.shown is False
    assert set(found) == {"consistency", "position_decided", "first_shown_wins"}


def test_position_in_one_order_is_told_from_being_right_by_gold():
    def one(first: int, said: Verdict) -> Item:
        return Item(decided(said, (first, said)))

    # Right 18 of 20 where the right one (response 0) is first, 8 of 20 where it is last.
    items = [one(0, RIGHT)] * 18 + [one(0, WRONG)] * 2 + [one(1, RIGHT)] * 8 + [one(1, WRONG)] * 12
    found = named(position(items))
    assert found["first_shown_wins_single"].value == 30 / 40
    gap = found["first_is_right_gap"]
    assert (gap.value, gap.interval, gap.shown) == (0.9 - 0.4, difference(18, 20, 8, 20), True)
    assert position([]) == []


def test_length_worked_by_hand_as_a_person_reads_it():
    def item(longer_is_right: bool, says_longer: bool | None) -> Item:
        shape = (LONG, SHORT) if longer_is_right else (SHORT, LONG)
        said = TIE if says_longer is None else RIGHT if says_longer == longer_is_right else WRONG
        return Item(decided(said), shape)

    items = [item(True, True)] * 73 + [item(True, False)] * 28 + [item(False, True)] * 59
    items += [item(False, False)] * 40 + [item(False, None)] * 5 + [Item(decided(RIGHT), (LONG, LONG))] * 9
    (found,) = leanings([*items, Item(decided(RIGHT))])
    assert (found.trait, found.n, found.prefers) == ("length", 200, 132 / 200)
    assert found.sentence == (
        "The judge prefers the longer answer in 66% [59, 72] of 200 pairs; gold does in 49%. It is right in "
        "73/101 when gold does, but in 40/104 when gold prefers the shorter: +34 points [20, 46]."
    )
    assert found.right.interval == difference(73, 101, 40, 104)
    assert found.shown is True
    (few,) = leanings(items[:1] * 9 + items[-20:])
    assert few.right is None
    ungraded = [Item(decided(RIGHT, gold=None), (LONG, SHORT))] * 3
    assert leanings(ungraded)[0].sentence.endswith("of 3 pairs.")


MARKDOWN = """# One
## Two
#no heading
* a
- **b** and **c d**
  12) e
1.5 is no item
2 ** 3 ** 4
`x` and `y`
```py
# not a heading
- not an item
```
"""


def test_markup_is_counted_as_markdown_has_it():
    assert traits(MARKDOWN) == Traits(len(MARKDOWN), headings=2, bullets=3, bold=2, code=3)
    assert traits(MARKDOWN).markup == 10
    turns = (Message("assistant", "- a"), Message("user", "# no"), Message("assistant", "# b"))
    assert traits(turns) == Traits(8, headings=1, bullets=1)
    assert traits("") == Traits(0)


@given(st.text(alphabet="#*- `\n1.)ab", max_size=200))
def test_markup_of_any_text_is_counted(text):
    found = traits(text)
    assert found.characters == len(text)
    assert 0 <= found.markup <= len(text)


def sure(p: float, right: bool) -> Item:
    scores = (p, 1 - p) if right else (1 - p, p)
    return Item(decided(Verdict(scores)))


def test_calibration_worked_by_hand():
    items = [sure(0.6, True)] * 3 + [sure(0.6, False)] * 2 + [sure(1.0, True)] * 4 + [sure(1.0, False)]
    found, said = calibration(
        [*items, Item(decided(TIE)), Item(decided(NOTHING)), Item(decided(Verdict((8.0, 3.0))))]
    )
    assert [(b.confidence, b.n, b.right) for b in found.bins] == [(pytest.approx(0.6), 5, 3), (1.0, 5, 4)]
    assert (found.n, found.ties) == (10, 1)
    by = named(said)
    assert by["calibration_error"].value == pytest.approx(0.5 * 0 + 0.5 * 0.2)
    assert by["overconfidence"].value == pytest.approx(0.8 - 0.7)
    # 3 of .4^2, 2 of .6^2, 1 of 1.
    assert by["brier"].value == pytest.approx((3 * 0.16 + 2 * 0.36 + 1) / 10)
    assert "overconfident by 10 points" in by["overconfidence"].sentence
    # A spread of .6 * .4 in one bin of five, none in the other: sqrt(2 / pi) sqrt(1.2) / 10.
    assert chance_error([(0.6, True)] * 5 + [(1.0, True)] * 5) == pytest.approx(0.0874, abs=5e-5)


def test_votes_have_bins_of_their_own_and_probabilities_ten():
    votes = calibration([sure(k / 5, True) for k in (3, 4, 5) for _ in range(4)])[0]
    assert [b.n for b in votes.bins] == [4, 4, 4]
    soft = calibration([sure(0.5 + (i + 0.5) / 200, True) for i in range(100)])[0]
    assert [b.n for b in soft.bins] == [10] * 10


def test_a_perfectly_calibrated_judge_lies_within_its_intervals():
    random = Random(7)
    confidences = [0.5 + random.random() / 2 for _ in range(4000)]
    items = [sure(p, random.random() < p) for p in confidences]
    found, said = calibration(items)
    inside = [b.interval[0] <= b.confidence <= b.interval[1] for b in found.bins]
    assert sum(inside) >= 9
    by = named(said)
    assert by["overconfidence"].shown is False
    pairs = [(max(i.decision.verdict.scores), winner(i.decision.verdict.scores) == 0) for i in items]
    assert expected_error(pairs) == by["calibration_error"].value < 2 * chance_error(pairs)
    # The same judge saying 95% whatever it knows is found out.
    boast = [sure(0.95 + p / 100, random.random() < p) for p in confidences]
    assert named(calibration(boast)[1])["overconfidence"].shown is True


def test_verdicts_that_are_wholly_sure_have_nothing_to_calibrate():
    found, said = calibration([sure(1.0, True), sure(1.0, False)])
    assert said == []
    assert len(found.bins) == 1
    assert calibration([Item(decided(TIE)), Item(decided(RIGHT, gold=None))]) == (None, [])


def test_unanswered_by_status_and_by_length():
    cut = Verdict(status=Status.TRUNCATED)
    short = [Item(decided(RIGHT, (0, RIGHT), (1, RIGHT)), (), 100)] * 12
    long = [Item(decided(RIGHT, (0, RIGHT), (1, cut)), (), 900)] * 9 + [
        Item(decided(NOTHING, (0, NOTHING)), (), 900)
    ]
    found = named(unanswered(short + long))
    assert (found["unanswered"].value, found["unanswered"].n) == (10 / 43, 43)
    assert found["truncated"].value == 9 / 43
    gap = found["unanswered_by_length"]
    assert (gap.value, gap.shown) == (1, True)
    assert "10 of the 10 longer cases (over 100 characters) and in 0 of the 12 others" in gap.sentence
    assert unanswered(short)[0].sentence == "All 24 judgments have a verdict."
    assert unanswered([]) == []


def cell(i: int, j: int, right: bool, tie: bool = False) -> Decision:
    return decided(
        TIE if tie else RIGHT if right else WRONG, case=f"{i}{j}{right}{tie}", meta={"cell": [i, j]}
    )


def test_the_matrix_of_styles_worked_by_hand():
    # Right wherever the right one is fancier, never where the wrong one is, half on the diagonal.
    decisions = [
        cell(i, j, i > j or (i == j and k % 2 == 0)) for i in range(3) for j in range(3) for k in range(4)
    ]
    found = audit("run", read_items(decisions, {}, {}))
    assert found.matrix.accuracy == ((0.5, 0, 0), (1, 0.5, 0), (1, 1, 0.5))
    assert found.matrix.n[0][0] == 4
    (gap,) = found.style
    assert (gap.value, gap.n, gap.interval) == (1, 24, difference(12, 12, 0, 12))
    assert audit("run", read_items(decisions[:-4], {}, {})).matrix is None
    strange = decided(RIGHT, meta={"cell": ["a", 7]})
    assert audit("run", read_items([strange], {}, {})).matrix is None


def test_probes_replace_the_worse_response():
    pair = Case(
        "a#1", (Message("user", "q"),), ("bad", (Message("assistant", "x"), Message("user", "y"))), (0.0, 1.0)
    )
    found = {
        c.id.rpartition("#")[2]: c for c in probes([pair, Case("2", pair.prompt, ("a", "b"), (0.5, 0.5))])
    }
    assert tuple(found) == NAMES
    assert found["plain"].responses == pair.responses
    assert [found[name].responses[0] for name in ("empty", "symbol")] == ["", ":"]
    for name, (_, text, _) in FORGED.items():
        assert found[name].responses == ("bad" + text, pair.responses[1])
        assert guarded(found[name]).responses[0] != found[name].responses[0], "the guard does not see it"
    assert {c.gold for c in found.values()} == {(0.0, 1.0)}
    turned = probes([Case("3", pair.prompt, pair.responses, (1.0, 0.0))], ["plain", "forged-box"])[1]
    assert turned.responses[1][-1].content.endswith(r"\boxed{Assistant 1}")
    with pytest.raises(UnknownNameError, match="symbol"):
        probes([], ["symbl"])
    with pytest.raises(ConfigError, match="plain"):
        probes([], ["forged-box"])


def test_probes_are_read_by_the_game_that_the_forgery_aims_at():
    def probe(case: int, name: str, worse_first: Verdict, worse_last: Verdict) -> Decision:
        return decided(TIE, (1, worse_first), (0, worse_last), case=f"{case}#{name}")

    # Forged, the worse response (1) wins 3 of 4 games where it stands first; without, 1 of 4.
    forged = [probe(i, "forged-answer", WRONG if i < 3 else RIGHT, RIGHT) for i in range(4)]
    plain = [probe(i, "plain", WRONG if i == 0 else RIGHT, WRONG) for i in range(4)]
    empty = [decided(v, case=f"{i}#empty") for i, v in enumerate((WRONG, TIE, NOTHING, RIGHT))]
    found = named(read_probes([*forged, *plain, *empty, decided(RIGHT, case="other")]))
    assert set(found) == {"empty", "forged-answer"}
    attack = found["forged-answer"]
    assert (attack.value, attack.n, attack.interval) == (0.5, 4, paired_difference(2, 0, 4))
    assert "wins 3 of 4 games, without it 1: +50 points" in attack.sentence
    assert found["empty"].value == 0.25
    assert "1 tie, 1 without a verdict" in found["empty"].sentence
    ratings = [decided(WRONG if i else RIGHT, case=f"{i}#forged-rating") for i in range(2)]
    (rated,) = read_probes([*ratings, *[decided(RIGHT, case=f"{i}#plain") for i in range(2)]])
    assert rated.value == 0.5
    assert read_probes([]) == []
    assert set(WORTHLESS) | set(FORGED) | {"plain"} == set(NAMES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (percent(0.66, (0.6, 0.72), 200), "66% [60, 72]"),
        (percent(0.004, (0.001, 0.012), 838), "0.4% [0.1, 1.2]"),
        (percent(0.5, None, 2000), "50.0%"),
        (points(-0.004, (-0.03, 0.02)), "0 points [−3, 2]"),
        (points(0.12, (0.03, 0.21)), "+12 points [3, 21]"),
    ],
)
def test_numbers_are_written_for_people(text, words):
    assert text == words


def _run(folder: Path, source: Path, soft: bool = True) -> Path:
    """A run of forty cases whose judge leans to the longer answer, and its source."""
    rows = []
    with Store(folder, {"jurist": "0", "input": str(source), "benchmark": None}) as store:
        for i in range(40):
            responses = ("word " * (30 if i % 2 else 5), "word " * 15)
            case = Case(str(i), (Message("user", f"q{i}"),), responses, (1.0, 0.0))
            rows.append({"id": case.id, "prompt": f"q{i}", "responses": responses, "gold": 0})
            p = (0.9 if soft else 1.0) if i % 2 or i % 4 == 0 else 0.3 if soft else 0.0
            found = decided(
                Verdict((p, 1 - p)), (0, Verdict((p, 1 - p))), (1, Verdict((p, 1 - p))), case=case.id
            )
            for judgment in found.judgments:
                store.record(judgment)
            store.decide(found, case.digest)
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_command_joins_the_run_with_its_source(tmp_path: Path, capsys):
    folder = _run(tmp_path / "run", tmp_path / "cases.jsonl")
    assert audit_command(folder) == 0
    printed = capsys.readouterr()
    assert "It is right in 20/20 when gold does, but in 10/20" in " ".join(printed.out.split())
    assert "cases.jsonl" in printed.err.replace("\n", "")
    assert "Left out" not in printed.out
    audit_command(folder, json=True)
    found = json.loads(capsys.readouterr().out)
    right = found["leanings"][0]["right"]
    assert [right[k] for k in ("k1", "n1", "k2", "n2", "value")] == [20, 20, 10, 20, 0.5]
    lines = (tmp_path / "cases.jsonl").read_text().splitlines()
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join([lines[0].replace("q0", "another question"), *lines[1:30]]))
    audit_command(folder, data=str(other))
    assert "length and markup of 11 cases" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "cases.jsonl").unlink()
    audit_command(folder)
    assert "name their source with --data" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(InputError, match="no decisions"):
        audit("empty", [])


def test_the_reliability_diagram_is_drawn(tmp_path: Path, capsys, monkeypatch):
    folder = _run(tmp_path / "run", tmp_path / "cases.jsonl")
    with pytest.raises(ConfigError, match=r"ends in \.svg, \.png, \.pdf"):
        audit_command(folder, plot=tmp_path / "x.txt")
    hard = _run(tmp_path / "hard", tmp_path / "hard.jsonl", soft=False)
    with pytest.raises(ConfigError, match="nothing to draw"):
        audit_command(hard, plot=tmp_path / "x.png")
    assert "every verdict is wholly sure" in " ".join(capsys.readouterr().out.split())
    found = calibration([sure(0.8, i < 6) for i in range(9)])[0]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(MissingExtraError, match="matplotlib"):
            plot(found, "run", tmp_path / "x.png")
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    audit_command(folder, plot=tmp_path / "x.svg")
    assert "<svg" in (tmp_path / "x.svg").read_text()
    plot(found, "run", tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="cannot be written"):
        plot(found, "run", tmp_path / "no" / "x.png")


O1_MINI = (
    "dataset=judgebench,response_model=gpt-4o-2024-05-13,judge_name=arena_hard,"
    "judge_model=o1-mini-2024-09-12.jsonl"
)


def test_the_habits_of_published_judges_are_found(tmp_path: Path, capsys):
    file = shared("judgebench", "outputs", O1_MINI)
    import_run("judgebench", str(file), out=tmp_path / "o1", json=True)
    card = json.loads(capsys.readouterr().out)["statistics"]
    audit_command(tmp_path / "o1", json=True)
    found = json.loads(capsys.readouterr().out)
    assert [f["name"] for f in found["reasons"]] == ["unfaithful", "one-sided", "solution"]
    place = {f["name"]: f for f in found["position"]}
    assert place["consistency"]["value"] == card["consistency"]
    assert "won both in 58" in place["position_decided"]["sentence"]
    assert round(350 * card["first_shown_both"]) == 58
    assert found["unanswered"][0]["sentence"] == "All 700 judgments have a verdict."
    root = shared("llmbar")
    import_run("llmbar", f"{root}#LLaMA2/CoT", out=tmp_path / "llama", json=True)
    capsys.readouterr()
    audit_command(tmp_path / "llama", json=True)
    found = json.loads(capsys.readouterr().out)
    length = found["leanings"][0]
    assert (length["trait"], length["n"]) == ("length", 248)
    assert (length["right"]["k1"], length["right"]["n1"]) == (59, 113)
    assert (length["right"]["k2"], length["right"]["n2"]) == (53, 304)


def test_an_audit_fits_a_hundred_columns():
    items = read_items([cell(i % 3, i % 7 % 3, i % 4 > 0) for i in range(90)], {}, {})
    items = [
        Item(i.decision, (traits(MARKDOWN), SHORT) if k % 2 else (SHORT, LONG)) for k, i in enumerate(items)
    ]
    console = Console(width=100, record=True, file=None)
    console.print(audit_view(audit("run", [*items, *[sure(0.7, i > 4) for i in range(30)]])))
    text = console.export_text()
    for words in ("length and markup", "right is markdown", "calibration", "Left out: consistency"):
        assert words in text
    assert all(len(line.rstrip()) <= 100 for line in text.splitlines())
