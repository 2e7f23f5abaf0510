"""Ray: the cluster, how many workers fit on it, and Ray Data, which hands pieces to them."""

import logging
import os
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import msgspec

from jurist.core.errors import ConfigError, EngineError, JuristError, MissingExtraError
from jurist.engines.openai.address import is_address
from jurist.judging.config import JudgeConfig
from jurist.scale.config import Cluster
from jurist.scale.worker import AT_ONCE, Outcome, Piece, Post, Worker

LOOK_SECONDS = 2.0
"""Between two looks at the cluster, where no piece has come back."""

STUCK_SECONDS = 10.0
"""After so long nobody works on what is left, on a cluster that has become too small for its workers."""

WAITING_CPUS = 0.1
"""CPUs of a worker that waits for servers: small, so that the nodes that are left take over a lost one's."""

GPU_ENGINES = frozenset({"vllm", "transformers", "scalar"})
IDLE_ENGINES = frozenset({"scripted", "replay"})

Idle = Callable[[Iterable[str]], bool]


class Size(NamedTuple):
    """How many workers there are, and what each holds."""

    workers: int
    cpus: float
    gpus: float


class RayWorker(Worker):
    """A worker as Ray Data calls it: rows of pieces in, rows of outcomes out."""

    def __call__(self, rows: Any) -> dict[str, list[str]]:
        """Work on the pieces of a pyarrow table."""
        outcomes = [self.work(_piece_of(row)) for row in rows.to_pylist()]
        return {name: [getattr(outcome, name) for outcome in outcomes] for name in ("name", "error", "hint")}


