"""Low-rank updates of a model's matrices in one small GGUF file, in the format of llama.cpp's adapters.

Format: llama.cpp, convert_lora_to_gguf.py. ``general.type`` is "adapter"; each updated matrix has two
tensors, ``NAME.lora_a`` (rank x inputs) and ``NAME.lora_b`` (outputs x rank), and the update is
(``adapter.lora.alpha`` / rank) B A.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jurist.core.errors import EngineError
from jurist.engines.gguf import Prepared, Weights, open_gguf, prepared, stamp

JUDGE = Path(__file__).with_name("judge.gguf")
"""The judge that comes with this package: an update of the packaged model."""

# The field general.type with the text "adapter", as it stands in a file: name, kind 8 (a text), length, text.
_ADAPTER = b"general.type" + struct.pack("<IQ", 8, 7) + b"adapter"


@dataclass(frozen=True, slots=True)
class LowRank:
    """``scale`` times ``up`` (outputs x rank) times ``down`` (rank x inputs), in float32."""

    down: Any
    up: Any
    scale: float

    def added_to(self, weights: Any) -> Any:
        """The updated matrix (outputs x inputs)."""
        return weights + self.scale * (self.up @ self.down)


def is_adapter(file: Path) -> bool:
    """Whether a GGUF file holds updates, not a model."""
    with file.open("rb") as data:
        return _ADAPTER in data.read(4096)


def read_updates(file: Path) -> dict[str, LowRank]:
    """The updates of an adapter file, by the name of the matrix. Raises ``EngineError``."""
    library, reader = open_gguf(file)
    alpha = float(reader.fields["adapter.lora.alpha"].contents())
    tensors = {t.name: library.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    names = [name.removesuffix(".lora_a") for name in tensors if name.endswith(".lora_a")]
    updates: dict[str, LowRank] = {}
    for name in names:
        down, up = tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]
        updates[name] = LowRank(down, up, alpha / down.shape[0])
    return updates


def prepared_with_updates(
    file: Path | None, finish: Callable[[Path], None] = lambda _: None, base: Path | None = None
) -> Prepared:
    """``prepared``; a ``file`` that is an adapter is merged into ``base`` (None: the packaged model).

    Raises ``EngineError``, ``MissingExtraError``.
    """
    if file is None or not file.is_file() or not is_adapter(file):
        return prepared(file, finish)
    left: dict[str, LowRank] | None = None

    def added(name: str, weights: Weights) -> Weights:
        nonlocal left
        if left is None:
            left = read_updates(file)
        update = left.pop(name, None)
        return weights if update is None else update.added_to(weights)

    def finished(written: Path) -> None:
        if left:
            raise EngineError(f"{file} updates {min(left)}, which the model does not have")
        finish(written)

    return prepared(base, finished, change=added, change_name=f"{file.stem}-{stamp(file)}")


def write_updates(
    library: Any, target: Path, updates: Mapping[str, LowRank], architecture: str, fields: Mapping[str, str]
) -> None:
    """Write updates in 8 bits (Q8_0). ``fields``: further text fields.

    The format's blocks are of 32 values: a rank that is no multiple of 32 is filled up with zeros.
    """
    updates = {name: _filled(update) for name, update in updates.items()}
    alphas = {update.scale * update.down.shape[0] for update in updates.values()}
    if len(alphas) != 1:
        raise ValueError(f"updates of one file share one alpha, saw {sorted(alphas)}")
    writer: Any = library.GGUFWriter(str(target), architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alphas.pop())
    for name, text in fields.items():
        writer.add_string(name, text)
    kind: Any = library.GGMLQuantizationType.Q8_0
    for name, update in updates.items():
        for part, values in (("lora_a", update.down), ("lora_b", update.up)):
            writer.add_tensor(f"{name}.{part}", library.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _filled(update: LowRank) -> LowRank:
    import numpy as np

    more = -update.down.shape[0] % 32
    down = np.pad(update.down, ((0, more), (0, 0)))
    return LowRank(down, np.pad(update.up, ((0, 0), (0, more))), update.scale)
