"""Shared prompts in training: the loss and every gradient of stock TRL, each prompt computed once."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

trl = pytest.importorskip("trl", reason="trl is not installed: pip install 'jurist[train]'")

import torch  # noqa: E402
import transformers  # noqa: E402
from architectures import PAD, VOCABULARY, grpo_trainer  # noqa: E402

from jurist.training import shared_prefix  # noqa: E402
from jurist.training.shared_prefix import SharedPrefix, groups_of, obstacle, regrouped, shared_logps  # noqa: E402  # noqa: E402

torch.set_num_threads(1)
LENGTHS, PROMPTS, WRITTEN = (20, 13, 16), (0, 0, 0, 0, 1, 1, 1, 2), (12, 5, 1, 7, 9, 11, 0, 3)


class Shared(SharedPrefix, trl.GRPOTrainer):
    """The trainer under test."""


@pytest.fixture
def make(tmp_path: Path):
    """``make(kind, model, ...)``: a trainer, see ``grpo_trainer``."""
    return lambda kind, model, peft=None, **options: grpo_trainer(kind, model, tmp_path, peft, **options)


def batch(seed: int = 0) -> dict[str, Any]:
    """Eight rows of three prompts, shuffled: padded left and right, one without a completion."""
    draw = torch.Generator().manual_seed(seed)
    heads = [torch.randint(VOCABULARY, (n,), generator=draw) for n in LENGTHS]
    prompts, prompt_mask = torch.full((8, 22), PAD), torch.zeros(8, 22, dtype=torch.long)
    for row, which in enumerate(PROMPTS):
        prompts[row, 22 - LENGTHS[which] :] = heads[which]
        prompt_mask[row, 22 - LENGTHS[which] :] = 1
    mask = (torch.arange(13) < torch.tensor(WRITTEN)[:, None]).long()
    ids = torch.randint(VOCABULARY, (8, 13), generator=draw).masked_fill(mask == 0, PAD)
    order = torch.randperm(8, generator=draw)
    rows = {"prompt_ids": prompts, "prompt_mask": prompt_mask, "completion_ids": ids, "completion_mask": mask}
    for name in ("old_per_token_logps", "ref_per_token_logps"):
        rows[name] = torch.randn(8, 13, generator=draw) * 0.1 - 5
    rows["advantages"] = torch.randn(8, generator=draw)
    return {k: v[order] for k, v in rows.items()} | {"num_items_in_batch": mask.sum()}


def inputs(rows: dict[str, Any]) -> tuple[Any, Any, int]:
    ids = torch.cat([rows["prompt_ids"], rows["completion_ids"]], 1)
    return ids, torch.cat([rows["prompt_mask"], rows["completion_mask"]], 1), 13


def gradients(trainer: Any, rows: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, rows)
    loss.backward()
    named = trainer.model.named_parameters()
    return float(loss.detach()), {name: p.grad.clone() for name, p in named if p.grad is not None}


def same(stock: Any, shared: Any, rows: dict[str, Any]) -> None:
    (loss, wanted), (ours, got) = gradients(stock, rows), gradients(shared, rows)
    assert ours == pytest.approx(loss, abs=1e-5)
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max()))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("llama", {"loss_type": "grpo", "beta": 0.1, "temperature": 0.7}),
        ("llama", {"loss_type": "dr_grpo", "entropy_coef": 0.01}),
        (
            "qwen2",
            {"loss_type": "dapo", "beta": 0.1, "top_entropy_quantile": 0.5, "cast_lm_head_to_fp32": True},
        ),
        ("window", {"loss_type": "dapo", "temperature": 1.3}),
        ("gemma2", {"loss_type": "grpo", "importance_sampling_level": "sequence"}),
        ("gpt2", {"loss_type": "grpo", "beta": 0.1}),
        ("bloom", {"loss_type": "dapo"}),
    ],
)
def test_the_loss_and_every_gradient_are_those_of_stock_trl(name, options, folder_of, make):
    stock, shared = (make(kind, folder_of(name), **options) for kind in (trl.GRPOTrainer, Shared))
    shared.say = pytest.fail
    for seed in range(2):
        same(stock, shared, batch(seed))


@pytest.mark.parametrize("at_once", [24, 8192])
def test_gradient_checkpointing_changes_nothing(at_once, folder_of, make, monkeypatch):
    monkeypatch.setattr(shared_prefix, "_AT_ONCE", at_once)
    stock, shared = (make(kind, folder_of("llama")) for kind in (trl.GRPOTrainer, Shared))
    for trainer in (stock, shared):
        trainer.model.gradient_checkpointing_enable()
    shared.say = pytest.fail
    same(stock, shared, batch())
    assert all(layer.gradient_checkpointing for layer in shared.model.model.layers)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapter_gradients_and_reference_are_the_same(checkpointing, folder_of, make):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    lora = peft.LoraConfig(r=4, init_lora_weights=False, task_type="CAUSAL_LM")
    stock, shared = (make(kind, folder_of("llama"), lora, beta=0.1) for kind in (trl.GRPOTrainer, Shared))
    shared.model.load_state_dict(stock.model.state_dict())
    for trainer in (stock, shared) if checkpointing else ():
        trainer.model.gradient_checkpointing_enable()
    shared.say = pytest.fail
    same(stock, shared, batch())
    values = []
    for trainer in (stock, shared):
        with trainer.model.disable_adapter(), torch.no_grad():
            values.append(trainer._get_per_token_logps_and_entropies(trainer.model, *inputs(batch())))
    torch.testing.assert_close(values[0][0], values[1][0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [None, 3])
def test_log_probabilities_in_pieces_and_entropies_are_the_same(size, folder_of, make):
    values = []
    for trainer in (make(kind, folder_of("qwen2"), temperature=0.5) for kind in (trl.GRPOTrainer, Shared)):
        logps = trainer._get_per_token_logps_and_entropies
        with torch.no_grad():
            values.append(logps(trainer.model, *inputs(batch()), size, True))
    for stock, shared in zip(values[0][:2], values[1][:2], strict=True):
        torch.testing.assert_close(shared, stock, rtol=0, atol=1e-5)


def test_a_prompt_is_computed_once_and_padding_not_at_all(folder_of, make):
    shared = make(Shared, folder_of("llama"))
    ids, mask, keep = inputs(batch())
    assert obstacle(shared.model) is None
    seen: list[int] = []
    hook = shared.model.get_input_embeddings().register_forward_hook(
        lambda _, ids, __: seen.append(ids[0].numel())
    )
    shared_logps(shared.model, ids, mask, keep)
    hook.remove()
    # Per group: its prompt but the last token, then as many tokens per row as its longest completion has.
    assert sorted(seen) == sorted([19, 4 * 12, 12, 3 * 11, 15, 1 * 3])


@pytest.mark.parametrize(
    ("name", "reason"),
    [("mamba", "it takes no cache"), ("opt", "of their norm"), ("mixtral", "load-balancing loss")],
)
def test_a_model_that_cannot_share_falls_back_to_trl_with_a_note(name, reason, folder_of, make):
    said: list[str] = []
    rows = batch()
    stock, shared = (make(kind, folder_of(name)) for kind in (trl.GRPOTrainer, Shared))
    shared.say = said.append
    values = []
    for trainer in (stock, shared, shared):
        torch.manual_seed(0)
        values.append(trainer._compute_loss(trainer.model.eval(), rows).item())
    assert values[0] == values[1] == values[2]
    assert len(said) == 1
    assert reason in said[0]


def test_prompts_that_only_an_adapter_knows_are_not_shared(folder_of):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder_of("llama"))
    tuned = peft.get_peft_model(model, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    assert "tokens of its own" in obstacle(tuned)


def test_where_nothing_can_be_shared_there_is_no_answer(folder_of, make):
    model = make(Shared, folder_of("llama")).model
    ids, mask, keep = inputs(batch())
    alone = [group.rows[0] for group in groups_of(ids, mask, keep)]
    unwritten = torch.cat([mask[:, :-keep], torch.zeros_like(mask[:, -keep:])], 1)
    for part in ((ids[alone], mask[alone]), (ids, unwritten), (ids[:, 21:], mask[:, 21:])):
        assert shared_logps(model, *part, keep) is None


def test_equal_ids_with_different_padding_are_different_prompts():
    ids = torch.full((3, 6), PAD)
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    assert [(g.rows, g.start, len(g.prompt)) for g in groups_of(ids, mask, 2)] == [
        ([0, 2], 0, 4),
        ([1], 1, 3),
    ]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(1, 4), st.randoms())
def test_regrouping_keeps_every_row_and_brings_siblings_together(prompts, batches, random):
    rows = [(which, at) for at, which in enumerate(prompts * batches)]
    random.shuffle(rows)
    size = len(prompts)
    cut = [rows[at : at + size] for at in range(0, len(rows), size)]
    made = [
        {
            "prompt_ids": torch.tensor([[PAD, r[0]] for r in part]),
            "prompt_mask": torch.ones(len(part), 2, dtype=torch.long),
            "row": [r[1] for r in part],
            "total": torch.tensor(9),
            "absent": None,
        }
        for part in cut
    ]
    new = regrouped(made)
    assert [len(part["row"]) for part in new] == [size] * batches
    told = [
        (int(ids[1]), row) for part in new for ids, row in zip(part["prompt_ids"], part["row"], strict=True)
    ]
    assert sorted(told) == sorted(rows)
    assert all(int(part["total"]) == 9 and part["absent"] is None for part in new)
    order = [which for which, _ in told]
    runs = Counter(which for at, which in enumerate(order) if at == 0 or order[at - 1] != which)
    assert batches == 1 or set(runs.values()) == {1}


def _watched(loss, watch, model, rows):
    watch(rows)
    return loss(model, rows)


def test_a_whole_step_ends_at_the_parameters_of_stock_trl(folder_of, make):
    """Two prompts, micro-batches of one group each, against stock TRL with its rows scattered."""
    options = {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "max_steps": 1,
        "beta": 0.1,
    }
    ended = []
    for kind in (trl.GRPOTrainer, Shared):
        trainer = make(
            kind, folder_of("llama"), **options, optim="sgd", learning_rate=0.1, save_strategy="no"
        )
        sizes: list[int] = []
        watch = lambda rows, sizes=sizes: sizes.append(len(rows["prompt_ids"].unique(dim=0)))
        trainer._compute_loss = partial(_watched, trainer._compute_loss, watch)
        trainer.train()
        ended.append((sizes, {n: p.detach().clone() for n, p in trainer.model.named_parameters()}))
    assert ended[1][0] == [1, 1]
    for name, wanted in ended[0][1].items():
        torch.testing.assert_close(ended[1][1][name], wanted, rtol=0, atol=1e-5)
