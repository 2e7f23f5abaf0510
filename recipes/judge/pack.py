"""Pack a training's updates into one GGUF file, as the embedded engine merges it.

python recipes/judge/pack.py runs/judge/alone/state.pt src/jurist/engines/judge.gguf
"""

import argparse
from pathlib import Path
from typing import Any

import gguf
import torch

from jurist.engines.low_rank import LowRank, write_updates

_NAMES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}
_HEADS = (9, 3)
"""Heads of SmolLM2-135M's queries and keys: GGUF's llama turns neighbours where transformers turns halves."""


def updates_of(state: dict[str, Any]) -> dict[str, LowRank]:
    """The updates of a training by GGUF's names."""
    found: dict[str, LowRank] = {}
    heads_of = dict(zip(("q_proj", "k_proj"), state.get("heads", _HEADS), strict=True))
    for name, down in state["masters"].items():
        if not name.endswith(".down"):
            continue
        layer, _, projection = name.removesuffix(".down").split(".")
        up = state["masters"][f"{name.removesuffix('.down')}.up"]
        if heads := heads_of.get(projection):
            up = up.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)
        matrix = f"blk.{layer}.{_NAMES[projection]}.weight"
        found[matrix] = LowRank(down.cpu().numpy(), up.contiguous().cpu().numpy(), state["scale"])
    return found


def main() -> None:
    """Read the options and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("state", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--note", default="")
    chosen = parser.parse_args()
    state = torch.load(chosen.state, map_location="cpu")
    fields = {
        "general.name": "Jurist judge",
        "general.license": "apache-2.0",
        "general.base_model.0.name": "SmolLM2-135M-Instruct",
        "general.description": chosen.note
        or f"a reasoning judge of replies: {state['rows']} rows, {state['step']} steps",
    }
    write_updates(gguf, chosen.target, updates_of(state), "llama", fields)
    print(f"{chosen.target}: {chosen.target.stat().st_size / 1e6:.1f} MB, step {state['step']}")


if __name__ == "__main__":
    main()
