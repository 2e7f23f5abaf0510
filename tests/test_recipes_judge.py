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
    from lora import Updated

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
