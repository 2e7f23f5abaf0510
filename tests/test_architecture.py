"""The rooms of src/jurist: each imports only rooms below it, and importing the package is light."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "jurist"
# From the bottom to the top. docs/architecture.md says what each is for.
ROOMS = (
    "core",
    "inputs",
    "protocols",
    "engines",
    "deliberation",
    "benchmarks",
    "judging",
    "rewards",
    "reports",
    "data",
    "serving",
    "integrations",
    "training",
    "scale",
    "api",
    "cli",
    "__main__",
)
LEVEL = {room: level for level, room in enumerate(ROOMS)}
FACE = SOURCE / "__init__.py"  # names the public functions and loads them on first use
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != FACE)


def _module(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path) for path in FILES}


def _imports(path: Path) -> set[str]:
    """The modules of jurist that a file imports, also inside functions: their names below ``jurist``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jurist":
            base = (node.module or "").removeprefix("jurist").removeprefix(".")
            for alias in node.names:
                whole = f"{base}.{alias.name}".removeprefix(".")
                names.add(whole if whole in MODULES else base)
        elif isinstance(node, ast.Import):
            names |= {a.name.removeprefix("jurist.") for a in node.names if a.name.startswith("jurist.")}
    return names


def _room(module: str) -> str:
    return module.split(".")[0]


def test_every_file_imports_only_rooms_below():
    wrong = [
        f"{_module(path)} imports {other or 'jurist'}"
        for path in FILES
        for other in _imports(path)
        if _room(other) != _room(_module(path)) and LEVEL.get(_room(other), 99) >= LEVEL[_room(_module(path))]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_two_files_need_each_other():
    graph = {_module(path): _imports(path) - {_module(path)} for path in FILES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_rooms_are_those_that_the_documentation_names():
    rooms = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in FILES}
    assert rooms == set(ROOMS)


def test_files_say_what_they_are_for_and_are_short():
    texts = {path: path.read_text() for path in FILES}
    assert not [path for path, text in texts.items() if not ast.get_docstring(ast.parse(text))]
    assert not [path for path, text in texts.items() if len(text.splitlines()) > 500]


def test_importing_jurist_loads_nothing_heavy():
    code = "import sys, jurist, jurist.cli.main; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = "torch numpy aiohttp transformers openvino openvino_genai pyarrow datasets starlette uvicorn"
    assert not set(heavy.split()) & set(done.stdout.split())


@pytest.mark.parametrize("command", ["cli.list", "cli.show", "cli.compare"])
def test_a_command_loads_no_cluster_and_no_writer(command: str):
    code = f"import sys, jurist.{command}, jurist.core.runs; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"jurist.scale.api", "jurist.judging.build", "jurist.core.store"} & set(done.stdout.split())


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
