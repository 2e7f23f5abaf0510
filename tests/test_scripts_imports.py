"""The programs beside the package import names that the package has: recipes, benchmarks, tools."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(
    path for name in ("recipes", "benchmarks", "tools", "docs") for path in (ROOT / name).rglob("*.py")
)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_imported_of_jurist_exists(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert not alias.name.startswith("jurist.") or find_spec(alias.name), alias.name
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jurist":
            for alias in node.names:
                try:
                    module = import_module(str(node.module))
                except ImportError as error:
                    if (error.name or "").startswith("jurist"):
                        raise
                    pytest.skip(f"needs the package {error.name!r}")
                found = hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}")
                assert found, f"{node.module} has no {alias.name}"
