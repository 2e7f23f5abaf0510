"""Slots: bounded, urgent first, nothing lost on cancellation."""

import asyncio

from jurist.engines.slots import Slots


async def test_no_more_than_n_at_once_and_all_get_through():
    slots, running, most, done = Slots(3), 0, 0, 0

    async def work() -> None:
        nonlocal running, most, done
        async with slots.held():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1
            done += 1

    await asyncio.gather(*[work() for _ in range(50)])
    assert (most, done) == (3, 50)


async def test_urgent_callers_go_before_all_who_wait():
    slots, order = Slots(1), list[str]()

    async def work(name: str, *, urgent: bool) -> None:
        async with slots.held(urgent=urgent):
            order.append(name)
            await asyncio.sleep(0)

    async with slots.held():
        waiting = [asyncio.ensure_future(work(f"ordinary {i}", urgent=False)) for i in range(3)]
        waiting.append(asyncio.ensure_future(work("urgent", urgent=True)))
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == ["urgent", "ordinary 0", "ordinary 1", "ordinary 2"]


async def test_a_cancelled_waiter_gives_its_turn_on():
    slots = Slots(1)
    async with slots.held():
        waiting = [asyncio.ensure_future(_hold(slots)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
    # The second gets its turn and is cancelled before it can take it.
    waiting[1].cancel()
    await asyncio.wait_for(waiting[2], 1)
    async with asyncio.timeout(1), slots.held():
        pass


async def _hold(slots: Slots) -> None:
    async with slots.held():
        await asyncio.sleep(0)
