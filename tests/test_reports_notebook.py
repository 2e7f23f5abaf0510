"""What a notebook shows of decisions, judgments and scorecards, and decisions as a data frame."""

import asyncio
import sys
import threading
from html.parser import HTMLParser
from types import ModuleType, SimpleNamespace

import pytest

import jurist
from jurist import api
from jurist.core import html
from jurist.core.errors import InputError, MissingExtraError
from jurist.core.types import (
    Completion,
    Decision,
    Judgment,
    Query,
    Sampling,
    Scorecard,
    ScoreRow,
    Status,
    Usage,
    Verdict,
)
from jurist.reports.views import progress

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\" ' \u202e\ud800 $x$ </pre></details>"
TAGS = {"div", "strong", "bdi", "table", "tr", "th", "td", "details", "summary", "pre"}


class Tags(HTMLParser):
    """The tags of a page, its attributes, and whether each is closed in turn."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def judgment(text: str = "because", thinking: str | None = None) -> Judgment:
    query = Query("1", (1, 0), 0, (), Sampling())
    return Judgment(query, Completion(text, thinking, usage=Usage(10, 5), seconds=0.5), Verdict((0.0, 1.0)))


def decision(scores: tuple[float, ...] | None, gold: tuple[float, ...] | None = None) -> Decision:
    verdict = Verdict(scores) if scores else Verdict(status=Status.UNPARSED, note="no label")
    return Decision("1", verdict, (judgment(), judgment("since")), 1.0, gold, "math", {"task": "a"})


@pytest.mark.parametrize(
    ("scores", "gold", "winner", "right"),
    [
        ((0.0, 1.0), (0.0, 1.0), 1, True),
        ((0.0, 1.0), (1.0, 0.0), 1, False),
        ((0.5, 0.5), (1.0, 0.0), None, False),
        ((0.5, 0.5), (0.5, 0.5), None, True),
        ((0.0, 1.0), None, 1, None),
        (None, (1.0, 0.0), None, None),
        ((4.0,), (4.0,), None, None),
        ((0.1, 0.2, 0.7, 0.0), (0.0, 1.0, 1.0, 0.0), 2, True),
    ],
)
def test_winner_and_right_of_a_decision(
    scores: tuple[float, ...] | None, gold: tuple[float, ...] | None, winner: int | None, right: bool | None
):
    made = decision(scores, gold)
    assert (made.winner, made.right) == (winner, right)
    assert made.reasons == ("because", "since")


def test_a_decision_in_a_notebook():
    page = Tags(decision((0.0, 1.0), (1.0, 0.0))._repr_html_())  # pyright: ignore[reportPrivateUsage]
    assert not page.open
    assert "case 1: prefers 1, scores (0, 1), wrong" in page.text
    assert "responsescoregold001110" in page.text
    assert "because" in page.text
    assert "since" in page.text


def test_a_decision_without_a_verdict_in_a_notebook():
    page = Tags(decision(None, (1.0, 0.0))._repr_html_())  # pyright: ignore[reportPrivateUsage]
    assert "no verdict, unparsed" in page.text
    assert "responsescoregold0110" in page.text


def test_scores_of_a_judgment_stand_by_their_responses():
    query = Query("1", (3, 1), 0, (), Sampling())
    made = Judgment(query, Completion("text", "thought"), Verdict((0.2, 0.8)))
    page = Tags(made._repr_html_())  # pyright: ignore[reportPrivateUsage]
    assert "shown 3, 1: prefers 3" in page.text
    assert "responsescore10.230.8" in page.text
    assert "thought" in page.text


def test_a_scorecard_in_a_notebook():
    row = ScoreRow("accuracy", 0.75, 1200, (0.7, 0.8))
    card = Scorecard("pairs", row, (ScoreRow("math", 0.5, 2),), statuses={"ok": 3, "failed": 1})
    page = Tags(card._repr_html_())  # pyright: ignore[reportPrivateUsage]
    for part in ("pairs", "accuracy75.00%70.0% to 80.0%1,200", "math50.00%", "judgments: 3 ok, 1 failed"):
        assert part in page.text
    assert "no score" in Scorecard("none", reasons={"failed: HTTP 401": 2})._repr_html_()  # pyright: ignore


@pytest.mark.parametrize("kind", ["decision", "judgment", "scorecard"])
def test_foreign_texts_are_inert_in_a_notebook(kind: str):
    query = Query(HOSTILE, (0, 1), 0, (), Sampling())
    made = {
        "judgment": Judgment(query, Completion(HOSTILE, HOSTILE), Verdict((0.0, 1.0))),
        "decision": Decision(HOSTILE, Verdict((0.0, 1.0)), (judgment(HOSTILE),), gold=(0.0, 1.0)),
        "scorecard": Scorecard(
            HOSTILE, ScoreRow(HOSTILE, 0.5, 2), statuses={HOSTILE: 1}, reasons={HOSTILE: 1}
        ),
    }[kind]
    text = made._repr_html_()
    page = Tags(text)
    assert page.tags <= TAGS
    assert page.attributes <= {"style", "class"}
    assert not page.open
    assert "<script>alert(1)" in page.text
    text.encode()


def test_long_things_are_short_in_a_notebook():
    many = Decision(
        "1", Verdict(tuple(map(float, range(300)))), tuple(judgment("x" * 9000) for _ in range(50))
    )
    page = many._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert len(page) < 20 * (html.MOST_LETTERS + 1000)
    for part in ("and 280 more", "and 5,000 more characters", "and 30 more judgments"):
        assert part in page


def test_decisions_become_a_frame():
    pyarrow = pytest.importorskip("pyarrow")
    four = Decision("2", Verdict((0.1, 0.2, 0.7, 0.0)), gold=None)
    table = jurist.to_frame(d for d in (decision((0.0, 1.0), (1.0, 0.0)), four, decision(None, (1.0, 0.0))))
    assert table.num_rows == 3
    rows = table.to_pylist()
    assert rows[0] == {
        "case_id": "1", "group": "math", "status": "ok", "note": None, "winner": 1, "right": False,
        "agreement": 1.0, "judgments": 2, "prompt_tokens": 20, "completion_tokens": 10, "seconds": 1.0,
        "reasons": "because\n\nsince", "meta": '{"task":"a"}', "score_0": 0.0, "score_1": 1.0,
        "score_2": None, "score_3": None, "gold_0": 1.0, "gold_1": 0.0,
    }  # fmt: skip
    assert (rows[1]["winner"], rows[1]["right"], rows[1]["reasons"], rows[1]["score_3"]) == (2, None, None, 0)
    assert (rows[2]["status"], rows[2]["right"], rows[2]["score_0"]) == ("unparsed", None, None)
    empty = jurist.to_frame([])
    assert empty.num_rows == 0
    assert empty.schema.field("right").type == pyarrow.bool_()
    assert jurist.to_frame([decision(None)]).schema.field("winner").type == pyarrow.int64()


def test_a_frame_is_one_for_pandas_and_polars():
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    table = jurist.to_frame([decision((0.0, 1.0), (1.0, 0.0)), decision((1.0, 0.0), (1.0, 0.0))])
    frame = table.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.groupby("group")["right"].mean()["math"] == 0.5
    polars = pytest.importorskip("polars")
    assert polars.from_arrow(table)["right"].to_list() == [False, True]


def test_a_frame_says_what_it_needs(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="takes decisions, not str"):
        jurist.to_frame(["a"])  # pyright: ignore[reportArgumentType]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"jurist\[parquet\]"):
        jurist.to_frame([])


def kernel(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a kernel would show: IPython's display, recorded."""
    shown: list[str] = []

    class Handle:
        def update(self, page: str) -> None:
            shown.append(page)

    def display(page: str, display_id: bool) -> Handle:
        assert display_id
        shown.append(page)
        return Handle()

    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # pyright: ignore[reportAttributeAccessIssue]
    pictures = ModuleType("IPython.display")
    pictures.display, pictures.HTML = display, str  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", pictures)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    return shown


