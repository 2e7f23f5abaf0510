"""Rollouts that read a prompt once: greedy as model.generate, sampled by the row's own draws."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

trl = pytest.importorskip("trl", reason="trl is not installed: pip install 'jurist[train]'")

import torch  # noqa: E402
import transformers  # noqa: E402
from architectures import CONFIGS, PAD  # noqa: E402

from jurist.core.errors import ConfigError  # noqa: E402
from jurist.training import generation  # noqa: E402
from jurist.training.generation import DrawSettings, GeneratedRow, generate  # noqa: E402
from jurist.training.shared_prefix import obstacle  # noqa: E402

PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14], [20, 21, 22], [30] * 6]
FULL: dict[str, Any] = {"eos": (), "pad": PAD, "max_new_tokens": 20}


@pytest.fixture(scope="module")
def model(folder_of):
    """``model(name)``: a random model."""
    made: dict[str, Any] = {}

    def load(name: str) -> Any:
        if name not in made:
            made[name] = transformers.AutoModelForCausalLM.from_pretrained(folder_of(name))
            made[name].generation_config = transformers.GenerationConfig()
        return made[name]

    return load


def stock(model: Any, eos: tuple[int, ...], tokens: int = 20) -> list[list[int]]:
    """model.generate, greedy, for a left-padded batch; each row up to its end token."""
    width = max(map(len, PROMPTS))
    ids = torch.tensor([[PAD] * (width - len(p)) + p for p in PROMPTS])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in PROMPTS])
    config = transformers.GenerationConfig(
        do_sample=False, max_new_tokens=tokens, eos_token_id=list(eos) or None, pad_token_id=PAD
    )
    rows = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, width:].tolist()
    ends = [next((at + 1 for at, token in enumerate(row) if token in eos), tokens) for row in rows]
    return [row[:end] for row, end in zip(rows, ends, strict=True)]


def scored(model: Any, prompt: list[int], row: GeneratedRow, temperature: float) -> Any:
    """The log-probabilities of a row by one plain forward pass."""
    logits = model(torch.tensor([prompt + row.ids])).logits[0, len(prompt) - 1 : -1].float() / temperature
    return logits.log_softmax(-1).gather(1, torch.tensor(row.ids)[:, None])[:, 0]


def ends(model: Any) -> tuple[int, ...]:
    """Two tokens that end greedy rows at different places."""
    rows = stock(model, ())
    return rows[0][3], rows[1][11]


@pytest.mark.parametrize("name", ["llama", "qwen2", "window", "gemma2", "gpt2", "mixtral", "opt", "mamba"])
def test_greedy_rows_match_generate_and_the_forward_pass(name, model):
    network = model(name)
    for eos in ((), ends(network)):
        rows = generate(network, PROMPTS, 2, **FULL | {"eos": eos}, temperature=0)
        assert [row.ids for row in rows[::2]] == [row.ids for row in rows[1::2]] == stock(network, eos)
        for prompt, row in zip(PROMPTS, rows[::2], strict=True):
            with torch.no_grad():
                wanted = scored(network, prompt, row, 1.0)
            torch.testing.assert_close(torch.tensor(row.logprobs), wanted, rtol=0, atol=1e-4)


def test_the_three_that_cannot_share_and_the_rest_that_can(model):
    assert {name for name in CONFIGS if obstacle(model(name))} == {"opt", "mamba"}


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_a_sampled_row_depends_on_its_seed_and_number_only(top_p, model):
    network, options = (
        model("llama"),
        FULL | {"temperature": 0.7, "top_p": top_p, "eos": ends(model("llama"))},
    )
    rows = generate(network, PROMPTS, 8, **options, seed=4)
    assert rows == generate(network, PROMPTS, 8, **options, seed=4)
    assert rows != generate(network, PROMPTS, 8, **options, seed=5)
    assert len({tuple(row.ids) for row in rows[:8]}) > 1
    assert [r.ids for r in generate(network, PROMPTS[:1], 8, **options, seed=4)] == [r.ids for r in rows[:8]]
    for at, row in enumerate(rows):
        with torch.no_grad():
            wanted = scored(network, PROMPTS[at // 8], row, 0.7)
        torch.testing.assert_close(torch.tensor(row.logprobs), wanted, rtol=0, atol=1e-4)
        assert all(token not in options["eos"] for token in row.ids[:-1])
        assert len(row.ids) == 20 or row.ids[-1] in options["eos"]


def test_the_fallback_draws_the_same_rows(model, monkeypatch):
    options = FULL | {"temperature": 0.9, "top_p": 0.9, "eos": ends(model("llama")), "seed": 1}
    shared = generate(model("llama"), PROMPTS, 4, **options)
    monkeypatch.setattr(generation, "obstacle", lambda *_: "no reason")
    fallen = generate(model("llama"), PROMPTS, 4, **options)
    assert [row.ids for row in shared] == [row.ids for row in fallen]


def test_drawn_tokens_have_the_distribution_of_the_logits():
    """Chi-square over 4,000 draws; 5 degrees of freedom stay under 25 with probability 0.9999."""
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5, 1.5]).expand(4000, 6)
    points = torch.rand(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens, _ = generation._drawn(logits, DrawSettings(1, temperature=2.0), points)
    wanted = (logits[0] / 2).softmax(-1) * 4000
    assert float(((tokens.bincount(minlength=6) - wanted) ** 2 / wanted).sum()) < 25


@pytest.mark.parametrize(("top_p", "kept"), [(0.5, {2}), (0.6, {2, 5}), (0.8, {1, 2, 5}), (1e-9, {2})])
def test_the_nucleus_ends_with_the_token_that_reaches_its_mass(top_p, kept):
    logits = torch.tensor([0.02, 0.2, 0.55, 0.02, 0.01, 0.2]).log().expand(500, 6).clone()
    logits[:, 5] += 0.01
    points = torch.linspace(0, 1, 501, dtype=torch.float64)[:-1]
    tokens, logps = generation._drawn(logits, DrawSettings(1, top_p=top_p), points)
    assert set(tokens.tolist()) == kept
    assert torch.allclose(logps, logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0])


def test_a_prompt_is_read_once_and_ended_rows_leave(model):
    network, seen = model("llama"), []
    assert obstacle(network) is None
    hook = network.get_input_embeddings().register_forward_hook(
        lambda _, ids, __: seen.append(tuple(ids[0].shape))
    )
    rows = generate(network, PROMPTS, 8, **FULL | {"eos": range(40)}, seed=2)
    hook.remove()
    lengths = [len(row.ids) for row in rows]
    assert seen[0] == (3, 10)
    assert len(seen) == max(lengths)
    assert seen[-1][0] < 12
    for at, shape in enumerate(seen[1:], start=1):
        alive = sum(length > at for length in lengths)
        assert shape[1] == 1
        assert alive <= shape[0] < 2 * alive
    assert all(first[0] >= then[0] for first, then in pairwise(seen[1:]))


def test_checkpointing_and_training_mode_change_nothing(model):
    network = model("gpt2")
    wanted = generate(network, PROMPTS, 2, **FULL, seed=3)
    network.train()
    network.gradient_checkpointing_enable()
    assert generate(network, PROMPTS, 2, **FULL, seed=3) == wanted
    assert network.training
    network.gradient_checkpointing_disable()
    network.eval()


@pytest.mark.parametrize(
    "wrong",
    [{"copies": 0}, {"prompts": [[1], []]}, {"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}],
)
def test_what_is_out_of_range_is_refused(wrong, model):
    with pytest.raises(ConfigError):
        generate(model("llama"), **{"prompts": PROMPTS, "copies": 2} | FULL | wrong)


def test_an_adapter_takes_part(folder_of):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    network = transformers.AutoModelForCausalLM.from_pretrained(folder_of("llama"))
    network.generation_config = transformers.GenerationConfig()
    plain = stock(network, ())
    torch.manual_seed(0)
    lora = peft.LoraConfig(r=4, init_lora_weights=False, task_type="CAUSAL_LM")
    tuned = peft.get_peft_model(network, lora).eval()
    rows = [row.ids for row in generate(tuned, PROMPTS, 1, **FULL, temperature=0)]
    assert rows == stock(tuned, ()) != plain


def test_a_model_first_met_under_autocast_is_shared_all_the_same(folder_of):
    network = transformers.AutoModelForCausalLM.from_pretrained(folder_of("llama"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows = generate(network, PROMPTS, 2, **FULL, temperature=0)
    assert obstacle(network) is None
    assert all(len(row.ids) == 20 for row in rows)


def test_the_cache_grows_by_pieces(model, monkeypatch):
    wanted = generate(model("llama"), PROMPTS, 2, **FULL, temperature=0)
    for room in (1, 3):
        monkeypatch.setattr(generation, "_ROOM", room)
        assert generate(model("llama"), PROMPTS, 2, **FULL, temperature=0) == wanted


def test_nothing_asked_is_nothing_written(model, tmp_path: Path):
    assert generate(model("llama"), [], 3, **FULL) == []
    assert not list(tmp_path.iterdir())
