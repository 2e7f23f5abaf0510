"""Where the workers of a run are, and how many."""

from dataclasses import dataclass
from typing import Literal

from jurist.core.errors import ConfigError


@dataclass(frozen=True)
class Cluster:
    """Where cases are asked about. What is None is chosen by the engine and the size of the cluster."""

    on: Literal["here", "ray"] = "here"
    """Where the judge works: here (this process), or ray (workers of a Ray cluster)."""
    address: str | None = None
    """The Ray cluster: HOST:PORT or auto."""
    workers: int | None = None
    """Worker processes; --concurrency counts for each."""
    worker_gpus: float | None = None
    """GPUs of one worker."""
    shards: str | None = None
    """Folder or address (s3://BUCKET/PATH ...) for the decisions as sharded parquet, written at the end."""
    piece: int | None = None
    """Cases that a worker takes at once."""
    tries: int = 3
    """A case in whose work a worker died so many times is given up as failed."""
    stall: float = 1800.0
    """Seconds without any answer after which a worker that waits for one is started anew; most seconds that
    an engine may take to be ready."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing, and options that nothing would read."""
        legal = {
            "workers": (1, 10**5),
            "worker_gpus": (0, 1024),
            "piece": (1, LARGEST_PIECE),
            "tries": (1, 1000),
            "stall": (1, 10**7),
        }
        for name, (low, high) in legal.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} = {value} is out of range", hint=f"legal: {low:g} to {high:g}")
        if self.on == "here":
            for name in ("address", "workers", "worker_gpus", "shards", "piece"):
                if getattr(self, name) is not None:
                    flag = name.replace("_", "-")
                    raise ConfigError(f"--{flag} is about a cluster", hint=f"--on ray --{flag} ...")


LARGEST_PIECE = 256
"""A piece's cases are in memory at once, in the worker and when they are taken into the run folder."""

HERE = Cluster()
