"""Exact prompts of published checkpoints: fetched from their source, verified, cached; none is kept here."""

import ast
import http.client
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec

from jurist.core import files
from jurist.core.errors import ProtocolError, unknown


@dataclass(frozen=True, slots=True)
class Published:
    """Where a family's prompts are published, and what they must hash to.

    ``constants`` says which constants of the Python source, joined, make each string.
    """

    name: str
    url: str
    licence: str
    constants: Mapping[str, tuple[str, ...]]
    sha256: Mapping[str, str]


PUBLISHED = {
    "rm-r1": Published(
        name="rm-r1",
        url="https://raw.githubusercontent.com/RM-R1-UIUC/RM-R1/d4c2542f0608e019074b9b2322fe6502e6ab7ab0"
        "/eval/reward-bench/rewardbench/generative.py",
        licence="Apache-2.0",
        constants={
            "instruct_system": ("RM_R1_INSTRUCT_SYSTEM_PROMPT",),
            "instruct_user": ("RM_R1_SINGLE_TURN_INSTRUCT_USER_PROMPT",),
            "instruct_user_multi_turn": ("RM_R1_MULTI_TURN_INSTRUCT_USER_PROMPT",),
            "reasoning_user": ("RM_R1_SINGLE_TURN_REASONING_USER_PROMPT",),
            "reasoning_user_multi_turn": ("RM_R1_MULTI_TURN_REASONING_USER_PROMPT",),
        },
        sha256={
            "instruct_system": "e0bf09a87f19837abf172278c348e8fc6ed36034f4f39b98191910533c3df3ed",
            "instruct_user": "5fa3baf9813bdf0ed9b8601be6fe162ab82e37467e0843c32cfbc22792c65ac2",
            "instruct_user_multi_turn": "8cb7158fc42faa0b78f398ea4f9e475dc204cf9bfd0e81e2d4984059dd5252d9",
            "reasoning_user": "2a0d3caf562d59367bbbefb29c400438e0312def4fbb73fb2e70be8661ddd770",
            "reasoning_user_multi_turn": "3abf19ca3d35017131fe26861e09ab3bb343c0fe96e901cea2fe5aeb1a67bedb",
        },
    ),
    "rrm": Published(
        name="rrm",
        url="https://raw.githubusercontent.com/microsoft/LMOps/af6bc85e3e669ad5ec371d074c767905869c862e"
        "/RRM-evaluation/rewardbench/generative.py",
        licence="MIT",
        constants={
            "system": ("Skywork_SYSTEM_PROMPT",),
            "user": ("Skywork_PROMPT", "Skywork_ASSISTANT_PROMPT"),
        },
        sha256={
            "system": "84b052628bac5f29f880e49277ea0b8b449fc4fadcc1ac3cb1a62e858f98529a",
            "user": "c061501a6e9c2abdab9d1999af2627406e72d60aebd4cab71ac04c6754863752",
        },
    ),
}


def prompts(name: str, file: Path | None = None) -> dict[str, str]:
    """The strings of a published family, from ``file``, ``JURIST_PROTOCOLS``, the cache or its source."""
    published = _published(name)
    local = file or _local(name)
    if local is not None:
        return read_file(published, local)
    cached = cache_folder() / f"{name}.json"
    if cached.exists():
        return read_file(published, cached)
    return pull(name)


def pull(name: str, file: Path | None = None) -> dict[str, str]:
    """Fetch the strings from their source (or ``file``), verify them and put them into the cache."""
    published = _published(name)
    strings = (
        read_file(published, file) if file else verified(published, from_source(published, _fetch(published)))
    )
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    content = {"protocol": name, "licence": published.licence, "source": published.url, "strings": strings}
    files.write_whole(folder / f"{name}.json", msgspec.json.format(msgspec.json.encode(content), indent=1))
    return strings


def cache_folder() -> Path:
    """Where pulled prompts are kept: ``$XDG_CACHE_HOME/jurist/protocols``."""
    return files.cache_folder("protocols")


def read_file(published: Published, file: Path) -> dict[str, str]:
    """The verified strings of a local file: JSON with ``strings``, or the published Python source itself."""
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(
            f"cannot read the protocol file {file}: {error}",
            hint=f"from its source: jurist protocols pull {published.name} (with JURIST_PROTOCOLS unset); "
            f"JURIST_PROTOCOLS names a file, or a folder that holds {published.name}.json",
        ) from error
    if file.suffix == ".py":
        return verified(published, from_source(published, text, str(file)), str(file))
    try:
        strings = msgspec.json.decode(text, type=dict[str, msgspec.Raw])["strings"]
        return verified(published, msgspec.json.decode(strings, type=dict[str, str]), str(file))
    except (msgspec.DecodeError, KeyError) as error:
        raise ProtocolError(
            f"{file} is not a protocol file: expected JSON with an object 'strings'",
            hint=f"it needs the keys {', '.join(published.sha256)}",
        ) from error


def from_source(published: Published, source: str, where: str = "") -> dict[str, str]:
    """The strings out of the published Python file, read without running it."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError) as error:
        # A proxy's error page, for example.
        raise ProtocolError(
            f"what came from {where or published.url} is not the published Python source ({error})",
            hint=f"from a file: jurist protocols pull {published.name} --file FILE",
        ) from error
    wanted = {c for group in published.constants.values() for c in group}
    texts: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in wanted:
                texts[name] = _text(node.value)
    return {key: "".join(texts.get(c, "") for c in group) for key, group in published.constants.items()}


def verified(published: Published, strings: Mapping[str, str], where: str = "") -> dict[str, str]:
    """The strings, if each one hashes to what was published."""
    for key, expected in published.sha256.items():
        seen = sha256(strings.get(key, "").encode()).hexdigest()
        if seen != expected:
            raise ProtocolError(
                f"the prompt {key!r} of {published.name} from {where or published.url} is not the published "
                f"one (sha256 {seen[:12]}, expected {expected[:12]})",
                hint="take the file of the named commit, or write your own protocol for changed prompts",
            )
    return {key: strings[key] for key in published.sha256}


def _published(name: str) -> Published:
    if name not in PUBLISHED:
        raise unknown("published protocol", name, PUBLISHED)
    return PUBLISHED[name]


def _local(name: str) -> Path | None:
    place = os.environ.get("JURIST_PROTOCOLS")
    if not place:
        return None
    path = Path(place)
    return path / f"{name}.json" if path.is_dir() else path


def _fetch(published: Published) -> str:
    try:
        with urllib.request.urlopen(published.url, timeout=30) as reply:
            return reply.read().decode("utf-8")
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        reason = getattr(error, "reason", error)
        raise ProtocolError(
            f"the prompts of {published.name} are not cached and could not be fetched "
            f"from {published.url} ({reason})",
            hint=f"where there is a network: jurist protocols pull {published.name}; "
            f"from a file: jurist protocols pull {published.name} --file FILE, or --protocol-file FILE",
        ) from error


def _text(node: ast.expr) -> str:
    """A string constant, or a sum of them."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return ""
