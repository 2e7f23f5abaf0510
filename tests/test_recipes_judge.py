"""The judge's recipe: what the chains say is so, on real data; its updates compute what they should."""

import json
import re
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from shared import shared

RECIPE = Path(__file__).parents[1] / "recipes" / "judge"
sys.path.insert(0, str(RECIPE))

import chains  # noqa: E402
import findings  # noqa: E402
from build import as_case, rows_alone, rows_side_by_side  # noqa: E402
from findings import Criterion, Finding, Material, Pair  # noqa: E402
from kinds import KINDS, MORE  # noqa: E402

EVERY = {**{name: make for name, (make, _) in KINDS.items()}, **MORE}


@pytest.fixture(scope="module")
def material() -> Material:
    shared("hh-rlhf")
    return Material(shared("just-eval").parent, held_out=False)


@pytest.fixture(scope="module")
def unseen() -> Material:
    return Material(shared("just-eval").parent, held_out=True)


def made(material: Material, kind: str, n: int = 25) -> list[Pair]:
    rng = Random(0)
    return [EVERY[kind](material, rng) for _ in range(n)]


@pytest.mark.parametrize("kind", EVERY)
def test_quotations_exist_and_only_the_worse_reply_has_the_fault(material: Material, kind: str):
    for pair in made(material, kind):
        for reply, looked in ((pair.good, pair.good_findings), (pair.bad, pair.bad_findings)):
            assert len(looked) == len(pair.rubric)
            for finding in looked:
                for quoted in re.findall(r'"([^"]+)"', finding.evidence):
                    if kind != "valid JSON":
                        assert " ".join(quoted.split()) in " ".join(reply.split())
        assert all(f.met for f in pair.good_findings)
        assert not all(f.met for f in pair.bad_findings)
        assert chains.rating(pair.rubric, pair.good_findings) == 5


def holds(kind: str, pair: Pair, reply: str) -> bool:
    """The rule of a kind, written a second time."""
    if kind == "lowercase":
        return reply == reply.lower()
    if kind == "capitals":
        return reply == reply.upper()
    if kind == "no commas":
        return "," not in reply
    if kind == "given word":
        word = re.findall(r'"(.*?)"', pair.prompt)[-1]
        return re.search(rf"\b{word}\b", reply) is not None
    if kind == "at most n words":
        return len(reply.split()) <= int(re.findall(r"\d+", pair.prompt)[-1])
    if kind == "number only":
        return reply.isdigit()
    if kind == "valid JSON":
        try:
            return isinstance(json.loads(reply), dict)
        except ValueError:
            return False
    if kind == "sums":
        a, sign, b = re.findall(r"\d+|[-+]|minus|plus", pair.prompt)[:3]
        total = int(a) + int(b) if sign in "+plus" else int(a) - int(b)
        return re.findall(r"\d+", reply)[-1] == str(total)
    n = int(re.findall(r"\d+", reply)[0])
    asked = [int(x) for x in re.findall(r"\d+", pair.prompt)]
    if "prime" in pair.prompt:
        return n > 1 and all(n % d for d in range(2, n))
    if "even" in pair.prompt or "odd" in pair.prompt:
        return n % 2 == ("odd" in pair.prompt)
    if "multiple" in pair.prompt:
        return n % asked[0] == 0
    return asked[0] < n and (len(asked) == 1 or n < asked[1])


@pytest.mark.parametrize(
    "kind",
    [
        "lowercase",
        "capitals",
        "no commas",
        "given word",
        "at most n words",
        "number only",
        "valid JSON",
        "sums",
        "number",
    ],
)
def test_the_truth_of_a_kind_is_its_rule(material: Material, kind: str):
    for pair in made(material, kind, 60):
        assert holds(kind, pair, pair.good)
        assert not holds(kind, pair, pair.bad)


def test_replies_of_other_lengths_are_long_or_a_word(material: Material):
    long = [
        p for p in made(material, "long reply", 60) if len(p.good.split()) < 30 or len(p.good.split()) > 110
    ]
    assert not long
    assert any("\n" in p.good for p in made(material, "long reply", 60))
    short = made(material, "short answer", 60)
    assert all(len(p.good.split()) == 1 for p in short)
    assert any(not p.good.endswith(".") for p in short)  # whole all the same
    assert any(len(p.bad.split()) == 1 for p in short)


