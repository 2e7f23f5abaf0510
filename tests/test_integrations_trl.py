"""Reward functions of trainers: groups over processes, the forms of completions, and no verdict."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jurist.core.errors import ConfigError, EngineError, InputError, JuristError
from jurist.core.types import Completion, Message
from jurist.engines.base import failed
from jurist.engines.scripted import ScriptedEngine
from jurist.integrations.groups import RewardRow, groups_of, rows_of, scattered
from jurist.integrations.processes import gathered
from jurist.integrations.trl import group_reward
from jurist.judging.build import assemble
from jurist.judging.config import JudgeConfig
from jurist.rewards.group import GroupJudge, Reward

NUMBERS = re.compile(r"answer (\d+)")
HERE = Path(__file__).parent


def strength(query):
    """The reply with the higher number wins; equal numbers: no verdict."""
    a, b = map(int, NUMBERS.findall(query.messages[-1].content))
    return Completion(f"<answer>[[{'A' if a > b else 'B'}]]</answer>" if a != b else "hm")


def judge_of(script=strength, deliberation="round_robin", **options):
    bench = assemble(JudgeConfig(engine="scripted:", protocol="rubrics", deliberation=deliberation))
    return GroupJudge(replace(bench, engine=ScriptedEngine(script)), **options)


def rewarding(script=strength, **options):
    return group_reward(judge_of(script), **options)


def row(prompt, response="answer 1", **more):
    return RewardRow((Message("user", prompt),), response, **more)


def chat(text):
    return [{"role": "assistant", "content": text}]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    for reward in OPEN:
        reward.close()
    OPEN.clear()
    assert "jurist" not in {thread.name for thread in threading.enumerate()}


OPEN = []


def called(reward, *args, **columns):
    """What the reward function returns; it is closed after the test."""
    OPEN.append(reward)
    return reward(*args, **columns)


# --- groups ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slices", "size", "expected"),
    [
        (["aabb"], 2, [(0, 1, 0), (2, 3, 0)]),
        (["aaab", "bbcc"], 3, [(0, 1, 2, 0), (3, 4, 5, 0), (6, 7, 1)]),  # b straddles two processes
        (["a", "a", "a", "a"], 4, [(0, 1, 2, 3, 0)]),  # one group over four processes
        (["aaaa", "aabb"], 2, [(0, 1, 0), (2, 3, 0), (4, 5, 1), (6, 7, 1)]),  # one prompt, drawn again
        (["aaaa", "bb"], None, [(0, 1, 2, 3, 0), (4, 5, 1)]),
        (["aba"], 2, [(0, 0), (1, 0), (2, 0)]),  # runs, not equal prompts anywhere
        (["", "aa"], 2, [(0, 1, 1)]),  # a process without rows
        ([""], 2, []),
    ],
)
def test_groups_are_runs_of_one_prompt_over_all_processes(slices, size, expected):
    groups = groups_of([[row(p) for p in rows] for rows in slices], size)
    assert [(*group.places, group.owner) for group in groups] == expected


def test_another_reference_or_rubric_is_another_group():
    rows = [row("p"), row("p", reference="1"), row("p", reference="2"), row("p", reference="2", rubric="r")]
    assert len(groups_of([rows], 4)) == 4


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=24),
    st.lists(st.integers(0, 24), max_size=4),
    st.sampled_from([None, 1, 2, 3, 8]),
)
def test_groups_do_not_depend_on_where_processes_are_cut(drawn, cuts, size):
    rows = [row(p, f"answer {n}") for p, n in drawn]
    at = sorted(min(cut, len(rows)) for cut in cuts)
    slices = [rows[a:b] for a, b in zip([0, *at], [*at, len(rows)], strict=True)]
    whole, cut = groups_of([rows], size), groups_of(slices, size)
    assert [(g.case, g.places) for g in whole] == [(g.case, g.places) for g in cut]
    # Each owner tells its groups in order; a response's own number is its reward.
    told = [
        [tuple(Reward(float(r.split()[1])) for r in g.case.responses) for g in cut if g.owner == rank]
        for rank in range(len(slices))
    ]
    back = scattered(cut, told, [len(part) for part in slices])
    assert [len(part) for part in back] == [len(part) for part in slices]
    assert [r.value for part in back for r in part] == [float(n) for _, n in drawn]


# --- rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "completion", "turns", "response"),
    [
        ("p", "c", ["p"], "c"),
        ([{"role": "system", "content": "s"}, {"role": "user", "content": "p"}], chat("c"), ["s", "p"], "c"),
        ([{"role": "user", "content": [{"type": "text", "text": "p"}]}], chat(None), ["p"], ""),
        (
            chat("p"),
            [*chat("c"), {"role": "tool", "content": "56", "name": "sum"}, *chat("d")],
            ["p"],
            (Message("assistant", "c"), Message("tool", "56"), Message("assistant", "d")),
        ),
        (chat("p"), [{"role": "assistant", "tool_calls": []}, *chat("d")], ["p"], "d"),
        (
            chat("p"),
            [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "rm"}}]}],
            ["p"],
            '<tool_call>\n{"name":"rm","arguments":{}}\n</tool_call>',
        ),
        (chat("p"), [], ["p"], ""),
    ],
)
def test_plain_and_conversational_forms_are_read(prompt, completion, turns, response):
    [found] = rows_of([prompt], [completion], {})
    assert [m.content for m in found.prompt] == turns
    assert found.response == response


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, None),
        ({"reference": ["5"]}, "5"),
        ({"reference": [5]}, "5"),
        ({"reference": [None]}, None),
        ({"reference": [float("nan")]}, None),
        ({"reference": [np.float64("nan")]}, None),
        ({"reference": [np.int64(5)]}, "5"),
        ({"reference": [np.str_("5")]}, "5"),
        ({"reference": None}, None),
        ({"solution": ["5"]}, None),
    ],
)
def test_references_are_texts_or_numbers_or_missing(columns, expected):
    found = rows_of(["p"], ["c"], columns)[0].reference
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(
    ("prompts", "completions", "columns", "told"),
    [
        (["p"], ["a", "b"], {}, "1 prompts, 2 completions"),
        (["p", "p"], ["a", "b"], {"reference": ["1"]}, "2 prompts, 1 reference"),
        (["p"], ["a"], {"reference": [["1"]]}, "row 0, reference: list"),
        (["p", 5], ["a", "b"], {}, "row 1, prompt: neither a text nor messages"),
        (["p"], [["b"]], {}, "row 0, completion: neither"),
        (
            [[{"role": "user", "content": [{"type": "image"}]}]],
            ["a"],
            {},
            'row 0, prompt\\[0\\].content\\[0\\]: a part of the type "image" is no text',
        ),
        (["p"], [[{"role": "assistant", "content": 5}]], {}, r"completion\[0\].content: must be a text"),
        (["p"], ["a\ud83d"], {}, "row 0, completion: half of a surrogate pair"),
        (["p\ud83d"], ["a"], {}, "row 0, prompt: half of a surrogate pair"),
        (["p"], ["a"], {"reference": ["\ud83d"]}, "row 0, reference: half of a surrogate pair"),
        (
            ["p"],
            [[{"role": "assistant", "tool_calls": [{"name": "f", "arguments": {"x": "\ud83d"}}]}]],
            {},
            r"row 0, completion\[0\].tool_calls\[0\]: half of a surrogate pair",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_row(prompts, completions, columns, told):
    with pytest.raises(InputError, match=told):
        rows_of(prompts, completions, columns)


# --- the reward function ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", [str, chat])
def test_rewards_come_in_the_order_of_the_completions(form):
    prompts = [form(p) for p in "aaabbb"]
    completions = [form(f"answer {n}") for n in (2, 9, 5, 1, 3, 2)]
    reward = rewarding(num_generations=3)
    assert called(reward, prompts, completions, completion_ids=[[1]] * 6, trainer_state=None) == [
        *(0, 1, 0.5),
        *(0, 1, 0.5),
    ]
    assert reward.__name__ == "jurist"


def test_no_verdict_is_no_reward_and_the_logs_say_so():
    """A lone completion, a failed engine, a group that has verdicts."""
    metrics, extra = {}, {}

    def script(query):
        return failed("gone") if "question b" in query.messages[-1].content else strength(query)

    logs = {"log_metric": metrics.__setitem__, "log_extra": extra.__setitem__}
    prompts = ["a", "a", "question b", "question b", "c"]
    found = called(
        rewarding(script, num_generations=2, name="judge"), prompts, [f"answer {i}" for i in range(5)], **logs
    )
    assert found == [0, 1, None, None, None]
    assert metrics == {"judge/answered": pytest.approx(0.4)}
    assert extra == {"judge_status": ["ok", "ok", "failed", "failed", "refused"]}


def test_a_reference_goes_to_the_rule_first_and_asks_nobody():
    judge = judge_of(verify=lambda response, reference: float(reference in response))
    prompts, completions = ["p"] * 3, ["answer 5", "answer 6", "answer 5"]
    reward = group_reward(judge, num_generations=3, reference="solution")
    assert called(reward, prompts, completions, solution=["5"] * 3) == [1, 0, 1]
    assert judge.setup.engine.queries == []
    assert called(reward, prompts, completions) == [0, 1, 0]
    assert judge.setup.engine.queries


def test_a_judge_of_options_verifies_by_the_final_answer():
    reward = group_reward(engine="scripted:", protocol="rubrics", num_generations=2)
    found = called(reward, ["p"] * 2, [r"\boxed{5}", r"\boxed{6}"], reference=["6", "6"])
    assert found == [0, 1]


def test_a_function_works_within_a_loop_and_again_after_close():
    reward = rewarding(num_generations=2)

    async def trainer():
        return called(reward, ["p", "p"], ["answer 1", "answer 2"])

    assert asyncio.run(trainer()) == [0, 1]
    reward.close()
    reward.close()
    assert asyncio.run(trainer()) == [0, 1]


def test_an_engine_that_cannot_answer_raises_at_the_first_call():
    judge, told = judge_of(), []

    async def check():
        raise EngineError("no such model")

    async def aclose():
        told.append("closed")

    judge.setup.engine.check, judge.setup.engine.aclose = check, aclose
    reward = group_reward(judge, num_generations=2)
    for _ in range(2):
        with pytest.raises(EngineError, match="no such model"):
            called(reward, ["p", "p"], ["answer 1", "answer 2"])
    reward.close()
    assert told == ["closed"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_generations": 0}, "num_generations 0"),
        ({"deadline": 0.0}, "deadline 0.0"),
        ({"patience": -1.0}, "patience -1.0"),
        ({"server": "http://127.0.0.1:1", "engine": "embedded"}, "a server and options"),
        ({"judge": judge_of(), "engine": "embedded"}, "a whole judge and the options engine"),
        ({"engin": "embedded"}, "unknown option"),
        ({"engine": "scripted:", "protocol": "rubrics", "deliberation": "swapped"}, "takes no group"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        group_reward(**options)


# --- processes -------------------------------------------------------------------------------------


class Meeting:
    """Threads in the place of processes: each hears what all said."""

    def __init__(self, n):
        self.barrier, self.said = threading.Barrier(n), [None] * n

    def at(self, rank):
        meeting = self

        class Group:
            def __init__(self):
                self.rank = rank

            def all_gather(self, value):
                meeting.said[rank] = value
                meeting.barrier.wait(10)
                heard = list(meeting.said)
                meeting.barrier.wait(10)
                return heard

        return Group()


def all_at_once(n, work):
    """What work(group) returned or raised, by rank."""
    meeting, found = Meeting(n), [None] * n

    def one(rank):
        try:
            found[rank] = work(meeting.at(rank))
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


@pytest.mark.parametrize("n", [1, 3, 4, 12])
def test_rewards_are_equal_whatever_the_number_of_processes(n):
    """Three groups of four, also with equal completions, over n processes; random opponents."""
    prompts = [p for p in "abc" for _ in range(4)]
    completions = [f"answer {k}" for k in (3, 9, 1, 3, 7, 2, 8, 4, 5, 5, 6, 0)]
    each = len(prompts) // n
    judges = [judge_of(deliberation="random_opponents(3)") for _ in range(n)]

    def work(group):
        reward = group_reward(judges[group.rank], num_generations=4)
        reward._processes = lambda: group
        part = slice(group.rank * each, (group.rank + 1) * each)
        try:
            return reward(prompts[part], completions[part])
        finally:
            reward.close()

    alone = group_reward(judge_of(deliberation="random_opponents(3)"), num_generations=4)
    expected = called(alone, prompts, completions)
    assert len(set(expected)) > 2
    assert list(chain.from_iterable(all_at_once(n, work))) == expected
    asked = [len(judge.setup.engine.queries) for judge in judges]
    groups = {4 * g // each for g in range(3)}
    assert [i for i, count in enumerate(asked) if count] == sorted(groups)  # each by the owner of its start


def test_an_error_in_one_process_is_raised_in_all():
    def work(group):
        return gathered(group, lambda: 1 // (group.rank - 1))

    first, second, third = all_at_once(3, work)
    assert isinstance(second, ZeroDivisionError)
    for other in (first, third):
        assert isinstance(other, JuristError)
        assert "process 1: ZeroDivisionError" in str(other)


PROCESS = """
import json, pathlib, sys
sys.path.insert(0, {here!r})
import torch.distributed as dist
from test_integrations_trl import rewarding
dist.init_process_group("gloo")
rank, n = dist.get_rank(), dist.get_world_size()
from test_integrations_trl import COMPLETIONS as completions, PROMPTS as prompts
each = len(prompts) // n
part = slice(rank * each, (rank + 1) * each)
reward = rewarding(num_generations=4)
found = [reward(prompts[part], completions[part]) for _ in range(2)]
try:
    reward(prompts[part], completions[part] if rank else [5] * each)
