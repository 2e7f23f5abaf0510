"""Writers beside the trained model itself: they have its weights as they stand; a kill changes nothing."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny import save_bpe_model
from trainings import grpo_options as options
from trainings import pairs, same, stopping

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl", reason="trl is not installed: pip install 'jurist[train]'")
peft = pytest.importorskip("peft")


from jurist.core.errors import ConfigError, EngineError  # noqa: E402
from jurist.core.types import Sampling  # noqa: E402
from jurist.training import rollouts as rollouts_module  # noqa: E402
from jurist.training.config import GrpoOptions  # noqa: E402
from jurist.training.grpo import train_grpo  # noqa: E402
from jurist.training.metrics import read_metrics  # noqa: E402
from jurist.training.model import PolicyModel, load  # noqa: E402
from jurist.training.rollout_backends import rollout_backend  # noqa: E402

pytestmark = pytest.mark.slow

PROMPTS = [[70, 80, 90, 100, 110], [60, 65, 70], [40] * 30]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bpe_model(tmp_path_factory.mktemp("writers"), "smollm", "Llama", tie_word_embeddings=True)


@pytest.fixture(params=["paged", "embedded"])
def rollouts(request: pytest.FixtureRequest) -> Any:
    if request.param == "embedded":
        pytest.importorskip("openvino_genai", reason="the extra 'embedded' is not installed")
    return request.param


def trainer_of(model: Any) -> Any:
    """What a writer needs of a trainer."""
    accelerator = SimpleNamespace(
        autocast=nullcontext, unwrap_model=lambda m: m, state=SimpleNamespace(deepspeed_plugin=None)
    )
    return SimpleNamespace(model=model, accelerator=accelerator)


def moved(policy: PolicyModel) -> None:
    """Other weights than those of the folder, float16 still."""
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.copy_((weight * (1 + 0.3 * torch.rand(weight.shape))).half().float())


def far(model: Any, prompt: list[int], ids: list[int], logprobs: list[float]) -> float:
    """Largest distance between what the writer said of its tokens and what the model says."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    ours = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
    return float((ours - torch.tensor(logprobs)).abs().max())


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_a_writer_has_the_weights_as_they_stand(rollouts: Any, adapter: Any, folder: Path):
    torch.manual_seed(0)
    policy = load(GrpoOptions(model=str(folder), adapter=adapter, precision="fp32"))
    write = rollout_backend(GrpoOptions(rollouts=rollouts), policy, Sampling(1.0, 1.0, 12))
    if policy.peft:
        policy.model = peft.get_peft_model(policy.model, policy.peft)
    moved(policy)
    with write(trainer_of(policy.model)) as one:
        drawn, again, other = one(PROMPTS, 3, 7), one(PROMPTS, 3, 7), one(PROMPTS, 3, 8)
    assert [len(group) for group in drawn] == [3, 3, 3]
    for prompt, group in zip(PROMPTS, drawn, strict=True):
        assert len({tuple(ids) for ids, _ in group}) == 3
        for ids, logprobs in group:
            assert 0 < len(ids) <= 12
            assert (ids[-1] in policy.eos) or len(ids) == 12
            assert far(policy.model, prompt, ids, logprobs) < 5e-3
    assert again == drawn != other
    assert any("lora" in name for name, _ in policy.model.named_parameters()) is (adapter == "lora")


def test_a_completion_ends_with_the_token_that_ends_a_turn(rollouts: Any, folder: Path):
    policy = load(GrpoOptions(model=str(folder), precision="fp32"))
    with torch.no_grad():
        policy.model.lm_head.weight[policy.eos[0]] *= 4
    with rollout_backend(GrpoOptions(rollouts=rollouts), policy, Sampling(1.0, 1.0, 40))(
        trainer_of(policy.model)
    ) as write:
        rows = [ids for group in write(PROMPTS, 4, 0) for ids, _ in group]
    ended = [ids for ids in rows if ids[-1] in policy.eos]
    assert ended
    assert all(i not in policy.eos for ids in rows for i in ids[:-1])


def test_a_training_goes_on_as_if_it_had_not_been_interrupted(
    rollouts: Any,
    folder: Path,
    held: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    # This model writes no verdicts: the length of its texts is rewarded.
    monkeypatch.setattr(rollouts_module, "well_formed", lambda completion, _: len(completion.text) % 2 == 0)
    data = str(pairs(tmp_path / "t.jsonl", 5))
    short = {"steps": 2, "save_every": 1, "learning_rate": 1e-3}
    chosen = options(folder, rollouts=rollouts, format_reward=1.0, held_out=held, **short)
    whole = train_grpo(chosen, data, tmp_path / "whole", print)
    with monkeypatch.context() as patch:
        stopping(patch, 2, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            train_grpo(chosen, data, tmp_path / "cut", print)
    assert train_grpo(chosen, data, tmp_path / "cut", print).steps == whole.steps
    same(tmp_path / "whole", tmp_path / "cut")
    lines = [x.metrics for x in read_metrics(tmp_path / "whole" / "metrics.jsonl") if "reward" in x.metrics]
    assert any(line["reward_std"] > 0 for line in lines)


def test_paged_batches_that_lose_a_completion_are_an_error(folder: Path):
    policy = load(GrpoOptions(model=str(folder), precision="fp32"))
    good = policy.model.generate_batch

    def losing(*arguments: Any, **named: Any) -> Any:
        return dict(list(good(*arguments, **named).items())[1:])

    policy.model.generate_batch = losing
    with (
        rollout_backend(GrpoOptions(rollouts="paged"), policy, Sampling(1.0, 1.0, 4))(
            trainer_of(policy.model)
        ) as write,
        pytest.raises(EngineError, match="without 1 of 6 completions"),
    ):
        write(PROMPTS, 2, 0)


def test_a_model_that_embedded_cannot_load_is_refused_early(tmp_path: Path):
    pytest.importorskip("openvino_genai", reason="the extra 'embedded' is not installed")
    policy = load(GrpoOptions(model=str(save_bpe_model(tmp_path / "m", "gpt-2", "Llama")), precision="fp32"))
    with pytest.raises(ConfigError, match="would cut texts otherwise"):
        rollout_backend(GrpoOptions(rollouts="embedded"), policy, Sampling(1.0, 1.0, 4))
