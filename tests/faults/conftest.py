"""Tests that break things. Those that start a Ray cluster take minutes: `make faults` runs them."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pass over what needs a cluster, unless it is asked for."""
    wanted = pytest.mark.skip(reason="starts a Ray cluster and kills parts of it; `make faults` runs it")
    for item in items:
        if item.get_closest_marker("cluster") and not os.environ.get("JURIST_FAULTS"):
            item.add_marker(wanted)