def test_a_notebook_shows_a_bar_while_many_cases_are_judged(monkeypatch: pytest.MonkeyPatch):
    shown = kernel(monkeypatch)
    rows = [{"prompt": "q", "responses": ["a", "b"], "gold": 0} for _ in range(5)]
    jurist.judge_all(rows, engine="scripted:<answer>[[A]]</answer>")
    page = Tags(shown[-1])
    assert not page.open
    assert "5 of 5 decided" in page.text
    assert 'aria-valuenow="100"' in shown[-1]
    shown.clear()
    jurist.judge_all(rows, engine="scripted:<answer>[[A]]</answer>", progress=False)
    assert not shown


async def test_a_running_loop_goes_on_beside_a_call_in_a_thread():
    rows = [{"prompt": "q", "responses": ["a", "b"]} for _ in range(500)]
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    beating = asyncio.create_task(beat())
    found = await asyncio.to_thread(jurist.judge_all, rows, engine="scripted:<answer>[[A]]</answer>")
    beating.cancel()
    assert len(found) == 500
    assert beats > 10


async def test_an_interrupt_ends_what_runs_beside_a_running_loop(monkeypatch: pytest.MonkeyPatch):
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")

    joined = threading.Thread.join
    first = iter([True])

    def interrupted(self: threading.Thread, timeout: float | None = None) -> None:
        if next(first, False):
            raise KeyboardInterrupt
        joined(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        api._wait(slow())  # pyright: ignore[reportPrivateUsage]
    assert ended == ["cancelled"]
