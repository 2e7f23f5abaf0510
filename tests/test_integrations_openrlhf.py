"""OpenRLHF: a reward function called from many threads, one sample at a time; siblings meet at a server."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import served

pytest.importorskip("torch", reason="torch is not installed")

from jurist.core.errors import ConfigError, InputError, JuristError
from jurist.core.types import Status
from jurist.integrations.openrlhf import group_reward, reward_fields, samples_of
from jurist.serving.client import ServerError
from jurist.serving.queries import split_query
from jurist.serving.schema import ScoreReply

CHATML = "<|im_start|>user\n7 * 8?<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def server():
    with served.running() as running:
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


def lists(fields):
    """The tensors of a reply as lists."""
    logs = {name: values.tolist() for name, values in fields["extra_logs"].items()}
    return {name: values.tolist() for name, values in fields.items() if name != "extra_logs"} | logs


def test_samples_of_one_call_or_of_many_threads_meet(rewarding):
    """Two groups of four, as one call; then each sample in a call of its own."""
    reward = rewarding(size=4)
    prompts = [p for p in ("ask a ", "ask b ") for _ in range(4)]
    queries = [f"{p}answer {n}</s>" for p, n in zip(prompts, (3, 9, 1, 4, 7, 2, 8, 5), strict=True)]
    expected = pytest.approx([1 / 3, 1, 0, 2 / 3, 2 / 3, 0, 1, 1 / 3])
    whole = lists(reward(queries, prompts, [None] * 8))
    assert (whole["rewards"], whole["scores"]) == (expected, expected)
    assert (whole["answered"], whole["siblings"], whole["prompt_found"]) == ([1] * 8, [4] * 8, [1] * 8)
    with ThreadPoolExecutor(8) as pool:
        singles = pool.map(lambda q, p: lists(reward([q], [p], [None])), queries, prompts)
        assert [s["rewards"][0] for s in singles] == expected


def test_where_there_is_no_verdict_an_error_or_a_number_stands(rewarding):
    lone = (["ask answer 1"], ["ask "], [""])
    with pytest.raises(JuristError, match=r"no reward: refused(.|\n)*unanswered=NUMBER"):
        rewarding(size=1)(*lone)
    fields = lists(rewarding(size=1, unanswered=0.5)(*lone))
    assert (fields["rewards"], fields["answered"], fields["siblings"]) == ([0.5], [0], [1])


def test_equal_replies_are_level_and_no_error(rewarding):
    fields = lists(rewarding(size=4)(["ask answer 1"] * 4, ["ask "] * 4))
    assert (fields["rewards"], fields["answered"]) == ([0.5] * 4, [1] * 4)


def test_no_server_is_never_a_number(server):
    reward = group_reward(server.url + "/nowhere", unanswered=0.5)
    with pytest.raises(ServerError, match="HTTP 404"):
        reward(["ask answer 1"], ["ask "])
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
    [sample] = samples_of([query], [prompt], [label])
    assert ([m.content for m in sample.prompt], sample.response, sample.reference) == expected


LONG = "<s> [INST] A question that is long, and asked in so many words that it is cut. [/INST]"


@pytest.mark.parametrize(
    ("query", "prompt", "response", "split"),
    [
        # A tokenizer that decodes blanks around its special tokens, or leaves them out.
        ("<s> [INST] Why?  [/INST] So.</s>", "<s>[INST] Why? [/INST]", " So.</s>", "blanks"),
        ("<|user|>\nIt is so.<|assistant|>\nYes.", "<|user|>\nIt is so .<|assistant|>\n", "\nYes.", "blanks"),
        # A prompt that is cut at its start, also within a character.
        (f"{LONG[30:]} Because.", LONG, " Because.", "cut"),
        (f"\ufffd{LONG[30:]} Because.", LONG, " Because.", "cut"),
        (f"{LONG[30:]} {LONG[40:]} again", LONG, f" {LONG[40:]} again", "cut"),
        # Too little to be sure, or nothing.
        ("[/INST] Because.", LONG, "[/INST] Because.", "none"),
        ("something else", "ask ", "something else", "none"),
    ],
)
def test_a_prompt_is_found_however_it_was_decoded(query, prompt, response, split):
    assert split_query(query, prompt) == (response, split)


def test_splitting_takes_linear_time():
    prompt = "ab " * 100_000
    started = time.perf_counter()
    assert split_query(prompt[999:] + "b answer", "z" + prompt) == (" b answer", "cut")
    assert time.perf_counter() - started < 5


def test_a_query_without_its_prompt_is_judged_whole_and_said(rewarding, caplog):
    fields = lists(rewarding(size=2)(["x answer 3", "x answer 7"], ["what?"] * 2))
    assert (fields["rewards"], fields["prompt_found"]) == ([0, 1], [0, 0])
    assert "the prompt is not in its query" in caplog.text


@pytest.mark.parametrize(
    ("label", "reference"),
    [(7, "7"), (0.5, "0.5"), ({"answer": [1]}, '{"answer":[1]}'), (True, "true"), ("", None), (None, None)],
)
def test_labels_are_references_whatever_they_are(label, reference):
    [sample] = samples_of(["ask x"], ["ask"], [label])
    assert sample.reference == reference


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((["ask answer"], [""], [None]), "prompt 0 is empty"),
        ((["ask answer"], ["ask", "ask"], [None]), "1 queries, 2 prompts, 1 labels"),
        ((["ask answer"], ["ask"], []), "1 queries, 1 prompts, 0 labels"),
    ],
)
def test_what_cannot_be_a_sample_is_an_error(asked, message):
    with pytest.raises(InputError, match=message):
        samples_of(*asked)


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
    samples = samples_of(["ask x"] * len(scores), ["ask"] * len(scores))
    assert reward_fields(scores, samples, unanswered).get("scores") == shares


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size 0"),
        ({"deadline": 0.0}, "deadline 0.0"),
        ({"patience": -1}, "patience -1"),
        ({"unanswered": float("inf")}, "unanswered inf"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        group_reward("http://127.0.0.1:1", **options)


async def test_in_a_running_loop_samples_wait_without_threads(server):
    """150 samples, five times the threads of a loop, each wait for one sibling that comes last."""
    reward = group_reward(server.url, size=2)
    before = threading.active_count()
    calls = [asyncio.to_thread(reward, [f"{i} answer 1"], [f"{i} "], [None]) for i in range(150)]
    waiting = asyncio.gather(*calls)
    await server.until(lambda: server.service.cohorts.counts.waiting == 150)
    assert threading.active_count() <= before + 3
    assert await asyncio.to_thread(lambda: 7) == 7  # other calls have threads
    siblings = [asyncio.to_thread(reward, [f"{i} answer 2"], [f"{i} "], [None]) for i in range(150)]
    assert {lists(fields)["rewards"][0] for fields in await asyncio.gather(*siblings)} == {1}
    assert {lists(fields)["rewards"][0] for fields in await waiting} == {0}
    reward.close()


# --- OpenRLHF itself -------------------------------------------------------------------------------


REWARDS = """
from jurist.integrations.openrlhf import group_reward

reward_func = group_reward({url!r}, size=4)
"""


async def test_openrlhfs_executor_asks_the_function_of_a_file(server, tmp_path):
    """Its own class loads the file and calls it, with a vLLM and a tokenizer of our own."""
    agent = pytest.importorskip("openrlhf.utils.agent", reason="openrlhf is not installed")
    file = tmp_path / "rewards.py"
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
