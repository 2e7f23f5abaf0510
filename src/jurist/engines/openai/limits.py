"""What one server is asked for in a minute, at most, and when it asked to be left alone."""

import asyncio
import time


class Bucket:
    """Lets ``per_minute`` units through in any minute, a sixth of them at once.

    Who asks first goes first. ``correct`` books what a call took in truth, beside what was assumed before.
    """

    def __init__(self, per_minute: float) -> None:
        self.size = max(1.0, per_minute / 6)
        # What stands in the bucket and what flows in are together no more than the limit in a minute.
        self._flow = max(per_minute - self.size, per_minute / 60) / 60
        self._level = self.size
        self._at = time.monotonic()
        self._turn = asyncio.Lock()

    async def take(self, units: float) -> None:
        """Wait until so many units (of more than the bucket holds: a full one) may go out."""
        async with self._turn:
            while (missing := min(units, self.size) - self._filled()) > 1e-9:  # noqa: ASYNC110
                await asyncio.sleep(missing / self._flow)
            self._level -= units

    def correct(self, units: float) -> None:
        """Book more units, or give some back."""
        self._level = min(self.size, self._filled() - units)

    def _filled(self) -> float:
        now = time.monotonic()
        self._level = min(self.size, self._level + (now - self._at) * self._flow)
        self._at = now
        return self._level


class Pause:
    """Until when a server is left alone: as long as it asks for, else for doubling times."""

    FIRST, LONGEST = 0.5, 30.0

    def __init__(self) -> None:
        self._until = 0.0
        self._next = self.FIRST

    @property
    def left(self) -> float:
        """Seconds from now; 0 where it may be asked."""
        return max(0.0, self._until - time.monotonic())

    def begin(self, after: float | None) -> None:
        """Leave it alone for ``after`` seconds; without a number a while, twice as long each time."""
        if after is None:
            if self.left:
                return  # of calls that went out together one is enough
            after, self._next = self._next, min(2 * self._next, self.LONGEST)
        self._until = max(self._until, time.monotonic() + after)

    def over(self) -> None:
        """It answered."""
        self._next = self.FIRST