except Exception as error:
    found.append(f"{{type(error).__name__}} {{error}}")
dist.destroy_process_group()
threads = [path.read_text() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
found.append([name for name in threads if "gloo" in name])
pathlib.Path({out!r}, f"{{n}}-{{rank}}").write_text(json.dumps(found))
"""


PROMPTS = list("aaaabbbbcccc")
COMPLETIONS = [f"answer {k}" for k in (3, 9, 1, 4, 7, 2, 8, 5, 6, 12, 11, 10)]
"""Three groups of four; the second one lies on both of two processes."""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_two_real_processes_share_groups_over_torch_distributed(tmp_path):
    """Twice the same call, then one process has a row that cannot be read."""
    script = tmp_path / "process.py"
    script.write_text(PROCESS.format(here=str(HERE), out=str(tmp_path)))
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = {"capture_output": True, "text": True, "timeout": 240, "env": env}
    done = subprocess.run([sys.executable, *command], check=False, **ran)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"2-{rank}").read_text()) for rank in (0, 1))
    alone = called(rewarding(num_generations=4), PROMPTS, COMPLETIONS)
    assert alone[:4] == pytest.approx([1 / 3, 1, 0, 2 / 3])
    assert [first[call] + second[call] for call in (0, 1)] == [alone, alone]
    assert first[2].startswith("InputError row 0, completion")
    assert second[2].startswith("JuristError process 0: InputError: row 0")
    assert first[3] == second[3] == [], "threads that may abort the process when it ends"


# --- a server, and TRL itself ------------------------------------------------------------------------


def test_through_a_server_rewards_are_those_in_process():
    served = pytest.importorskip("served")
    prompts = ["a"] * 4 + ["b"] * 4 + ["a"] * 4  # the first group comes again
    completions = [f"answer {k}" for k in (3, 9, 1, 4, 7, 2, 8, 5, 3, 9, 1, 4)]
    judge = served.judge_of(ScriptedEngine(strength))
    expected = called(group_reward(judge, num_generations=4), prompts, completions)
    with served.running(ScriptedEngine(strength), group_size=2) as server:
        reward = group_reward(server=server.url, num_generations=4, deadline=60.0)
        assert called(reward, prompts, completions) == expected
        assert called(reward, ["c"], ["answer 1"]) == [None]
        assert server.service.cohorts.counts.partial == 0
        reward.close()


def by_length(query):
    """The longer reply wins, of equally long ones the later in the alphabet."""
    a, b = re.findall(r"\[Reply [AB]\](.*?)\[End of reply [AB]\]", query.messages[-1].content, re.S)
    return f"<answer>[[{'A' if (len(a), a) > (len(b), b) else 'B'}]]</answer>"


def tiny():
    """A random Llama and its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<pad>", "<eos>", "<user>", "<assistant>", *(f"w{i}" for i in range(40))]
    splitting = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    splitting.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "<eos>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=splitting, **named)
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} <eos> {% endfor %}"
        "{% if add_generation_prompt %}<assistant> {% endif %}"
    )
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"eos_token_id": 2, "pad_token_id": 1, "max_position_embeddings": 64}
    config = LlamaConfig(vocab_size=len(words), num_key_value_heads=2, **sizes, **ids)
    return LlamaForCausalLM(config), tokenizer


@pytest.mark.slow
def test_trl_trains_on_the_rewards(tmp_path):
    """Two steps of GRPO; every completion is answered, and a mean win rate is one half."""
    trl = pytest.importorskip("trl", reason="trl is not installed")
    from datasets import Dataset

    model, tokenizer = tiny()
    rows = [{"prompt": chat(f"w{i} w{i + 1}")} for i in range(12)]
    for r in rows:
        r["prompt"][0]["role"] = "user"
    args = trl.GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=6,
        max_steps=2,
        logging_steps=1,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
    )
    reward = rewarding(by_length, num_generations=4)
    OPEN.append(reward)
    data = {"train_dataset": Dataset.from_list(rows), "processing_class": tokenizer}
    trainer = trl.GRPOTrainer(model, reward, args=args, **data)
    trainer.train()
    logged = [h for h in trainer.state.log_history if "reward" in h]
    assert [h["rewards/jurist/mean"] for h in logged] == pytest.approx([0.5, 0.5])
    assert [h["jurist/answered"] for h in logged] == [1, 1]
    assert all(h["reward_std"] > 0 for h in logged)
