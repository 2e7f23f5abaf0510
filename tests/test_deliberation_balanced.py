"""The balanced design: how often each is shown, whom it meets, and what a position bias does to it."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make import case

from jurist.core.errors import ConfigError
from jurist.core.types import Completion, Judgment, Query, Sampling, Verdict
from jurist.deliberation.balanced import balanced, shown_orders
from jurist.judging import registry


@given(st.integers(2, 40), st.integers(1, 6), st.text(max_size=3))
def test_each_is_first_as_often_as_second(n, k, name):
    orders = [order for shown in shown_orders(range(n), k, name).values() for order in shown]
    times = min(k, n - 1)
    assert Counter(first for first, _ in orders) == dict.fromkeys(range(n), times)
    assert Counter(second for _, second in orders) == dict.fromkeys(range(n), times)
    assert len(set(orders)) == len(orders)  # nothing is asked twice


@given(st.integers(2, 40), st.integers(1, 6), st.text(max_size=3))
def test_different_opponents_come_before_second_orders(n, k, name):
    orders = shown_orders(range(n), k, name)
    met = Counter(player for both in orders for player in both)
    if n <= 2 * k + 1:
        assert met == dict.fromkeys(range(n), n - 1)
    else:
        assert met == dict.fromkeys(range(n), 2 * k)
    if n <= k + 1:
        assert all(len(shown) == 2 for shown in orders.values())


def judgment(case, order, better):
    """The judgment of a judge of two who finds the response ``better`` the better one."""
    scores = tuple(float(i == better) for i in sorted(order))
    return Judgment(Query(case.id, order, 0, (), Sampling()), Completion(), Verdict(scores))


def test_a_preference_for_the_first_shown_cancels():
    """A judge that always prefers the first shown gives everyone the same score."""

    async def ask(case, order, _sample, _among=None, **_):
        return judgment(case, order, order[0])

    for n in (3, 6, 9, 16):
        decision = asyncio.run(balanced(4)(ask, case("1", *map(str, range(n)), gold=None)))
        assert len(decision.judgments) == min(4, n - 1) * n
        assert decision.verdict.scores == (0.5,) * n


def test_a_perfect_judge_orders_nine_responses_exactly():
    async def ask(case, order, _sample, _among=None, **_):
        return judgment(case, order, max(order, key=lambda i: int(case.responses[i])))

    numbers = [4, 8, 1, 9, 7, 2, 4, 3, 6, 5]  # two are the same
    decision = asyncio.run(
        registry.deliberation("balanced(4)")(ask, case("1", *map(str, numbers), gold=None))
    )
    assert decision.verdict.scores == pytest.approx([(n - 1) / 8 for n in numbers])


def test_a_k_that_asks_nothing_is_refused():
    for k in (0, -1, 1.5):
        with pytest.raises(ConfigError, match="asks nothing"):
            balanced(k)
