"""Settings of all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Shared machines pause: a slow example is no failure. In CI the same examples each time; elsewhere new ones.
settings.register_profile("jurist", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("jurist")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainings import tiny

    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainings import pairs

    return pairs(tmp_path_factory.mktemp("held") / "held.jsonl", 3)
