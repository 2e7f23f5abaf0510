"""Where the real data lies that some tests need, and what they say where it is absent."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("JURIST_SHARED_DATA", Path(__file__).parents[1].parent / "shared" / "data"))
"""Folder of the shared data: JURIST_SHARED_DATA, else ``../shared/data`` beside the repository."""


def shared(*parts: str) -> Path:
    """A path below the shared data; the test is skipped, and says why, where it is absent."""
    path = ROOT.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {path}; set JURIST_SHARED_DATA to the folder of the shared data")
    return path
