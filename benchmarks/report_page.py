"""How quick the report is at a size: the file, and the page in a headless Chromium with chromedriver.

    python benchmarks/report_page.py RUN --cases 10000

RUN is a folder of real judgments with their cases. Its cases are repeated under new ids, each text with a
number of its own; a block of 50 cases holds no case twice, so that gzip gains nothing. Printed are seconds of
building, bytes, seconds to the first paint, of filters, of the first and of another search, of opening a case
far down, and the memory of the page. ``..._cpu_s`` is what the page's main thread worked meanwhile, which
other work on the machine does not lengthen. Needs selenium.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from jurist.core.runs import open_run
from jurist.core.store import Store
from jurist.core.types import Case, Decision
from jurist.reports.page.build import build
from jurist.reports.page.collect import collect

FILTERS = ("wrong", "tie", "order", "low", "unfaithful", "right")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="keep the page here, and measure the one that is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = (options.keep or folder / "page.html").absolute()
        if not page.exists():
            print(json.dumps(make(options.run, folder, options.cases, page)), flush=True)
        print(json.dumps(measure(page, folder / "profile")))


def make(run: Path, folder: Path, n: int, page: Path) -> dict[str, Any]:
    """Write the page of an enlarged run; processor seconds of building it, and its size."""
    judgments = enlarge(run, folder / "run", n)
    started = time.process_time()
    html = build(collect([folder / "run"]), "a report")
    built = time.process_time() - started
    page.write_text(html, "utf-8", "replace")
    size = page.stat().st_size / 1e6
    return {"cases": n, "judgments": judgments, "build_cpu_s": round(built, 1), "file_mb": round(size, 1)}


def enlarge(run: Path, folder: Path, n: int) -> int:
    """A run of n cases out of the decisions of ``run``; returns how many judgments it holds."""
    judgments = 0
    with open_run(run) as opened:
        held = [(d, case) for d in opened.decisions() if (case := opened.case(d.case_id)) is not None]
        config = {k: v for k, v in opened.config.items() if k != "run_folder"}
        with Store(folder, config) as store:
            for i, (decision, case) in enumerate(_repeated(held, n)):
                again = _numbered(decision, i)
                one = replace(
                    case,
                    id=again.case_id,
                    prompt=tuple(replace(m, content=f"{i}. {m.content}") for m in case.prompt),
                )
                store.begin(one)
                for judgment in again.judgments:
                    store.record(judgment)
                    judgments += 1
                store.decide(again, one.digest)
    return judgments


def _repeated(held: list[tuple[Decision, Case]], n: int) -> Iterator[tuple[Decision, Case]]:
    for i in range(n):
        yield held[i % len(held)]


def _numbered(decision: Decision, i: int) -> Decision:
    name = f"{decision.case_id}-{i}"
    judgments = tuple(
        replace(
            judgment,
            query=replace(judgment.query, case_id=name),
            completion=replace(judgment.completion, text=f"{judgment.completion.text}\n(copy {i})"),
        )
        for judgment in decision.judgments
    )
    return replace(decision, case_id=name, judgments=judgments)


def measure(page: Path, profile: Path) -> dict[str, Any]:
    """Seconds and megabytes of the page in a browser; medians where a thing is done several times."""
    driver = browser(profile)
    try:
        facts: dict[str, float] = {}
        loads = [load(driver, page) for _ in range(3)]
        for name in ("first_paint_s", "list_there_s", "all_read_cpu_s"):
            facts[name] = statistics.median(one[name] for one in loads)
        facts["memory_mb"] = memory(driver)
        clicks = [timed(driver, f"location.hash = '#/cases?f={name}'") for name in FILTERS]
        facts |= {"filter_s": max(c[0] for c in clicks), "filter_cpu_s": max(c[1] for c in clicks)}
        facts["sort_s"], facts["sort_cpu_s"] = timed(driver, "location.hash = '#/cases?sort=tokens'")
        typed = (
            "const e = document.getElementById('search'); e.value = '%s'; e.dispatchEvent(new Event('input'))"
        )
        reading = "/reading the texts/"
        facts["first_search_s"], facts["first_search_cpu_s"] = timed(driver, typed % "prime number", reading)
        facts["search_s"], facts["search_cpu_s"] = timed(driver, typed % "electron orbit", reading)
        facts["memory_after_search_mb"] = memory(driver)
        last = driver.execute_script(
            "return JSON.parse(document.getElementById('index').textContent).cases.at(-7).id"
        )
        there = f"location.hash = '#/case/' + encodeURIComponent({json.dumps(last)})"
        facts["open_case_s"], facts["open_case_cpu_s"] = timed(driver, there, done=".case h2")
        return {name: round(value, 3) for name, value in facts.items()}
    finally:
        driver.quit()


def load(driver: Any, page: Path) -> dict[str, float]:
    """Open the page anew: until something is painted, until the list is there, until all is read."""
    driver.get("about:blank")
    driver.execute_cdp_cmd("Performance.disable", {})
    driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    driver.get(f"{page.as_uri()}#/cases")
    # The page itself notes when its list is there: it is, before the texts behind it are read.
    paint, there = driver.execute_script(
        "return [performance.getEntriesByName('first-contentful-paint')[0].startTime,"
        " performance.getEntriesByName('list')[0].startTime]"
    )
    return {"first_paint_s": paint / 1000, "list_there_s": there / 1000,
            "all_read_cpu_s": worked(driver)}  # fmt: skip


def worked(driver: Any) -> float:
    """Seconds that the page's main thread has worked since the measure was switched on."""
    found = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(m["value"] for m in found if m["name"] == "TaskDuration")


def browser(profile: Path) -> Any:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--enable-precise-memory-info", "--window-size=1300,900",
                 f"--user-data-dir={profile}"):  # fmt: skip
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver") or ""))
    driver.set_script_timeout(120)
    return driver


def timed(driver: Any, action: str, until_gone: str = "", done: str = "") -> tuple[float, float]:
    """Seconds, by the clock and of work, until the frame after the count (or an element) has changed."""
    before = worked(driver)
    clock = driver.execute_async_script(
        f"""
        const back = arguments[0], gone = {until_gone or "null"}, done = {json.dumps(done)};
        const before = document.querySelector(".count"), start = performance.now();
        {action};
        const look = () => {{
          const now = document.querySelector(".count");
          const counted = now !== before && !(gone && gone.test(now.textContent));
          const end = () => back((performance.now() - start) / 1000);
          if (done ? document.querySelector(done) : counted) requestAnimationFrame(() => setTimeout(end, 0));
          else setTimeout(look, 10);
        }};
        setTimeout(look, 0);
        """
    )
    return clock, worked(driver) - before


def memory(driver: Any) -> float:
    driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    return driver.execute_script("return performance.memory.usedJSHeapSize") / 1e6


if __name__ == "__main__":
    main()