class Pool(AbstractContextManager["Pool"]):
    """A cluster for one command. Without Ray: ``MissingExtraError``; without a cluster: ``EngineError``."""

    def __init__(
        self, cluster: Cluster, config: JudgeConfig, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._ray, self._data = _imported()
        self._own = not self._ray.is_initialized()
        self._dataset: Any = None
        if self._own:
            self._connect(cluster.address)
        try:
            self.size = size_of(cluster, config, self._ray.cluster_resources(), self._nodes())
        except BaseException:
            self.stop()
            raise
        held = f", {self.size.gpus:g} GPUs each" if self.size.gpus else ""
        say(f"Ray: {self.size.workers} workers on {self._nodes()} nodes{held}")

    @property
    def data(self) -> Any:
        """``ray.data``, without its progress bars."""
        context = self._data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        return self._data

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the workers."""
        self._end_execution()
        if self._own and self._ray.is_initialized():
            self._ray.shutdown()

    def run(self, post: Post, pieces: Sequence[Piece], idle: Idle) -> Iterator[Outcome]:
        """What becomes of each piece, as they end.

        It ends early where the cluster has lost what its workers need and nobody works on the rest: then it
        may be called again, for workers that fit. Raises ``EngineError`` where Ray itself gives up.
        """
        left = {piece.name for piece in pieces}
        found: SimpleQueue[Outcome | BaseException] = SimpleQueue()
        threading.Thread(target=self._pump, args=(post, pieces, found), daemon=True).start()
        since = time.monotonic()
        while left:
            try:
                item = found.get(timeout=LOOK_SECONDS)
            except Empty:
                if self._fits() or not idle(left):
                    since = time.monotonic()
                elif time.monotonic() - since > STUCK_SECONDS:
                    self._end_execution()
                    self.size = self._shrunk()
                    return
                continue
            if isinstance(item, JuristError):
                raise item
            if isinstance(item, BaseException):
                raise _told(item) from item
            left.discard(item.name)
            since = time.monotonic()
            yield item

    def _pump(
        self, post: Post, pieces: Sequence[Piece], found: "SimpleQueue[Outcome | BaseException]"
    ) -> None:
        try:
            for row in self._rows(post, pieces):
                found.put(Outcome(row["name"], row["error"], row["hint"]))
        except BaseException as error:
            found.put(error)

    def _rows(self, post: Post, pieces: Sequence[Piece]) -> Iterator[dict[str, str]]:
        """The rows that Ray Data gives back; a block is one piece, so that a lost task costs one."""
        context = self.data.DataContext.get_current()
        # Reasoning may take longer; a worker that gets no answer ends itself.
        context.execution_no_progress_timeout_s = -1
        # A worker whose process crashes before it is ready is started again.
        context.max_consecutive_actor_init_deaths = 2 * self.size.workers + 1
        strategy = self._data.ActorPoolStrategy(
            size=self.size.workers,
            max_concurrent_calls_per_actor=AT_ONCE,
            max_tasks_in_flight_per_actor=AT_ONCE,
            enable_true_multi_threading=True,
        )
        rows = self._data.from_items([_row_of(piece) for piece in pieces], override_num_blocks=len(pieces))
        self._dataset = rows.map_batches(
            RayWorker,
            fn_constructor_args=(post,),
            batch_size=1,
            batch_format="pyarrow",
            compute=strategy,
            num_cpus=self.size.cpus,
            num_gpus=self.size.gpus or None,
        )
        return self._dataset.iter_rows()

    def _end_execution(self) -> None:
        executor = getattr(self._dataset, "_current_executor", None)
        if executor is not None:
            executor.shutdown(force=True)
        self._dataset = None

    def _connect(self, address: str | None) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address is None and "RAY_ADDRESS" not in os.environ:
            options["include_dashboard"] = False
        try:
            self._ray.init(address=address, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise EngineError(
                f"cannot reach the Ray cluster {address or os.environ.get('RAY_ADDRESS', '')}: {error}",
                hint="ray start --head on one node, ray start --address HEAD:6379 on others; --address auto",
            ) from None

    def _nodes(self) -> int:
        return sum(bool(node["Alive"]) for node in self._ray.nodes())

    def _fits(self) -> bool:
        """Whether the cluster, as it is now, has what all workers need."""
        return self._room() >= self.size.workers

    def _room(self) -> int:
        resources = self._ray.cluster_resources()
        rooms = [resources.get("CPU", 0.0) / self.size.cpus if self.size.cpus else float("inf")]
        if self.size.gpus:
            rooms.append(resources.get("GPU", 0.0) / self.size.gpus)
        return int(min(rooms))

    def _shrunk(self) -> Size:
        return self.size._replace(workers=max(1, min(self.size.workers, self._room())))


def size_of(cluster: Cluster, config: JudgeConfig, resources: dict[str, float], nodes: int) -> Size:
    """How many workers there are: one for each set of GPUs, else one for each node.

    Raises ``ConfigError`` where the cluster does not have the GPUs of a single worker.
    """
    engine = config.engine.partition(":")[0]
    has = resources.get("GPU", 0.0)
    gpus = cluster.worker_gpus
    if gpus is None:
        gpus = float(_parallel(config)) if engine in GPU_ENGINES and has else 0.0
    if gpus > has:
        raise ConfigError(
            f"a worker needs {gpus:g} GPUs, and the cluster has {has:g}",
            hint="--worker-gpus says how many a worker holds",
        )
    waits = is_address(config.engine) or engine in IDLE_ENGINES
    workers = cluster.workers or (int(has // gpus) if gpus else max(1, nodes))
    return Size(workers, WAITING_CPUS if waits else 1.0, gpus)


def _parallel(config: JudgeConfig) -> int:
    """GPUs of one copy of the model, from vLLM's own arguments in ``--extra``."""
    try:
        extra = msgspec.json.decode(config.extra or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        extra = {}
    return int(extra.get("tensor_parallel_size", 1)) * int(extra.get("pipeline_parallel_size", 1))


def _imported() -> tuple[Any, Any]:
    """``ray`` and ``ray.data``, untyped."""
    # Ray's core prints an error for each actor whose arguments lie in the object store, as Ray Data's do.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        ray, data = import_module("ray"), import_module("ray.data")
    except ImportError:
        raise MissingExtraError("ray", "ray", "--on ray") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray, data


def _told(error: BaseException) -> EngineError:
    """An error of Ray in words: the last line says what it was."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return EngineError(
        f"Ray could not go on: {type(error).__name__}: {lines[-1][:500]}",
        hint="what was judged so far is kept: run the same command again",
    )


def _row_of(piece: Piece) -> dict[str, Any]:
    return {
        "name": piece.name,
        "places": array("q", piece.places).tobytes(),
        "known": array("q", piece.known).tobytes(),
    }


def _piece_of(row: dict[str, Any]) -> Piece:
    places, known = array("q", row["places"]), array("q", row["known"])
    return Piece(row["name"], places.tolist(), known.tolist())
