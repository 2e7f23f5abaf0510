"""What run.json says: the configuration of a run, sealed, and whether another one may go on in its folder."""

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from jurist.core.errors import StoreError
from jurist.core.files import Warn, read_regular, write_json
from jurist.core.run_lines import PROMPTS

RUN = "run.json"
FORMAT = 2
"""Version of the folder. Before 2 each judgment held its whole query, and no line had a checksum."""

FREE = frozenset(
    {
        "concurrency", "timeout", "retry_for", "requests_per_minute", "tokens_per_minute", "give_up_after",
        "cache", "jurist", "input",
    }
)  # fmt: skip
"""Options that change how fast a run goes, not what it says."""

_SERVERS = re.compile(r"(?:scalar\+)?https?://", re.I)
_INPUT_HASH = frozenset({"input_sha256", "input_bytes"})
_SINCE_2 = frozenset({"cases_hash"})
"""Options that folders of before version 2 do not have."""
_OWN = "run_folder"


class RunFacts(NamedTuple):
    """What run.json says: the configuration, the folder's version, and bytes without checksums by file."""

    config: dict[str, Any]
    version: int
    unsealed: dict[str, int]


def read_run(folder: Path, name: str = RUN) -> RunFacts:
    """What run.json says; raises ``StoreError`` where there is none, or it is not what was written."""
    path = folder / name
    if not path.exists() and not path.is_symlink():
        raise StoreError(f"{folder} is not a run folder: it has no {name}")
    try:
        config = msgspec.json.decode(read_regular(path), type=dict[str, Any])
        folder_facts = msgspec.convert(config.pop(_OWN, {}), dict[str, Any])
        version = int(folder_facts.get("version", 1))
        unsealed = msgspec.convert(folder_facts.get("unsealed", {}), dict[str, int])
    except (msgspec.DecodeError, msgspec.ValidationError, OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error}") from error
    facts = RunFacts(config, version, unsealed)
    if version > FORMAT and folder_facts.get("crc") == _crc(facts):
        raise StoreError(f"{path} is of version {version}, and this program reads up to {FORMAT}")
    # Before version 2 there was no file of prompts.
    new = bool(folder_facts) or (name == RUN and (folder / PROMPTS).exists())
    if new and folder_facts.get("crc") != _crc(facts):
        raise StoreError(
            f"{path} is not what was written: its checksum is wrong",
            hint=f'if you changed it yourself, let "{_OWN}" have "crc": "{_crc(facts)}"',
        )
    return facts


def write_run(folder: Path, facts: RunFacts) -> None:
    """Write run.json."""
    folder_facts = {"version": facts.version, "unsealed": facts.unsealed, "crc": _crc(facts)}
    write_json(folder / RUN, {**facts.config, _OWN: folder_facts})


def read_config(folder: Path, name: str = RUN) -> dict[str, Any]:
    """The resolved configuration of a run; raises where the folder is not a run."""
    return read_run(folder, name).config


def adopt(folder: Path, config: Mapping[str, Any], name: str, free: frozenset[str] = FREE) -> None:
    """Write a configuration into ``folder / name``, or check that it is the one that is there.

    Raises ``StoreError`` with what differs; options in ``free`` may.
    """
    path = folder / name
    if path.exists():
        agreed(folder, read_config(folder, name), config, free, lambda _: None)
    else:
        write_json(path, msgspec.to_builtins(config))


def agreed(
    folder: Path, before: dict[str, Any], config: Mapping[str, Any], free: frozenset[str], warn: Warn
) -> dict[str, Any]:
    """The configuration to keep; raises ``StoreError`` where the new one is another."""
    now: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(config))
    names = sorted({*before, *now} - free - _INPUT_HASH - (_SINCE_2 - before.keys()))
    pairs = {name: (before.get(name), now.get(name)) for name in names}
    if all(isinstance(engine, str) and _SERVERS.match(engine) for engine in pairs.get("engine", (None,))):
        # Servers move; which model they serve is compared by itself.
        del pairs["engine"]
    changed = [f"{name} was {old!r}, now {new!r}" for name, (old, new) in pairs.items() if old != new]
    if changed:
        raise StoreError(
            f"the run folder {folder} belongs to another configuration: {'; '.join(changed)}",
            hint="choose another --out, or repeat the options of that run",
        )
    known = before.get("input_sha256")
    if known is None or "input_sha256" not in now or known == now["input_sha256"]:
        return {**before, **{name: now[name] for name in _INPUT_HASH if name in now}}
    more = int(now["input_bytes"]) - int(before["input_bytes"])
    if more > 0 and input_facts(str(now["input"]), int(before["input_bytes"]))["input_sha256"] == known:
        warn(f"the input has grown by {more:,} bytes since this run began: what it had before is kept")
        return {**before, **{name: now[name] for name in _INPUT_HASH}}
    raise StoreError(
        f"the run folder {folder} belongs to another input: {now['input']} is not what was judged there "
        f"(sha256 {str(known)[:12]}, now {str(now['input_sha256'])[:12]})",
        hint="choose another --out; a file to which rows were only added may go on",
    )


def input_facts(source: str, size: int | None = None) -> dict[str, Any]:
    """The name of an input and, of a plain file, its SHA-256 and size; ``size``: of its first bytes only."""
    facts: dict[str, Any] = {"input": source}
    path = Path(source).expanduser()
    if not source or source == "-" or not path.is_file():
        return facts
    whole, left = sha256(), path.stat().st_size if size is None else size
    facts["input_bytes"] = left
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            whole.update(block)
            left -= len(block)
    return {**facts, "input_sha256": whole.hexdigest()}


def _crc(facts: RunFacts) -> str:
    return f"{crc32(msgspec.json.encode([facts.config, facts.version, facts.unsealed])):08x}"
