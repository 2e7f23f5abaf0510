"""README and docs are true: tables name what there is, links lead somewhere, the index has every page."""

import re
from pathlib import Path

import pytest

from jurist.judging.registry import BENCHMARKS, DELIBERATIONS, PROTOCOLS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
DOCS = sorted((ROOT / "docs").glob("*.md"))
ALL = [ROOT / "README.md", *DOCS]
LINKED = [ROOT / "README.md", ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", *DOCS]


def test_every_name_is_in_the_documentation():
    table = (ROOT / "docs" / "judging.md").read_text()
    for name in (*PROTOCOLS, *BENCHMARKS, *DELIBERATIONS):
        assert f"`{name}" in table, name


def test_make_names_what_the_documentation_names():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    for page in ALL:
        assert set(re.findall(r"`make ([\w-]+)", page.read_text())) <= set(targets), page


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "README.md").read_text()
    for page in DOCS:
        assert page.name == "README.md" or f"({page.name})" in index, page.name


@pytest.mark.parametrize("path", LINKED, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        target, _, heading = link.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (path.parent / target) if target else path
        assert file.exists(), link
        if heading:
            assert heading in headings(file.read_text()), link


def headings(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    lines = re.findall(r"^#+ (.*)", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


def test_the_picture_is_small():
    assert (ROOT / "docs" / "images" / "report.png").stat().st_size <= 250_000


def test_version_is_the_same_everywhere():
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert version
    assert f"\nversion: {version[1]}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"jurist-{version[1]}-py3-none-any.whl" in TEXT


def test_every_environment_variable_that_is_read_is_documented():
    page = (ROOT / "docs" / "command-line.md").read_text()
    for path in (ROOT / "src").rglob("*.py"):
        for name in re.findall(r"""environ(?:\.get\(|\[)["']([A-Z_]+)["']""", path.read_text()):
            assert f"`{name}`" in page or name == "TERM", (path.name, name)


FOREIGN = {"jurist: command not found", "maximum context length", "429"}
"""What shells and servers say."""


def test_messages_of_the_troubleshooting_page_are_in_the_code():
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    # Texts that are written in several parts are one.
    source = re.sub(r"\"\s*f?\"", "", source)
    page = (ROOT / "docs" / "troubleshooting.md").read_text().partition("## Results")[0]
    messages = re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^\| (.*?) \|", page, re.M)))
    assert len(messages) > 15
    for message in set(messages) - FOREIGN:
        for part in re.split(r"\.\.\.|'[^']*'|\b(?:N|FILE|LINE|\d+)\b", message):
            words = part.strip(" ,;:")
            assert len(words) < 4 or words in source, (message, words)
