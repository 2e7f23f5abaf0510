"""The report: what is collected, what the page lets through, and the page itself in a browser."""

import json
import re
import shutil
import threading
import time
import urllib.error
import urllib.request
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from make import A_WINS, B_WINS, case, decide, write_pairs
from pair_protocols import PAIRS

from jurist.cli.main import run as jurist
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
    Usage,
    Verdict,
)
from jurist.engines.scripted import ScriptedEngine
from jurist.judging import registry
from jurist.judging.judge import Judge
from jurist.reports.page.build import build
from jurist.reports.page.collect import collect
from jurist.reports.views.judgment import decision_view
from jurist.reports.views.style import Screen

CHAIN = (
    "<type>chat</type><rubric>1. Accuracy (60%): it is true\n2. Tone (40%): it is kind</rubric>"
    "<eval>Reply A says <quote_A>{a}</quote_A> and reply B says <quote_B>{b}</quote_B>.</eval>"
    "<answer>[[A]]</answer>"
)
HOSTILE = (
    '<script>window.hit=1</script><img src=x onerror="window.hit=1"> [a](javascript:window.hit=1) '
    "![b](http://127.0.0.1:9/x) "
    "</script></style><iframe src=http://127.0.0.1:9></iframe> \u2028 \x1b[31m \u202e"
)


def judged(
    one: Case, order: tuple[int, ...], text: str, scores: tuple[float, ...] | None, sample: int = 0
) -> Judgment:
    query = Query(one.id, order, sample, (Message("user", "Which?"),), Sampling())
    verdict = Verdict(scores) if scores else Verdict(None, Status.UNPARSED, "no verdict")
    return Judgment(query, Completion(text, usage=Usage(9, 5)), verdict)


def write_run(folder: Path, n: int = 3, flip: bool = False, text: str = CHAIN, hostile: str = "") -> Path:
    """n pairs: the first is right, the second flips with the order, the third is unanswered, and so on."""
    with Store(folder, {"engine": "scripted", "protocol": "rubrics", "deliberation": "swapped"}) as store:
        for i in range(n):
            one = case(f"c{i}", f"the good reply number {i} {hostile}", f"the bad reply number {i}")
            kind = (i + flip) % 3
            good, bad = one.responses[0], one.responses[1]
            made = text.format(a=str(good)[:22], b="words that nobody wrote") if text is CHAIN else text
            first = judged(one, (0, 1), made, (1.0, 0.0) if kind != 2 else None)
            swapped = {0: (1.0, 0.0), 1: (0.0, 1.0), 2: None}[kind]
            second = judged(one, (1, 0), CHAIN.format(a=str(bad)[:21], b=str(good)[:22]), swapped)
            verdict = (Verdict((1.0, 0.0)), Verdict((0.5, 0.5)), Verdict(None, Status.UNPARSED))[kind]
            store.begin(one)
            for judgment in (first, second):
                store.record(judgment)
            store.decide(
                Decision(one.id, verdict, (first, second), 1.0 if kind == 0 else 0.0, one.gold, f"g{i % 2}"),
                one.digest,
            )
    return folder


def test_what_a_case_shows_is_collected(tmp_path: Path):
    page = collect([write_run(tmp_path / "one")])
    cells = [c["runs"][0] for c in page.index["cases"]]
    assert [c["s"] for c in cells] == ["right", "tie", "unanswered"]
    assert [c.get("o") for c in cells] == [None, 1, None]
    assert cells[0]["f"] == ["quote"]
    assert cells[0]["k"] == "Chat"
    names = [f["name"] for f in page.index["runs"][0]["faithfulness"]]
    assert names[:2] == ["unfaithful", "quote"]
    assert page.index["runs"][0]["card"]["headline"]["n"] == 3


def test_a_page_holds_what_it_needs_and_lets_nothing_else_in(tmp_path: Path):
    html = build(
        collect([write_run(tmp_path / "one", hostile=HOSTILE)]), "a </title><script>alert(1)</script>"
    )
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert policy[1].count("sha256-") == 6
    assert "<script>alert(1)" not in html
    assert "window.hit" not in html
    index = re.search(r'id="index">(.*?)</script>', html, re.S)
    assert index
    assert json.loads(index[1])["title"] == "a </title><script>alert(1)</script>"
    assert not re.search(r'(?:src|href)="https?:', html)


def test_reports_are_the_same_twice(tmp_path: Path):
    folder = write_run(tmp_path / "one")
    assert build(collect([folder]), "t") == build(collect([folder]), "t")


