"""What a GPU can change: the engine's texts and margins, shared prompts, rollouts, LoRA, resuming.

Skipped where there is no CUDA device. JURIST_TEST_DEVICE=cpu tries the tests themselves on a CPU.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl", reason="trl is not installed: pip install 'jurist[train]'")
DEVICE = os.environ.get("JURIST_TEST_DEVICE", "cuda" if torch.cuda.is_available() else "")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not DEVICE, reason="no CUDA device")]

GPU = Path(__file__).parents[1] / "benchmarks" / "gpu"
sys.path.insert(0, str(GPU))
import models  # noqa: E402

from jurist.core.types import Message, Query, Sampling  # noqa: E402
from jurist.engines.transformers import TransformersEngine  # noqa: E402
from jurist.training.config import GrpoOptions  # noqa: E402
from jurist.training.generation import generate  # noqa: E402
from jurist.training.grpo import train_grpo  # noqa: E402
from jurist.training.metrics import read_metrics  # noqa: E402
from jurist.training.shared_prefix import SharedPrefix, obstacle  # noqa: E402

SHAPE, WRITTEN = "toy", 24
WORDS = models.tokenizer(models.SHAPES[SHAPE]["vocab_size"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model, wide enough in its weights that its texts vary."""
    path = tmp_path_factory.mktemp("toy")
    model = models.model(SHAPE, WORDS, "cpu", torch.float32)
    for weight in model.parameters():
        weight.data *= 3.0
    model.save_pretrained(path)
    WORDS.save_pretrained(path)
    return path


ANSWERS = """
import asyncio, json, sys
sys.path[:0] = [sys.argv[1]]
from test_gpu import answers
print(json.dumps(asyncio.run(answers(sys.argv[2]))))
"""


async def answers(folder: str) -> list[Any]:
    """Texts of greedy and of drawn completions, and the labels' log-probabilities."""
    asked = (Message("user", "Which reply is better, A or B?"),)
    queries = [
        Query(str(i), (0, 1), i, asked, Sampling(t, 1.0, WRITTEN, seed=i))
        for i, t in enumerate((0.0, 1.0, 1.0))
    ]
    queries.append(Query("labels", (0, 1), 0, asked, Sampling(), "<answer>", ("A", "B")))
    engine = TransformersEngine(folder)
    got = await asyncio.gather(*map(engine, queries))
    await engine.aclose()
    return [[c.text, c.logprobs or {}] for c in got]


