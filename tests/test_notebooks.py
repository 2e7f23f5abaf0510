"""The notebooks of the docs run from top to bottom, and hold no outputs of another machine."""

import json
import os
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="the group 'test' is not installed")
pytest.importorskip("ipykernel", reason="the group 'test' is not installed")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if "to_frame" in path.read_text():
        pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("text/plain" in output.get("data", {}) for output in shown)
    assert not any(output["output_type"] in ("error", "stream") for output in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_without_outputs(path: Path):
    assert path.stat().st_size < 20_000
    for cell in json.loads(path.read_text())["cells"]:
        assert not cell.get("outputs"), cell["source"]


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 2