def test_the_command_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = write_run(tmp_path / "one")
    assert jurist(["report", str(folder), "--out", str(tmp_path / "r.html"), "--price-out", "2"]) == 0
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert "jurist agree" in capsys.readouterr().err
    assert jurist(["report", str(tmp_path / "none"), "--out", str(tmp_path / "r.html")]) == 2


def test_labels_are_compared_with_the_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = write_run(tmp_path / "one", 30)
    rows = [{"id": f"c{i}", "gold": [1, 0] if i % 2 else 0} for i in range(28)] + [
        {"id": "zz", "gold": [0.5, 0.5]}
    ]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert jurist(["agree", str(folder), str(tmp_path / "labels.jsonl"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # Of 28 labelled cases 9 are unanswered; of the 19 others 10 are for the first, as is every label.
    assert (found["n"], found["unanswered"], found["unknown"]) == (19, 9, 1)
    assert found["agree"]["value"] == pytest.approx(10 / 19)
    assert found["kappa"] == pytest.approx(0.0)
    assert found["more"] > 300
    (tmp_path / "labels.jsonl").write_text('{"id": "c0", "gold": "first"}\n')
    assert jurist(["agree", str(folder), str(tmp_path / "labels.jsonl")]) == 2
    assert "labels.jsonl:1: gold" in capsys.readouterr().err


def test_a_training_shows_its_curves(tmp_path: Path):
    folder = tmp_path / "training"
    write_run(folder / "traces")
    lines = [{"step": i, "epoch": 0, "seconds": i, "reward": i / 9, "held_out/accuracy": 0.5,
              "held_out/low": 0.4, "held_out/high": 0.6} for i in range(9)]  # fmt: skip
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9, "rew'
    )
    curves = collect([folder]).index["runs"][0]["curves"]
    assert [c["name"] for c in curves] == ["reward", "held-out accuracy"]
    assert curves[1]["band"][0] == [0, 0.4, 0.6]


def test_the_live_page_is_for_this_machine_and_follows_the_run(tmp_path: Path):
    from jurist.reports.page.live import serve, stamp

    folder = write_run(tmp_path / "one")
    addresses: list[str] = []
    ready = threading.Event()

    def started(address: str) -> None:
        addresses.append(address)
        ready.set()

    threading.Thread(
        target=serve, args=([folder], lambda: f"page {stamp([folder])}", 0, started), daemon=True
    ).start()
    assert ready.wait(10)
    page = urllib.request.urlopen(addresses[0]).read()
    assert page == f"page {stamp([folder])}".encode()
    write_run(folder, 4)
    assert urllib.request.urlopen(addresses[0]).read() == f"page {stamp([folder])}".encode() != page
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(addresses[0], headers={"Host": "evil.example:80"}))


# --- in a browser ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("no chromium with chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    profile = tmp_path_factory.mktemp("chromium")
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--window-size=1300,900", f"--user-data-dir={profile}"):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def opened(browser: Any, folder: Path, runs: list[Path], at: str = "") -> None:
    path = folder / "page.html"
    path.write_text(build(collect(runs), "a report"))
    browser.get("about:blank")
    browser.get(f"{path.as_uri()}#/{at}")


def shown(browser: Any, selector: str) -> list[str]:
    return [e.text for e in browser.find_elements("css selector", selector)]


def until(what: Any, wanted: Any = None) -> Any:
    """What is found once there is something (or what is wanted); elements may go while they are read."""
    from selenium.common.exceptions import StaleElementReferenceException

    found: Any = None
    for _ in range(600):
        try:
            found = what()
        except StaleElementReferenceException:
            found = None
        if found and (wanted is None or found == wanted):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{wanted or 'it'} did not come, but {found}")


def press(browser: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    for key in keys:
        ActionChains(browser).send_keys(key).perform()


def errors(browser: Any) -> list[str]:
    return [line["message"] for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]


def test_filters_keys_links_and_labels_work_in_a_browser(browser: Any, tmp_path: Path):
    opened(browser, tmp_path, [write_run(tmp_path / "one", 60), write_run(tmp_path / "two", 60, flip=True)])
    assert "against one" in shown(browser, ".overview")[0]
    press(browser, "2")
    until(lambda: shown(browser, ".count"), ["20 of 60 cases"])
    press(browser, "\ue007")
    until(lambda: shown(browser, ".case h2"), ["c1"])
    assert browser.current_url.endswith("#/case/c1?f=tie")
    assert until(lambda: shown(browser, ".quote.missing small"))[0].endswith("does not occur there")
    assert shown(browser, "mark.quoted")
    press(browser, "j", "a")
    until(lambda: shown(browser, ".case h2"), ["c4"])
    assert "export 1 labels" in until(
        lambda: [t for t in shown(browser, ".mine .chip") if t.startswith("export")]
    )
    press(browser, "x")
    hidden = "The judge's verdict, its reasons and gold are hidden (x shows them)."
    until(lambda: shown(browser, ".case .note"), [hidden])
    assert not shown(browser, ".judgment")
    press(browser, "x", "0", "/")
    press(browser, "number 17")
    assert until(lambda: [t for t in shown(browser, ".count") if t == "1 of 60 cases"])
    browser.get(browser.current_url.partition("#")[0] + "#/case/c5?run=1")
    until(lambda: shown(browser, ".case h2"), ["c5"])
    assert not errors(browser)


@pytest.mark.parametrize("width", [390, 1300])
def test_only_the_rows_in_sight_are_in_the_page(browser: Any, tmp_path: Path, width: int):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        opened(browser, tmp_path, [write_run(tmp_path / "one", 300)], "cases")
        assert 5 < len(until(lambda: browser.find_elements("css selector", ".row"))) < 40
        browser.execute_script("document.querySelector('.list').scrollTop = 1e6")
        until(lambda: "c299" in " ".join(shown(browser, ".row b")))
        assert len(browser.find_elements("css selector", ".row")) < 40
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_code_without_fences_keeps_its_indentation(browser: Any, tmp_path: Path):
    code = (
        "def twice(x):\n    for _ in range(2):\n        x = __add__(x, x)\n\n    return x\n\nprint(twice(1))"
    )
    text = f"Here it is:\n{code}\nThat is all of it, *really*."
    with Store(tmp_path / "run", {}) as store:
        one = case("c", text, "import this, if you can")
        store.begin(one)
        store.decide(Decision("c", Verdict((1.0, 0.0))), one.digest)
    opened(browser, tmp_path, [tmp_path / "run"], "case/c")
    until(lambda: shown(browser, ".r0 pre"), [code])
    assert shown(browser, ".r0 em") == ["really"]
    assert not shown(browser, ".r1 pre")
    assert not errors(browser)


def test_ties_are_found_without_gold(browser: Any, tmp_path: Path):
    with Store(tmp_path / "run", {}) as store:
        for name, scores in (("a", (0.5, 0.5)), ("b", (1.0, 0.0)), ("c", None)):
            one = case(name, gold=None)
            store.begin(one)
            store.decide(
                Decision(name, Verdict(scores) if scores else Verdict(None, Status.UNPARSED)), one.digest
            )
    opened(browser, tmp_path, [tmp_path / "run"], "cases?f=tie")
    until(lambda: shown(browser, ".count"), ["1 of 3 cases"])


def write_knockout(folder: Path, n: int, deliberation: str = "knockout") -> Path:
    """A tournament in which the response of the highest number wins, by a judge that sees the numbers."""

    def script(query: Query) -> Completion:
        first, second = re.findall(r"number (\d+)", query.messages[-1].content)
        return Completion(A_WINS if int(first) > int(second) else B_WINS)

    one = case("cup", *(f"number {i}" for i in range(n)), gold=None)
    with Store(folder, {"deliberation": deliberation}) as store:
        store.begin(one)
        judge = Judge(PAIRS["rubrics"], ScriptedEngine(script), memory=store)
        store.decide(decide(judge, registry.deliberation(deliberation), one), one.digest)
    return folder


@pytest.mark.parametrize("n", [3, 6, 8])
def test_a_knockout_is_shown_as_its_bracket(browser: Any, tmp_path: Path, n: int):
    opened(browser, tmp_path, [write_knockout(tmp_path / "cup", n)], "case/cup")
    assert len(until(lambda: browser.find_elements("css selector", ".bracket .match"))) == n - 1
    names = [m.get_attribute("aria-label") for m in browser.find_elements("css selector", ".bracket .match")]
    final = next(name for name in names if f"round {(n - 1).bit_length()}:" in name)
    assert f"response {n} beat" in final
    for match in browser.find_elements("css selector", ".bracket .match"):
        winner, loser = map(int, re.findall(r"response (\d+)", match.get_attribute("aria-label")))
        assert winner > loser
    # A match shows its judgment, by the keyboard too.
    first = browser.find_elements("css selector", ".bracket .match")[-1]
    winner, loser = map(int, re.findall(r"response (\d+)", first.get_attribute("aria-label")))
    first.send_keys("\ue007")
    heading = until(lambda: shown(browser, ".judgment h4"))[0]
    assert {int(x) for x in re.findall(r"response (\d+)", heading)} == {winner, loser}
    assert not errors(browser)


def test_a_round_robin_has_a_table_and_no_bracket(browser: Any, tmp_path: Path):
    opened(browser, tmp_path, [write_knockout(tmp_path / "cup", 5, "round_robin")], "case/cup")
    assert until(lambda: shown(browser, ".matrix caption")) == ["wins of the row over the column"]
    assert not browser.find_elements("css selector", ".bracket")


def test_what_tokens_buy_is_drawn_for_a_curve_and_for_runs(browser: Any, tmp_path: Path):
    pairs = write_pairs(tmp_path / "pairs.jsonl", 12)
    jurist(["curve", str(pairs), "--engine", "scripted:<answer>[[A]]</answer>", "--policy", "vote({1,2,4})",
            "--policy", "swapped", "--out", str(tmp_path / "curve")])  # fmt: skip
    points = collect([tmp_path / "curve"]).index["runs"][0]["policies"]
    assert [p["name"] for p in points] == ["vote(1)", "vote(2)", "vote(4)", "swapped"]
    assert [p["x"] for p in points] == [1, 2, 4, 2]
    opened(browser, tmp_path, [tmp_path / "curve"])
    assert len(until(lambda: browser.find_elements("css selector", ".costs .mark"))) == 4
    assert "judgments a case" in browser.find_element("css selector", ".costs svg").text
    opened(browser, tmp_path, [write_run(tmp_path / "one", 6), write_run(tmp_path / "two", 6, flip=True)])
    assert len(until(lambda: browser.find_elements("css selector", ".costs .mark"))) == 2
    assert not errors(browser)


def test_hostile_texts_are_inert(browser: Any, tmp_path: Path):
    text = CHAIN.format(a=HOSTILE, b=HOSTILE) + HOSTILE
    opened(browser, tmp_path, [write_run(tmp_path / "one", text=text, hostile=HOSTILE)], "case/c0")
    assert until(lambda: shown(browser, ".response"))
    time.sleep(0.3)
    assert browser.execute_script("return window.hit") is None
    assert not browser.find_elements(
        "css selector", "main img, main iframe, main script, main a[href^='javascript']"
    )
    assert not errors(browser)


def test_a_response_of_two_megabytes_is_shown_in_part(browser: Any, tmp_path: Path):
    opened(browser, tmp_path, [write_run(tmp_path / "one", hostile="word " * 400_000)], "case/c0")
    assert "show all 2,000" in until(lambda: shown(browser, ".response button"))[0]
    assert not errors(browser)


def test_ratings_are_neither_right_nor_wrong(tmp_path: Path):
    with Store(tmp_path / "run", {}) as store:
        for name, scores in (("same", (4.0,)), ("other", (2.0,))):
            case = Case(name, (Message("user", "q"),), ("a",), gold=(4.0,))
            store.begin(case)
            store.decide(Decision(name, Verdict(scores), gold=(4.0,)), case.digest)
    cases = collect([tmp_path / "run"]).index["cases"]
    assert [case["runs"][0]["s"] for case in cases] == ["open", "open"]


@pytest.mark.parametrize(
    ("order", "verdict", "said"),
    [
        ((1,), Verdict((4.5,), via="logprobs"), ("of response 2", "mean of the ratings by their prob")),
        ((1, 0), Verdict((1.0, 0.0), via="logprobs"), ("A = response 2, B = response 1", "forced: read")),
        ((0, 1), Verdict((1.0, 0.0), via="choice"), ("A = response 1, B = response 2", "forced: a const")),
        ((0, 1), Verdict((1.0, 0.0), via="recorded"), ("A = response 1", "recorded by another program")),
    ],
)
def test_the_page_and_the_terminal_use_the_same_words(
    browser: Any, tmp_path: Path, order: tuple[int, ...], verdict: Verdict, said: tuple[str, str]
):
    with Store(tmp_path / "run", {}) as store:
        one = case("c0", "good", "bad")
        query = Query(one.id, order, 0, (Message("user", "Which?"),), Sampling())
        judgment = Judgment(query, Completion("because"), verdict)
        store.begin(one)
        store.record(judgment)
        store.decide(Decision(one.id, verdict, (judgment,), gold=one.gold), one.digest)
    screen = StringIO()
    terminal = Screen(file=screen, width=200, color_system=None)
    terminal.print(decision_view(Decision(one.id, verdict, (judgment,))))
    opened(browser, tmp_path, [tmp_path / "run"], "case/c0")
    (head,) = until(lambda: shown(browser, ".judgment h4"))
    (way,) = until(lambda: shown(browser, ".judgment .verdict"))
    assert said[0] in head
    assert said[0] in screen.getvalue()
    assert said[1] in way
    assert said[1] in screen.getvalue()
    assert not errors(browser)