def test_the_engine_writes_on_the_device_what_it_writes_on_a_cpu(folder: Path):
    here = asyncio.run(answers(str(folder)))
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "JURIST_TEST_DEVICE": "cpu"}
    command = [sys.executable, "-c", ANSWERS, str(Path(__file__).parent), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    there = json.loads(done.stdout.splitlines()[-1])
    assert [text for text, _ in here] == [text for text, _ in there]
    assert len({text for text, _ in here[:3]}) == 3
    for label, value in there[3][1].items():
        assert here[3][1][label] == pytest.approx(value, abs=2e-3)


class Shared(SharedPrefix, trl.GRPOTrainer):
    """The trainer under test."""


def trainer(kind: Any, folder: Path, out: Path, peft: Any = None) -> Any:
    from datasets import Dataset

    one = kind(
        model=str(folder),
        args=trl.GRPOConfig(
            output_dir=str(out), use_cpu=DEVICE == "cpu", bf16=False, report_to="none",
            per_device_train_batch_size=8, num_generations=4, beta=0.1,
            model_init_kwargs={"dtype": "float32"},
        ),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        train_dataset=Dataset.from_dict({"prompt": ["a", "b"] * 4}),
        processing_class=WORDS,
        peft_config=peft,
    )  # fmt: skip
    one.current_gradient_accumulation_steps = 1
    return one


def gradients(one: Any, bf16: bool) -> tuple[float, dict[str, Any]]:
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(10, 250, (8, WRITTEN), generator=draw)
    prompts = torch.randint(10, 250, (2, 40), generator=draw).repeat_interleave(4, 0)
    rows = {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": ids,
        "completion_mask": torch.ones_like(ids),
        "advantages": torch.linspace(-1, 1, 8),
        "ref_per_token_logps": torch.full((8, WRITTEN), -5.0),
        "num_items_in_batch": torch.tensor(ids.numel()),
    }
    rows = {name: value.to(DEVICE) for name, value in rows.items()}
    one.model.train()
    one.model.zero_grad()
    with torch.autocast(DEVICE, torch.bfloat16, enabled=bf16):
        loss = one._compute_loss(one.model, rows)
    loss.backward()
    named = one.model.named_parameters()
    return float(loss.detach()), {n: p.grad.float() for n, p in named if p.grad is not None}


@pytest.mark.parametrize("adapter", ["full", "lora"])
@pytest.mark.parametrize(("bf16", "off"), [(False, 1e-3), (True, 6e-2)], ids=["float32", "bfloat16"])
def test_shared_prompts_have_the_loss_and_gradients_of_stock_trl(adapter, bf16, off, folder, tmp_path):
    peft = None
    if adapter == "lora":
        library = pytest.importorskip("peft")
        peft = library.LoraConfig(
            r=4, init_lora_weights=False, target_modules="all-linear", task_type="CAUSAL_LM"
        )
    stock, shared = (trainer(kind, folder, tmp_path, peft) for kind in (trl.GRPOTrainer, Shared))
    shared.model.load_state_dict(stock.model.state_dict())
    assert obstacle(shared.model) is None
    (loss, wanted), (ours, got) = gradients(stock, bf16), gradients(shared, bf16)
    assert ours == pytest.approx(loss, rel=off, abs=off)
    assert got.keys() == wanted.keys()
    for name, gradient in wanted.items():
        assert float((got[name] - gradient).norm()) <= off * max(float(gradient.norm()), 1e-6), name


def test_rollouts_draw_on_the_device_what_they_draw_on_a_cpu(folder: Path):
    import transformers

    prompts = [WORDS("Which is better?")["input_ids"], WORDS("A or B, and why?")["input_ids"]]
    rows = []
    for device in ("cpu", DEVICE):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device)
        rows.append(generate(model, prompts, 4, max_new_tokens=WRITTEN, pad=0, seed=3))
    assert [row.ids for row in rows[0]] == [row.ids for row in rows[1]]
    for here, there in zip(*rows, strict=True):
        assert here.logprobs == pytest.approx(there.logprobs, abs=2e-3)


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_a_training_goes_on_from_its_checkpoint(adapter: str, folder: Path, tmp_path: Path):
    data = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Say {i}.", "chosen": f"{i}", "rejected": f"{i + 1}"} for i in range(6)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = GrpoOptions(
        model=str(folder), protocol="pairwise-short", batch=2, group=4, steps=4, save_every=2, micro_batch=4,
        max_completion=16, precision="fp32", learning_rate=1e-3, adapter=adapter, lora_rank=4,
        format_reward=1.0,
    )  # fmt: skip
    train_grpo(options, str(data), tmp_path / "whole", print)
    whole = read_metrics(tmp_path / "whole" / "metrics.jsonl")
    # The last checkpoint and all that came after it are lost.
    for name in ("model", "result.json", "checkpoints/checkpoint-4"):
        subprocess.run(["rm", "-r", str(tmp_path / "whole" / name)], check=True)
    train_grpo(options, str(data), tmp_path / "whole", print)
    again = read_metrics(tmp_path / "whole" / "metrics.jsonl")
    for name in ("loss", "reward", "grad_norm"):
        values = [[x.metrics[name] for x in lines if name in x.metrics] for lines in (whole, again)]
        assert values[0] == pytest.approx(values[1], rel=1e-3, abs=1e-4), name
