"""The documentation site: strict, its generated pages whole; its navigation has every page of docs/."""

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest

import jurist
from jurist.cli.main import GROUPS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NAV = set(re.findall(r"^ +- (?:[^:\n]+: )?([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))


def hooks() -> ModuleType:
    """docs/hooks.py as a module."""
    pytest.importorskip("mkdocs", reason="the group 'docs' is not installed")
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_navigation_has_every_page():
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    assert pages <= NAV
    for name in NAV - {"index.md"}:
        made = name.startswith("reference/") or name.startswith("notebooks/")
        assert made or (DOCS / name).exists() or (ROOT / name.removeprefix("repository/")).exists(), name


def test_every_command_and_public_name_is_in_the_reference():
    generated: dict[str, str] = hooks().generated()
    commands = generated["reference/commands.md"]
    headings = re.findall(r"^#+ jurist (.*)$", commands, re.M)
    for names in GROUPS.values():
        assert set(names) <= set(headings)
    assert {"train sft", "train grpo", "data pairs", "protocols pull"} <= set(headings)
    assert "`--deliberation, -d" in commands
    assert "[default: by the protocol" in commands  # as it is resolved, not None
    for name in jurist.__all__:
        assert re.search(rf"^::: jurist\..*\b{name}$", generated["reference/python.md"], re.M), name
    assert "## decisions.jsonl" in generated["reference/schemas.md"]


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag's id and where it leads."""
        found: dict[str, Any] = dict(attrs)
        self.anchors.add(found.get("id") or "")
        self.links += [found[name] for name in ("href", "src") if found.get(name)]


@pytest.mark.slow
def test_the_site_is_built_strictly_and_no_link_is_broken(tmp_path: Path):
    for package in ("mkdocs", "material", "mkdocstrings", "nbclient"):
        pytest.importorskip(package, reason="the group 'docs' is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = {path: Page(path.read_text()) for path in tmp_path.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 40
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            there = (path.parent / unquote(target)).resolve() if target else path
            there = there / "index.html" if there.is_dir() else there
            assert there.exists(), f"{path}: {link}"
            assert not anchor or there not in pages or unquote(anchor) in pages[there].anchors, (
                f"{path}: {link}"
            )
    html = "".join(path.read_text() for path in pages)
    assert not re.search(
        r"""<(?:script|link)[^>]+(?:src|href)=["']?(?:https?:)?//""", html
    )  # nothing is loaded
