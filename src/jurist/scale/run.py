"""One run on a cluster: undecided cases go out in pieces, what comes back is taken into the run folder."""

import asyncio
import os
import secrets
import shutil
import time
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

from jurist.core.errors import BusyError, EngineError, StoreError
from jurist.core.files import Warn, write_whole
from jurist.core.records import Records
from jurist.core.run_config import read_run
from jurist.core.store import Store, claim
from jurist.core.types import Case, Decision
from jurist.engines.openai.address import is_address
from jurist.engines.secrets import KEY_VARIABLES
from jurist.judging.pool import RunProgress, Watch
from jurist.scale.config import LARGEST_PIECE, Cluster
from jurist.scale.memory import Known, Recollection
from jurist.scale.part import GIVEN_UP, LOCK_SECONDS, take_in
from jurist.scale.pool import Pool, Size
from jurist.scale.shards import write_shards
from jurist.scale.work import Asking
from jurist.scale.worker import SESSION, STARTS, Outcome, Piece, Post

PARTS = "parts"
"""The folder, within the run folder, of what workers are working on; it is gone when a run has ended."""

PIECES_EACH = 8
"""Pieces of each worker, at least, where there are enough cases: so the last ones end together."""

Watching = Callable[[int], AbstractContextManager[Watch]]


def decide_on(
    cluster: Cluster,
    asking: Asking,
    cases: Iterable[Case],
    *,
    out: Path,
    source: str = "",
    progress: RunProgress | None = None,
    watching: Watching = lambda _: nullcontext(_unwatched),
    say: Callable[[str], None] = lambda _: None,
    warn: Warn = lambda _: None,
    slim: bool = False,
    filesystem: Any = None,
) -> Generator[tuple[Case, Decision]]:
    """Each case with its decision, in the order of the cases, once all of them are decided.

    ``source`` is the name of the input for run.json; ``watching`` gets how many cases there are. What
    ``out`` holds is not asked again. Raises ``EngineError`` and ``StoreError``; then the same call goes on
    with what is there. ``slim``: decisions without texts. ``filesystem``: pyarrow's or fsspec's, for shards.
    """
    progress = progress or RunProgress()
    with _Run(cluster, asking, out, source, say, warn) as run:
        places = run.decide(cases, progress, watching)
        yield from run.decisions(places, slim=slim)
    if cluster.shards is not None:
        with Pool(cluster, asking.setup.config) as pool:
            n = write_shards(pool.data, out.resolve(), places, cluster.shards, filesystem)
        say(f"{len(places):,} rows in {n} parquet files in {cluster.shards}")


def fill(
    cluster: Cluster,
    asking: Asking,
    cases: Iterable[Case],
    *,
    out: Path,
    source: str = "",
    progress: RunProgress | None = None,
    watching: Watching = lambda _: nullcontext(_unwatched),
    say: Callable[[str], None] = lambda _: None,
    warn: Warn = lambda _: None,
) -> None:
    """As ``decide_on``, and nothing is read back: the run folder holds what was asked."""
    with _Run(cluster, asking, out, source, say, warn) as run:
        run.decide(cases, progress or RunProgress(), watching)


