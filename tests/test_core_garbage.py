"""Python's cycle collector passes less often while a run is on, and as before afterwards."""

import gc
from collections.abc import Iterator

import pytest

from jurist.core.garbage import fewer_collections


@pytest.fixture(autouse=True)
def _thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_the_thresholds_come_back_when_the_last_block_ends() -> None:
    first, second = fewer_collections(), fewer_collections()
    first.__enter__()
    inside = gc.get_threshold()
    assert inside[0] > 700
    second.__enter__()
    first.__exit__(None, None, None)  # blocks of two runs may end in any order
    assert gc.get_threshold() == inside
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("seldom", [0, 1_000_000])
def test_a_collector_that_passes_less_often_is_left_as_it_is(seldom: int) -> None:
    gc.set_threshold(seldom, 10, 10)
    with fewer_collections():
        assert gc.get_threshold()[0] == seldom
    assert gc.get_threshold()[0] == seldom


def test_what_somebody_else_sets_meanwhile_stays() -> None:
    with fewer_collections():
        gc.set_threshold(5_000, 5, 5)
    assert gc.get_threshold() == (5_000, 5, 5)