def test_held_out_prompts_are_not_trained_on(material: Material, unseen: Material):
    for kind in ("other topic", "lowercase", "sums", "number only", "valid JSON"):
        seen = {p.prompt for p in made(material, kind, 80)}
        assert not seen & {p.prompt for p in made(unseen, kind, 80)}


def test_rows_say_where_the_weight_lies(material: Material):
    pairs = [pair for kind in KINDS for pair in made(material, kind, 2)]
    for row in [*rows_alone(pairs), *rows_side_by_side(pairs)]:
        text = row["completion"][0]["content"]
        heavy = {text[a:b] for a, b, weight in row["weights"] if weight > 5}
        assert heavy & {"Met", "Not met"}
        assert heavy & set("12345AB")


PAIR = Pair(
    "x",
    "Say hello.",
    "Hello.",
    "Bye.",
    (Criterion("Answers", 60, "hello"), Criterion("Whole", 40, "finished")),
    (Finding('"Hello." fits.', True), Finding("Whole.", True)),
    (Finding('"Bye." does not fit.', False), Finding("Whole.", True)),
)


def test_a_chain_is_rubric_evidence_and_the_rating_that_follows():
    assert chains.alone(PAIR, better=False) == (
        "<rubric>1. Answers (60%): hello\n2. Whole (40%): finished</rubric>\n"
        '<eval>1. "Bye." does not fit. Not met.\n2. Whole. Met.</eval>\n<rating>3</rating>'
    )
    assert chains.side_by_side(PAIR, first_better=False).endswith("<answer>[[B]]</answer>")
    assert as_case(PAIR, 0, False)["responses"] == ["Bye.", "Hello."]


def test_what_repeats_itself_is_found():
    assert findings.repeated("The cat sat on the mat. The cat sat on the mat.") == ["The", "cat", "sat", "on"]
    assert not findings.repeated("The cat sat on the mat and the dog sat on the sofa.")
    assert not findings.whole("It ends in the middle of").met


def test_an_update_has_the_gradients_of_its_formula():
    torch: Any = pytest.importorskip("torch", reason="the extra 'train' is not installed")
    from lora import Updated, merged

    torch.manual_seed(0)
    linear = torch.nn.Linear(8, 6, bias=False)
    updated = Updated(linear, 4, 2.0)
    torch.nn.init.normal_(updated.up)
    x = torch.randn(2, 3, 8, requires_grad=True)
    y = updated(x)
    plain = x @ linear.weight.t() + 2.0 * (x @ updated.down.t()) @ updated.up.t()
    assert torch.allclose(y, plain, atol=1e-5)
    seed = torch.randn_like(y)
    ours = torch.autograd.grad(y, [x, updated.down, updated.up], seed, retain_graph=True)
    theirs = torch.autograd.grad(plain, [x, updated.down, updated.up], seed)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours, theirs, strict=True))
    with merged(torch.nn.ModuleList([updated])):
        assert torch.allclose(updated(x), plain, atol=1e-5)
    assert updated.merged is None


def test_without_a_rubric_the_prompt_asks_for_none_and_the_weights_move_along():
    (whole, _), (row, worse) = rows_alone([PAIR]), rows_alone([PAIR], "evidence")
    text = row["completion"][0]["content"]
    assert text == '<eval>1. "Hello." fits. Met.\n2. Whole. Met.</eval>\n<rating>5</rating>'
    assert row["prompt"][0]["content"] == "Assess the reply: evidence, rating."
    assert whole["prompt"][0]["content"] == "Assess the reply: rubric, evidence, rating."
    assert worse["completion"][0]["content"].endswith("<rating>3</rating>")
    full = whole["completion"][0]["content"]
    assert [text[a:b] for a, b, _ in row["weights"]] == [full[a:b] for a, b, _ in whole["weights"]]


