"""What is printed: the right responses are named, foreign text moves no cursor, failures are said first."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from jurist.core.types import (
    Completion,
    Decision,
    Judgment,
    Query,
    Sampling,
    Scorecard,
    ScoreRow,
    Status,
    Verdict,
)
from jurist.reports.views.judgment import decision_view
from jurist.reports.views.scorecard import scorecard_view
from jurist.reports.views.style import Screen, borderless, duration, interval, signed, visible


def printed(view: object, width: int = 100) -> str:
    """What a view puts on a terminal that knows no colours."""
    file = io.StringIO()
    Screen(file=file, width=width, color_system=None).print(view)
    return file.getvalue()


def judgment(order: tuple[int, ...], scores: tuple[float, ...] | None, text: str = "because") -> Judgment:
    verdict = Verdict(scores) if scores else Verdict(status=Status.FAILED, note="HTTP 401: bad key")
    return Judgment(Query("1", order, 0, (), Sampling()), Completion(text), verdict)


def test_the_winner_of_a_match_is_named_by_its_place_in_the_case():
    # Response 4 was shown as A, response 2 as B; the verdict's scores are in ascending order of the case.
    decision = Decision("1", Verdict((0, 0, 0, 1)), (judgment((3, 1), (0.0, 1.0)),))
    text = printed(decision_view(decision))
    assert "A = response 4, B = response 2" in text
    assert "verdict  response 4 (1.00)" in text


def test_a_rating_says_which_response_it_rates():
    decision = Decision("1", Verdict((3, 7, 5)), (judgment((1,), (7.0,)),))
    assert "judgment  of response 2" in printed(decision_view(decision))


def test_a_rating_of_the_only_response_is_a_rating():
    decision = Decision("1", Verdict((7,)), (judgment((0,), (7.0,)),))
    assert "verdict  rating 7.00" in printed(decision_view(decision))


def test_all_slots_of_a_listwise_judgment_are_told():
    decision = Decision("1", Verdict(tuple(range(12))), (judgment(tuple(range(12)), tuple(range(12))),))
    text = printed(decision_view(decision), width=400)
    assert "H = response 8, I = response 9" in text
    assert "L = response 12" in text


HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold]x[/red] [/INST] \x9b31m\u202eabc\ud800 :smile:"


@pytest.mark.parametrize("place", ["text", "cell", "title", "plain"])
def test_foreign_text_is_printed_visibly(place: str):
    table = Table(box=None)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    view = {"text": Text(HOSTILE), "cell": table, "title": borderless(HOSTILE, title=True), "plain": HOSTILE}
    shown = printed(view[place], width=300)
    assert not set(shown) & {"\x1b", "\x07", "\x9b", "\u202e", "\ud800"}
    for part in (r"\x1b[2J", "[bold]x[/red] [/INST]", r"\u202eabc\ud800", ":smile:"):
        assert part in shown


@given(st.text(alphabet=st.characters(codec=None)))
def test_visible_text_can_always_be_written(text: str):
    shown = visible(text)
    shown.encode()
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in shown)
    assert visible(shown) == shown


def test_numbers_are_printed_in_one_way():
    assert interval((0.5291, 0.978)) == "52.9% to 97.8%"
    assert interval(None) == ""
    assert [signed(x) for x in (0.123, -0.123, 0.0001, -0.0001)] == ["+12.3", "−12.3", "0.0", "0.0"]
    assert [duration(x) for x in (0.421, 32.4, 318, 7560)] == ["0.42 s", "32 s", "5.3 min", "2.1 h"]


def test_a_run_in_which_nothing_was_answered_has_no_headline():
    card = Scorecard("pairs", ScoreRow("overall", 0.0, 3, (0.0, 0.56)), statuses={"failed": 3, "unparsed": 1})
    text = printed(scorecard_view(card))
    assert "no score: none of 4 judgments has a verdict" in text
    assert "0.00%" not in text


def test_records_are_printed_in_one_line():
    decision = Decision("7", Verdict((0, 0, 0, 1)), (judgment((3, 1), (0.0, 1.0)),), 1.0, (0, 0, 0, 1))
    assert repr(decision) == (
        "Decision(case '7': prefers 3, scores (0, 0, 0, 1), judgments 1, 100% agree, gold (0, 0, 0, 1))"
    )
    assert repr(decision.judgments[0]) == "Judgment(case '1', shown 3, 1: prefers 3, scores (0, 1))"
    assert repr(judgment((0, 1), None)) == "Judgment(case '1', shown 0, 1: no verdict, failed)"
    card = Scorecard("pairs", ScoreRow("overall", 0.5, 8, (0.2, 0.8)), statuses={"ok": 7, "failed": 1})
    assert repr(card) == "Scorecard(pairs: 50.00% of 8 (20.0% to 80.0%); judgments: 7 ok, 1 failed)"
    assert repr(Scorecard("pairs")) == "Scorecard(pairs: no score)"


def test_no_color_leaves_no_escape(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    file = io.StringIO()
    Screen(file=file, force_terminal=True).print(Text("bold", style="bold red"))
    assert file.getvalue() == "bold\n"
