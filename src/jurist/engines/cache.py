"""Completions of earlier runs in one SQLite file: the same question to the same model is not paid twice."""

import sqlite3
import threading
import zlib
from collections.abc import Callable
from hashlib import blake2b
from os.path import exists, expanduser
from pathlib import Path

import msgspec
from msgspec.structs import replace

from jurist.core.errors import StoreError
from jurist.core.types import Completion, Query, Usage
from jurist.engines.base import EngineBase
from jurist.engines.gguf import stamp

FILE = "completions.sqlite"
_WAIT = 30.0
"""Seconds that a process waits while another one writes."""

_HINT = "name a folder on a disk of this machine (not a network's) for --cache, or delete that file"
_TABLE = "CREATE TABLE IF NOT EXISTS completions (key BLOB PRIMARY KEY, model TEXT, body BLOB) WITHOUT ROWID"


def question_key(query: Query, model: str) -> bytes:
    """What is asked of whom, as 16 bytes: of the query what a model sees, and the number of the sample.

    That is ``Query.key`` without the names of the case, the order and the judge: rows without ids are
    numbered, so that the same pair has another name in another file. The messages show the order, and a
    sampled query has a seed from the case's id.
    """
    question = replace(query, case_id="", order=(), judge="")
    return blake2b(msgspec.json.encode((question.key, model)), digest_size=16).digest()


class CompletionCache:
    """Completions by ``question_key`` in ``folder``, shared by any number of processes of one machine.

    Opened on first use, and again after ``close``. Raises ``StoreError`` where the file cannot be opened;
    what goes wrong later is said once through ``warn``, and from then on nothing is found nor kept.
    """

    def __init__(self, folder: Path, *, warn: Callable[[str], None] = lambda _: None) -> None:
        self.folder, self._warn = folder, warn
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._broken = False

    def open(self) -> None:
        """Open the file; raises ``StoreError``."""
        with self._lock:
            self._opened()

    def get(self, key: bytes) -> Completion | None:
        """The completion of a question, marked as reused; None where there is none that can be read."""
        if self._broken:
            return None
        try:
            with self._lock:
                rows = self._opened().execute("SELECT body FROM completions WHERE key = ?", (key,))
                found = rows.fetchone()
        except sqlite3.Error as error:
            return self._give_up(error)
        if found is None:
            return None
        try:
            completion = msgspec.json.decode(zlib.decompress(found[0]), type=Completion)
        except (zlib.error, msgspec.DecodeError, TypeError):
            return None
        return replace(completion, reused=True)

    def put(self, key: bytes, completion: Completion, model: str = "") -> None:
        """Keep a completion; another process may have it afterwards. One with an error is not kept."""
        if self._broken or completion.error or completion.finish == "error":
            return
        body = zlib.compress(msgspec.json.encode(replace(completion, reused=False)), 1)
        try:
            with self._lock:
                words = "INSERT OR REPLACE INTO completions VALUES (?, ?, ?)"
                self._opened().execute(words, (key, model, body))
        except sqlite3.Error as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            database, self._database = self._database, None
            if database is not None:
                database.close()

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                database = sqlite3.connect(
                    self.folder / FILE, timeout=_WAIT, isolation_level=None, check_same_thread=False
                )
                # Readers and a writer do not wait for each other. A power loss may take the last entries,
                # which are then paid again, and does not damage the file.
                mode = database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                database.execute("PRAGMA synchronous = NORMAL")
                database.execute(_TABLE)
            except (OSError, sqlite3.Error) as error:
                raise StoreError(f"{self.folder / FILE} cannot be used as a cache: {error}", _HINT) from error
            if mode != "wal":
                database.close()
                raise StoreError(f"{self.folder / FILE} cannot be used as a cache: no write-ahead log", _HINT)
            self._database = database
        return self._database

    def _give_up(self, error: sqlite3.Error) -> None:
        with self._lock:
            if self._broken:
                return
            self._broken = True
        self._warn(f"{self.folder / FILE}: {error}; going on without the cache")


class CachedEngine(EngineBase):
    """An engine whose completions are kept in a cache, and taken from it where they are there.

    ``model`` says which model answers, as far as that is known before ``check``; the name by which the
    engine knows itself after that (``identity``) joins it. ``say`` is told at the end what was not paid.
    """

    def __init__(
        self,
        engine: EngineBase,
        cache: CompletionCache,
        model: str,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.engine, self.cache, self.model = engine, cache, model
        self.say = say
        self._calls = self._reused = 0
        self._saved = Usage()

    @property
    def concurrency(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the engine."""
        return self.engine.concurrency

    @property
    def caps_thinking(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the engine does."""
        return self.engine.caps_thinking

    @property
    def control_tokens(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the engine."""
        return self.engine.control_tokens

    def identity(self) -> str:
        """That of the engine."""
        return self.engine.identity()

    async def check(self) -> None:
        """Open the cache, then check the engine; raises ``StoreError``, ``EngineError``."""
        self.cache.open()
        await self.engine.check()

    async def __call__(self, query: Query) -> Completion:
        model = f"{self.model}\n{self.identity()}"
        key = question_key(query, model)
        self._calls += 1
        known = self.cache.get(key)
        if known is not None:
            self._reused += 1
            self._saved += known.usage
            return known
        completion = await self.engine(query)
        self.cache.put(key, completion, model)
        return completion

    async def aclose(self) -> None:
        """Give back what the engine holds, and say what the cache has answered since the last time."""
        await self.engine.aclose()
        self.cache.close()
        if self._calls:
            share = f"{self._reused:,} of {self._calls:,} calls were answered in it"
            read, written = self._saved.prompt_tokens, self._saved.completion_tokens
            saved = f"{read:,} tokens read and {written:,} written not paid"
            self.say(f"cache {self.cache.folder}: {share}; {saved}")
        self._calls = self._reused = 0
        self._saved = Usage()


def model_stamp(model: str) -> str:
    """What tells the files of a local model from others of its name; empty for a name that is no path.

    Size and hash of the ends of each file: a training may write another model into the same folder.
    """
    if not model or not exists(expanduser(model)):
        return ""
    path = Path(model).expanduser()
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]
    told = "".join(f"{file.name} {stamp(file)}\n" for file in files)
    return blake2b(told.encode(), digest_size=8).hexdigest()