def test_the_reward_pays_for_the_right_rating_by_findings_that_lead_there():
    pytest.importorskip("torch", reason="the extra 'train' is not installed")
    from reinforce import advantages, reward

    better, worse = rows_alone([PAIR])
    rubric = "<rubric>1. Answers (60%): hello\n2. Whole (40%): finished</rubric>\n"
    good = better["completion"][0]["content"]
    bad = worse["completion"][0]["content"]
    assert reward(better, good) == reward(worse, bad) == 1
    assert reward(worse, good) == reward(better, bad) == 0
    # It quotes what is not there, or nothing where the program quotes.
    assert reward(better, good.replace('"Hello."', '"Hallo."')) == 0.5
    assert reward(better, good.replace('"Hello."', "It")) == 0.5
    # A right rating by a finding that is not so, or by none that leads to it.
    turned = f'{rubric}<eval>1. "Bye." fits. Met.\n2. Whole. Not met.</eval>\n<rating>3</rating>'
    assert reward(worse, turned) == 0
    assert reward(worse, bad.replace("<rating>3", "<rating>1")) == 0
    # Another rubric that leads to the right rating.
    other = '<rubric>1. Greets (100%): hello</rubric>\n<eval>1. "{}" {}.</eval>\n<rating>{}</rating>'
    assert reward(better, other.format("Hello.", "greets. Met", 5)) == 1
    assert reward(worse, other.format("Bye.", "leaves. Not met", 1)) == 1
    assert reward(better, "") == 0
    assert advantages([1, 0], "group") == [1, -1]
    assert advantages([1, 0.5, 0], "right") == [1, 0, 0]
    assert not any(advantages([0.5] * 4, "group"))


def test_equal_chains_are_learned_once_with_what_they_count_together():
    pytest.importorskip("torch", reason="the extra 'train' is not installed")
    from reinforce import Pairs, asked_rows, learned
    from sample import Written

    group = [Written({}, "", 0.0, tokens) for tokens in ([5, 6], [7], [5, 6], [8])]
    assert learned([1, 2], group, [1.0, -1.0, 1.0, 0.0]) == [
        ([1, 2, 5, 6], 2, [2.0, 2.0]),
        ([1, 2, 7], 2, [-1.0]),
    ]
    rows = [{"kind": kind, "n": n} for n in range(20) for kind in ("easy", "easy", "hard", "hard")]
    pairs, log, seen = Pairs(rows), list[dict[str, Any]](), list[tuple[str, int]]()
    for step in range(20):
        asked = pairs.draw(10, Random(step))
        seen += [(row["kind"], row["n"]) for row in asked]
        assert [a["n"] for a in asked[::2]] == [b["n"] for b in asked[1::2]]
        pairs.seen(asked, [row["kind"] == "hard" for row in asked])
        log.append({"drawn": dict(pairs.drawn), "mixed_of": dict(pairs.mixed)})
    assert pairs.mixed["hard"] > 0.9
    assert pairs.mixed["easy"] < 0.1
    again = asked_rows(Pairs(rows), log, 500, Random(0))
    assert len(again) == 500
    assert sorted((row["kind"], row["n"]) for row in again[:400]) == sorted(seen)
    assert sum(row["kind"] == "hard" for row in again[400:]) > 60


def test_writing_by_groups_is_what_the_model_writes_alone():
    torch: Any = pytest.importorskip("torch", reason="the extra 'train' is not installed")
    transformers: Any = pytest.importorskip("transformers", reason="the extra 'train' is not installed")
    from decode import Decoder
    from lora import update

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.4,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()
    for name, parameter in update(model, 4, 2.0).items():
        if name.endswith("up"):
            torch.nn.init.normal_(parameter, std=0.3)
    vocabulary = torch.arange(1, 40)
    decoder = Decoder(
        model, vocabulary, model.lm_head.weight.detach()[vocabulary], end=3, labels=[5, 6], new=20
    )
    prompts = [[1, 9, 4], [1, 7, 7, 12, 30, 2], [8, 11]]
    drawn = torch.Generator().manual_seed(0)
    for temperature in (0.0, 1.0):
        for prompt, group in zip(prompts, decoder.write(prompts, 5, temperature, drawn), strict=True):
            for text in group:
                ids = torch.tensor([prompt + text.tokens])
                with torch.no_grad():
                    logits = model(ids).logits[0, len(prompt) - 1 : -1]
                assert torch.allclose(text.labels, logits[:, [5, 6]], atol=1e-4)
                if not temperature:
                    assert text.tokens == vocabulary[logits[:, vocabulary].argmax(-1)].tolist()
                assert 3 not in text.tokens[:-1]
                assert text.tokens[-1] == 3 or len(text.tokens) == 20
            assert not temperature or len({tuple(t.tokens) for t in group}) > 1