class _Run(AbstractContextManager["_Run"]):
    """A run folder and its parts, open for one command."""

    def __init__(
        self,
        cluster: Cluster,
        asking: Asking,
        out: Path,
        source: str,
        say: Callable[[str], None],
        warn: Warn,
    ) -> None:
        self.cluster, self.asking, self.out = cluster, asking, out.resolve()
        self._say, self._warn = say, warn
        if is_address(asking.setup.config.engine):
            # Engines in process are loaded by the workers alone.
            asyncio.run(_checked(asking))
        self.parts = self.out / PARTS
        self.store = Store(self.out, asking.facts(source), warn=warn)
        self._holds = any(self.store.kept)
        """Whether the run folder holds anything that may have been asked for."""
        try:
            self.session = secrets.token_hex(8)
            self.parts.mkdir(exist_ok=True)
            # Workers of an earlier command stop at their next piece.
            write_whole(self.parts / SESSION, self.session.encode())
            (self.parts / STARTS).unlink(missing_ok=True)
            self._gather(LOCK_SECONDS)
        except BaseException:
            self.store.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                shutil.rmtree(self.parts, ignore_errors=True)
        finally:
            self.store.close()

    def decide(self, cases: Iterable[Case], progress: RunProgress, watching: Watching) -> "array[int]":
        """Have all undecided cases decided; returns where each case stands in the run folder."""
        places, pending = self._noted(cases)
        progress.decisions = progress.kept = len(places) - len(pending)
        if pending:
            self.store.sync()
            with (
                Pool(self.cluster, self.asking.setup.config, self._say) as pool,
                watching(len(places)) as watch,
            ):
                pieces = self._pieces(pending, pool.size)
                self._decide(pool, pieces, progress, watch)
        return places

    def decisions(self, places: Iterable[int], *, slim: bool) -> Iterator[tuple[Case, Decision]]:
        """The cases that stand there, with their decisions; raises ``StoreError`` where one has none."""
        records = Records(self.out, read_run(self.out).unsealed)
        try:
            for place in places:
                line = records.case(place)
                decision = self.store.decided(line.case.id, line.digest, texts=not slim, failed=True)
                if decision is None:
                    raise StoreError(
                        f"the case {line.case.id!r} has no decision that can be read",
                        hint="run the same command again: it asks for what is missing",
                    )
                yield line.case, decision
        finally:
            records.close()

    def _noted(self, cases: Iterable[Case]) -> "tuple[array[int], list[_Pending]]":
        """Every case is noted in the order of the input; returns where they stand, and the undecided ones."""
        places, pending, remembered = array("q"), list[_Pending](), 0
        # A distillation may be asked for more of a pair than the run folder holds.
        final, decided = self.asking.work.method is None, self.store.settled()
        with closing(Recollection(self.asking, self.store)) as memory:
            for case in cases:
                digest = case.digest
                place = self.store.begin(case, digest)
                places.append(place)
                settled = digest in decided
                known = Known() if (settled and final) or not self._holds else memory.of(case)
                if settled and not known.missing:
                    remembered += 1
                else:
                    pending.append((place, known.places))
        if remembered:
            self._say(f"{remembered:,} of {len(places):,} cases are decided")
        return places, pending

    def _pieces(self, pending: "list[_Pending]", size: Size) -> list[Piece]:
        """The undecided cases in pieces that are small enough to keep every worker busy until the end."""
        fair = len(pending) // (size.workers * PIECES_EACH)
        width = self.cluster.piece or max(8, min(LARGEST_PIECE, fair))
        pieces: list[Piece] = []
        for number, start in enumerate(range(0, len(pending), width)):
            taken = pending[start : start + width]
            known = [place for _, places in taken for place in places]
            name = f"{self.session[:8]}-{number:06d}"
            pieces.append(Piece(name, [place for place, _ in taken], known))
        return pieces

    def _decide(self, pool: Pool, pieces: list[Piece], progress: RunProgress, watch: Watch) -> None:
        keys = {name: os.environ[name] for name in KEY_VARIABLES if name in os.environ}
        cluster = self.cluster
        work = self.asking.work.shared_by(pool.size.workers)
        post = Post(
            work,
            self.out,
            self.parts,
            self.session,
            cluster.tries,
            cluster.stall,
            pool.size.workers,
            keys,
        )
        left = {piece.name: piece for piece in pieces}
        try:
            while left:
                for outcome in pool.run(post, list(left.values()), self._idle):
                    self._take(outcome, left, progress)
                    watch(progress)
        except BaseException:
            # What is on disk of unfinished pieces is taken in as far as their workers have gone by now.
            pool.stop()
            self._gather(5.0)
            raise

    def _take(self, outcome: Outcome, left: dict[str, Piece], progress: RunProgress) -> None:
        """Take the part of a finished piece into the run."""
        if outcome.error:
            raise EngineError(outcome.error, outcome.hint)
        piece = left.pop(outcome.name, None)
        if piece is None:
            return  # a piece that was done twice, since its worker was lost after it had ended
        for decision in take_in(
            self.parts / piece.name, self.store, again=bool(piece.known), warn=self._warn
        ):
            progress.decisions += 1
            if decision.verdict.note.startswith(GIVEN_UP):
                self._warn(f"the case {decision.case_id!r} was {decision.verdict.note}")
            if decision.right is not None:
                progress.graded += 1
                progress.right += decision.right
            for judgment in decision.judgments:
                progress.count(judgment)
        # The mark first: a worker that is sent the piece again must not begin it anew.
        (self.parts / f"{piece.name}.done").touch()
        shutil.rmtree(self.parts / piece.name, ignore_errors=True)

    def _idle(self, names: Iterable[str]) -> bool:
        """Whether no worker is writing to any of these parts."""
        return all(_free(self.parts / name) for name in names)

    def _gather(self, wait: float) -> None:
        """Take in what workers of an interrupted command left; a part that is still written to, next time."""
        taken = 0
        for folder in sorted(path for path in self.parts.iterdir() if path.is_dir()):
            if (self.parts / f"{folder.name}.done").exists():
                shutil.rmtree(folder, ignore_errors=True)
                continue
            if not _free(folder, wait):
                self._warn(f"{folder} is still written to: it is taken in by the next command")
                continue
            if (folder / "run.json").exists():
                taken += len(take_in(folder, self.store, again=True, warn=self._warn))
                self._holds = True
            shutil.rmtree(folder, ignore_errors=True)
        if taken:
            self._warn(f"taken in: {taken:,} decisions of workers that were interrupted")


_Pending = tuple[int, tuple[int, ...]]
"""Where an undecided case stands, and which judgments about it the run folder holds."""


def _free(folder: Path, wait: float = 0.0) -> bool:
    """Whether nobody is writing to a part, or within some seconds nobody is."""
    until = time.monotonic() + wait
    while True:
        try:
            if folder.is_dir():
                claim(folder).lock.release()
            return True
        except BusyError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.2)


async def _checked(asking: Asking) -> None:
    try:
        await asking.check()
    finally:
        await asking.aclose()


def _unwatched(_: RunProgress) -> None:
    """The watch that shows nothing."""
