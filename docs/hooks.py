"""Hooks of mkdocs: pages that are generated from the code, and the repository's other pages in the site.

`mkdocs build` calls them by name. Links are written as they work in the repository; here they are turned to
where the site has the page.
"""

import json
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

HOME = "index.md"
OUTSIDE = "repository"
"""Where the site has what stands outside of docs/."""

PAGES = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "recipes/README.md",
    "recipes/judge/README.md",
)
"""Pages outside of docs/ that belong to the site. Other files that pages link to are copied into it."""

LINK = re.compile(r"(?<=\]\()([^)\s#]*)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"(^```.*?^```[^\n]*$|`[^`\n]+`)", re.M | re.S)


def on_files(files: Files, config: Any) -> Files:
    """Add the home page, the pages outside of docs/ and those that are made from the code."""
    where = {HOME: ROOT / "README.md", **{f"{OUTSIDE}/{name}": ROOT / name for name in PAGES}}
    for name, path in where.items():
        files.append(File.generated(config, name, content=path.read_text()))
    for path in sorted((DOCS / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=notebook(path)))
    for name, content in generated().items():
        files.append(File.generated(config, name, content=content))
    for path in sorted(_linked(files)):
        name = f"{OUTSIDE}/{path.relative_to(ROOT).as_posix()}"
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn the links of a page to where the site has what they lead to."""
    here = page.file.src_uri
    # A word behind the language, which is for the tests, would hide the fence from Markdown.
    markdown = re.sub(r"^(```\w+) \w+$", r"\1", markdown, flags=re.M)

    def turned(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        if not target or "://" in target or target.startswith("mailto:"):
            return match[0]
        there = _uri((_origin(here).parent / target).resolve())
        return posixpath.relpath(there, posixpath.dirname(here) or ".") + anchor

    return "".join(part if i % 2 else LINK.sub(turned, part) for i, part in enumerate(FENCE.split(markdown)))


def generated() -> dict[str, str]:
    """The pages, and the schemas as files, that are made from the code: name in the site, content."""
    from jurist.core.schemas import SCHEMAS, schema

    files = {"reference/commands.md": commands(), "reference/python.md": python(), "reference/schemas.md": ""}
    lines = [
        "# JSON schemas",
        "",
        "What each file of a run, and each line on standard output, holds; made from the records in the "
        "code, and checked against a run by the tests. `jurist list schemas --json` prints all of them. "
        "What the files are for: [run-folder.md](../run-folder.md).",
    ]
    for name, (summary, _) in SCHEMAS.items():
        text = json.dumps(schema(name), indent=2)
        file = f"{name}.schema.json"
        files[f"reference/{file}"] = text + "\n"
        lines += ["", f"## {name}", "", f"{summary} [{file}]({file})", "", "```json", text, "```"]
    files["reference/schemas.md"] = "\n".join(lines) + "\n"
    return files


def commands() -> str:
    """Every command with its options, as the code has them."""
    from jurist.cli.main import GROUPS, app, full_help

    pages = [
        "# Commands",
        "",
        "Made from the code; the same as `jurist help COMMAND`. Short flags, exit codes, environment: "
        "[command-line.md](../command-line.md).",
    ]
    for names in GROUPS.values():
        for name in names:
            full_help(name)
            text = app[name].generate_docs(output_format="markdown", heading_level=2)
            text = re.sub(r"^## Table of Contents\n.*?(?=^\*\*|^## )", "", text, flags=re.M | re.S)
            text = re.sub(r"^(#+) ", r"\1 jurist ", text, flags=re.M)
            text = re.sub(r"^```console\n(?!jurist)", "```console\njurist ", text, flags=re.M)
            text = re.sub(r"^\* \[`(\w[\w-]*)`\]\(#[^)]*\)", r"* `\1`", text, flags=re.M)
            pages += ["", text.replace("Examples::", "Examples:").strip()]
    return "\n".join(pages) + "\n"


def python() -> str:
    """Every public name, for mkdocstrings."""
    import jurist

    pages = [
        "# Python API",
        "",
        "Made from the docstrings. How to use it: [python.md](../python.md).",
    ]
    for name in jurist.__all__:
        value = getattr(jurist, name)
        pages += ["", f"::: {value.__module__}.{value.__qualname__}"]
    for name in ("jurist.integrations.trl.group_reward", "jurist.serving.client.Client"):
        pages += ["", f"::: {name}"]
    return "\n".join(pages) + "\n"


def _origin(uri: str) -> Path:
    """Where a page of the site stands in the repository."""
    if uri == HOME:
        return ROOT / "README.md"
    return ROOT / uri.removeprefix(f"{OUTSIDE}/") if uri.startswith(f"{OUTSIDE}/") else DOCS / uri


def _uri(path: Path) -> str:
    """Where the site has a file of the repository; a folder is its README."""
    path = path / "README.md" if path.is_dir() else path
    if path in (DOCS / "README.md", ROOT / "README.md"):
        return HOME
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    return f"{OUTSIDE}/{path.relative_to(ROOT).as_posix()}"


def _linked(files: Files) -> set[Path]:
    """Files outside of docs/ that pages link to, other than pages of the site."""
    found: set[Path] = set()
    for file in files.documentation_pages():
        text = FENCE.sub("", file.content_string)
        for match in LINK.finditer(text):
            path = (_origin(file.src_uri).parent / match[1]).resolve()
            if path.is_file() and path.is_relative_to(ROOT) and files.get_file_from_path(_uri(path)) is None:
                found.add(path)
    return found


def notebook(path: Path) -> str:
    """A notebook as a page, run: its texts, its code, and the outputs that are text."""
    import nbformat
    from nbclient import NotebookClient

    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    ran = NotebookClient(nbformat.read(path, as_version=4), timeout=120).execute()
    parts: list[str] = []
    for cell in ran.cells:
        source = cell["source"]
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            if text:
                parts.append("```text\n" + "".join(text).rstrip() + "\n```")
    return "\n\n".join(parts) + "\n"
