"""The floors of the house: each knows only those below it, and importing jurist loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "jurist"
FLOORS = [
    {"types", "errors"},
    {"lines", "cache", "combine", "statistics", "published", "ratings", "rewards", "answers"},
    {"protocols", "engines", "deliberation", "inputs", "asking", "thinking", "store", "config"},
    {"benchmarks", "overlap"},
    {"catalog", "pool", "data", "calibration", "ranking", "labels"},
    {"assemble"},
    {"run", "curve", "group", "cohort", "choice", "training", "distillation"},
    {"reports", "serving", "client", "trainers", "learning"},
    {"api", "ablation"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
# On one floor a module may use these of its neighbours: the judge renders and parses with a protocol.
NEIGHBOURS = {
    ("cohort", "group"),
    ("choice", "group"),
    ("learning", "reports"),  # curves of a model card
    ("trainers", "client"),
    ("trainers", "serving"),  # the texts that OpenRLHF sends are read as the server reads them
    ("labels", "ranking"),
    ("asking", "protocols"),
    ("thinking", "protocols"),
    ("asking", "thinking"),
    ("store", "lines"),
    ("published", "cache"),
}
FILES = sorted(SOURCE.rglob("*.py"))


def _room(path: Path) -> str:
    parts = path.relative_to(SOURCE).parts
    return parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jurist":
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("jurist.")}
    return {name for name in found if name in LEVEL or not name.startswith("_")}


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "__init__.py" or p.parent != SOURCE], ids=str)
def test_no_import_goes_up_or_sideways(path: Path):
    room = _room(path)
    assert room in LEVEL, f"{room} stands on no floor"
    for other in _imports(path) - {room}:
        below = LEVEL[other] < LEVEL[room] or (room, other) in NEIGHBOURS
        assert below, f"{path.relative_to(SOURCE)} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_says_what_it_is_for_and_can_be_read_in_a_sitting(path: Path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert len(text.splitlines()) <= 500


def test_importing_jurist_loads_nothing_heavy():
    code = "import sys, jurist, jurist.cli.main; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    heavy = "torch numpy aiohttp transformers openvino openvino_genai pyarrow datasets starlette uvicorn"
    assert not set(heavy.split()) & set(loaded)


def test_the_public_names_are_there():
    import jurist

    for name in jurist.__all__:
        assert getattr(jurist, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'jurry'"):
        _ = jurist.jurry


def test_no_public_name_is_hidden_by_a_module():
    code = (
        "import importlib, pkgutil, jurist\n"
        "for m in pkgutil.iter_modules(jurist.__path__): importlib.import_module(f'jurist.{m.name}')\n"
        "assert all(type(getattr(jurist, n)).__name__ != 'module' for n in jurist.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
