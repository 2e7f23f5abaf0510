"""OpenRLHF: a reward function called from many threads, one sample at a time; siblings meet at a server."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import served

from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.core.types import Status
from jurist.integrations.openrlhf import group_reward, rows_of_queries, told
from jurist.serving.client import ServerError
from jurist.serving.schema import ScoreReply

CHATML = "<|im_start|>user\n7 * 8?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def server():
    with served.running(wait=0.5) as running:
        yield running


@pytest.fixture
def rewarding(server):
    made = []

    def make(**options):
        made.append(group_reward(server.url, **options))
        return made[-1]

    yield make
    for reward in made:
        reward.close()
    assert "jurist" not in {thread.name for thread in threading.enumerate()}


def test_samples_of_one_call_and_of_many_threads_are_judged_among_their_siblings(rewarding):
    """Two groups of four, as one call; then each sample in a call of its own."""
    reward = rewarding(size=4)
    prompts = [p for p in ("ask a ", "ask b ") for _ in range(4)]
    queries = [f"{p}answer {n}</s>" for p, n in zip(prompts, (3, 9, 1, 4, 7, 2, 8, 5), strict=True)]
    expected = [1 / 3, 1, 0, 2 / 3, 2 / 3, 0, 1, 1 / 3]
    whole = reward.numbers(queries, prompts, [None] * 8)
    assert whole["rewards"] == whole["scores"] == pytest.approx(expected)
    assert whole["extra_logs"] == {"answered": [1] * 8, "siblings": [4] * 8}
    with ThreadPoolExecutor(8) as pool:
        singles = pool.map(lambda q, p: reward.numbers([q], [p], [None]), queries, prompts)
        assert [s["rewards"][0] for s in singles] == pytest.approx(expected)


def test_where_there_is_no_verdict_an_error_or_a_number_stands(rewarding):
    lone = (["ask answer 1"], ["ask "], [""])
    with pytest.raises(JuristError, match=r"no reward: refused(.|\n)*unanswered=NUMBER"):
        rewarding(size=1).numbers(*lone)
    found = rewarding(size=1, unanswered=0.5).numbers(*lone)
    assert found["rewards"] == [0.5]
    assert found["extra_logs"] == {"answered": [0], "siblings": [1]}


def test_no_server_is_never_a_number(server):
    reward = group_reward(server.url + "/nowhere", unanswered=0.5)
    with pytest.raises(ServerError, match="HTTP 404"):
        reward.numbers(["ask answer 1"], ["ask "])
    reward.close()


@pytest.mark.parametrize(
    ("query", "prompt", "label", "expected"),
    [
        ("ask answer</s>", "ask ", None, (["ask "], "answer", None)),
        (CHATML + "56<|im_end|>\n", CHATML, 56, (["7 * 8?"], "56", "56")),
        ("<s>ask answer", "ask ", "", (["ask "], "answer", None)),
        ("ask", "ask", "5", (["ask"], "", "5")),
    ],
)
def test_a_query_is_its_prompt_and_its_response(query, prompt, label, expected):
    [row] = rows_of_queries([query], [prompt], [label])
    assert ([m.content for m in row.prompt], row.response, row.reference) == expected


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((["ask answer"], ["other"], [None]), "query 0 does not contain its prompt"),
        ((["ask answer"], [""], [None]), "query 0 does not contain its prompt"),
        ((["ask answer"], ["ask", "ask"], [None]), "1 queries, 2 prompts, 1 labels"),
        ((["ask answer"], ["ask"], []), "1 queries, 1 prompts, 0 labels"),
    ],
)
def test_what_is_not_a_query_with_its_prompt_is_an_error(asked, message):
    with pytest.raises(InputError, match=message):
        rows_of_queries(*asked)


def scored(status, reward, rating=None):
    return ScoreReply(status, reward, "", rating, siblings=2)


@pytest.mark.parametrize(
    ("scores", "unanswered", "shares"),
    [
        ([scored(Status.OK, 0.5), scored(Status.OK, 1)], "error", [0.5, 1]),
        ([scored(Status.OK, -0.3, 0.7)], "error", [0.7]),  # a mapped reward: its rating is the share
        ([scored(Status.OK, 7.0), scored(Status.OK, 0.5)], "error", None),
        ([scored(Status.FAILED, None), scored(Status.OK, 0.5)], 0.0, [0, 0.5]),
        ([scored(Status.FAILED, None, 0.5)], -1.0, None),
    ],
)
def test_scores_are_shares_or_are_left_out(scores, unanswered, shares):
    assert told(scores, unanswered).get("scores") == shares


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size 0"),
        ({"deadline": 0.0}, "deadline 0.0"),
        ({"patience": -1}, "patience -1"),
        ({"threads": 0}, "threads 0"),
        ({"unanswered": float("inf")}, "unanswered inf"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        group_reward("http://127.0.0.1:1", **options)


async def test_in_a_running_loop_a_group_may_be_larger_than_its_threads(server):
    """48 samples wait in threads at once, where a loop's own pool has 32 at the most."""
    reward = group_reward(server.url, size=48)
    queries = [f"many answer {n}" for n in range(48)]
    asks = [asyncio.to_thread(reward.numbers, [q], ["many "], [None]) for q in queries]
    found = await asyncio.gather(*asks)
    assert {f["extra_logs"]["siblings"][0] for f in found} == {48}
    reward.close()


# --- OpenRLHF itself -------------------------------------------------------------------------------


def test_tensors_are_what_the_trainer_reads(rewarding):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    found = rewarding(size=2)(["t answer 1", "t answer 2"], ["t ", "t "], [None, None])
    assert torch.equal(found["rewards"], torch.tensor([0.0, 1.0]))
    assert torch.equal(found["extra_logs"]["answered"], torch.ones(2))


REWARDS = """
from jurist.integrations.openrlhf import group_reward

reward_func = group_reward({url!r}, size=4)
"""


async def test_openrlhfs_executor_asks_the_function_of_a_file(server, tmp_path):
    """Its own class loads the file and calls it, with a vLLM and a tokenizer of our own."""
    agent = pytest.importorskip("openrlhf.utils.agent", reason="openrlhf is not installed")
    file = tmp_path / "deliberation/ratings.py"
    file.write_text(REWARDS.format(url=server.url))
    executor, numbers = agent.SingleTurnAgentExecutor([str(file)]), iter([3, 9, 1, 4])

    class Letters:
        def __call__(self, text, **_):
            return {"input_ids": [SimpleNamespace(tolist=lambda: [*map(ord, text)])]}

        def decode(self, ids, skip_special_tokens):
            assert not skip_special_tokens
            return "".join(map(chr, ids))

    class Vllm:
        async def generate(self, *_, **__):
            said = [*map(ord, f"answer {next(numbers)}")]
            done = SimpleNamespace(token_ids=said, finish_reason="stop", logprobs=None)
            return SimpleNamespace(outputs=[done])

    params = SimpleNamespace(max_tokens=64, logprobs=None)
    runs = [executor.execute("ask ", None, params, 128, Letters(), Vllm()) for _ in range(4)]
    found = await asyncio.gather(*runs)
    assert [float(f["reward"]) for f in found] == pytest.approx([1 / 3, 1, 0, 2 / 3])
    assert [float(f["scores"]) for f in found] == [float(f["reward"]) for f in found]
    assert all(float(f["extra_logs"]["answered"]) == 1 for f in found)
    executor.reward_func.close()
