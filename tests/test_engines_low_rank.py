"""Low-rank updates: written, read and merged into a model's file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

gguf: Any = pytest.importorskip("gguf", reason="the extra 'embedded' is not installed")

from jurist.core.errors import EngineError  # noqa: E402
from jurist.engines.low_rank import (  # noqa: E402
    LowRank,
    is_adapter,
    prepared_with_updates,
    read_updates,
    write_updates,
)

NAME = "blk.0.attn_q.weight"
RANDOM = np.random.default_rng(0)


def update(rank: int = 32) -> LowRank:
    down, up = RANDOM.normal(size=(rank, 64)), RANDOM.normal(size=(96, rank))
    return LowRank(down.astype(np.float32), up.astype(np.float32), 0.5)


def model(path: Path) -> Any:
    """A file with one matrix (96 x 64) and one vector, and the matrix."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(128)
    matrix = RANDOM.normal(size=(96, 64)).astype(np.float32)
    writer.add_tensor(NAME, matrix)
    writer.add_tensor("output_norm.weight", np.ones(64, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return matrix


def tensors(path: Path) -> dict[str, Any]:
    return {t.name: np.array(t.data) for t in gguf.GGUFReader(str(path)).tensors}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("rank", [32, 48])
def test_updates_come_back_within_eight_bits(tmp_path: Path, rank: int):
    made = update(rank)
    write_updates(gguf, tmp_path / "a.gguf", {NAME: made}, "llama", {"general.name": "x"})
    assert is_adapter(tmp_path / "a.gguf")
    read = read_updates(tmp_path / "a.gguf")[NAME]
    zero = np.zeros((96, 64), np.float32)
    error = np.abs(read.added_to(zero) - made.added_to(zero)).max() / np.abs(made.added_to(zero)).max()
    assert error < 0.01


def test_a_model_is_prepared_with_its_update_in_it(tmp_path: Path):
    matrix, made = model(tmp_path / "m.gguf"), update()
    write_updates(gguf, tmp_path / "a.gguf", {NAME: made}, "llama", {})
    assert not is_adapter(tmp_path / "m.gguf")
    plain = tensors(prepared_with_updates(tmp_path / "m.gguf").file)
    merged = tensors(prepared_with_updates(tmp_path / "a.gguf", base=tmp_path / "m.gguf").file)
    assert np.array_equal(plain[NAME], matrix)
    assert np.allclose(merged[NAME].astype(np.float32), made.added_to(matrix), atol=0.2)
    assert not np.allclose(merged[NAME].astype(np.float32), matrix, atol=0.2)
    assert np.array_equal(plain["output_norm.weight"], merged["output_norm.weight"])


def test_an_update_of_a_matrix_that_the_model_lacks_is_an_error(tmp_path: Path):
    model(tmp_path / "m.gguf")
    write_updates(gguf, tmp_path / "a.gguf", {"blk.7.attn_q.weight": update()}, "llama", {})
    with pytest.raises(EngineError, match=r"blk\.7\.attn_q"):
        prepared_with_updates(tmp_path / "a.gguf", base=tmp_path / "m.gguf")
