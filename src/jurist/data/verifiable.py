"""Pairs of a right and a wrong solution, by their final answers."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction

from msgspec.structs import replace

from jurist.core.answers import final_answer, number
from jurist.core.errors import InputError
from jurist.core.hashing import seed_of
from jurist.core.types import Case, response_text
from jurist.data.filters import Choose, pairs_of
from jurist.inputs.lines import Fields
from jurist.inputs.rows import case_of
from jurist.protocols.thinking_tags import without_thinking

Same = Callable[[str, str], bool | None]
"""Whether a final answer (second) is the reference (first); None where that cannot be told."""

Find = Callable[[str], str | None]
"""The final answer that a text states; None where it states none."""

PROMPTS = ("question", "problem", "query")
REFERENCES = ("reference", "answer", "ground_truth", "final_answer", "solution")


def question_of(fields: Fields, default_id: str) -> Case:
    """A row of a question, its reference answer and several responses, under whichever usual names."""
    rest = dict(fields)
    if "prompt" not in rest and (asked := next((x for x in PROMPTS if x in rest), None)):
        rest["prompt"] = rest.pop(asked)
    reference_field = next((x for x in REFERENCES if rest.get(x) is not None), None)
    if reference_field is None:
        raise InputError(
            f"reference: is missing; fields of the row: {', '.join(fields)}",
            f"legal names are {', '.join(REFERENCES)}; --field reference=NAME takes another",
        )
    rest["reference"] = rest.pop(reference_field)
    rest.pop("gold", None)  # what somebody else's program thought of them
    return case_of(rest, default_id)


def verified(
    case: Case, same: Same, choose: Choose, seed: int, counts: Counter[str], find: Find = final_answer
) -> Iterator[Case]:
    """The pairs of a question with a right and a wrong response; none where there is no such pair.

    Responses lose their thoughts, and count once however often they come. ``find`` finds what a response
    states as its answer. A response that states no final
    answer, or one that cannot be compared, is neither right nor wrong: it is in no pair. ``counts``
    takes what became of the responses and of the question. ``meta`` keeps the answer, which no judge sees.
    Whether the better response comes first or second is drawn by seed.
    """
    reference = stated(case.reference or "")
    texts = dict.fromkeys(without_thinking(response_text(r)).strip() for r in case.responses)
    judged = {text: right(reference, text, same, find) for text in texts}
    counts.update(f"responses {_WORDS[verdict]}" for verdict in judged.values())
    rights, wrongs = ([text for text, ok in judged.items() if ok is verdict] for verdict in (True, False))
    counts[_outcome(rights, wrongs)] += 1
    if not (rights and wrongs):
        return
    shown = sorted([*rights, *wrongs], key=lambda text: seed_of(seed, case.id, text))
    meta = {**case.meta, "answer": reference, "right": len(rights), "wrong": len(wrongs)}
    gold = tuple(float(text in rights) for text in shown)
    mixed = replace(case, responses=tuple(shown), gold=gold, reference=None, meta=meta)
    yield from pairs_of(mixed, choose, seed)


def stated(reference: str) -> str:
    """The answer that a reference states: its last marked one, or all of it."""
    return final_answer(reference) or number(reference) or " ".join(reference.split())


def right(reference: str, text: str, same: Same, find: Find = final_answer) -> bool | None:
    """Whether a response ends in the reference's answer; None where that cannot be told."""
    answer = find(text)
    return None if answer is None else same(reference, answer)


def same_plainly(reference: str, answer: str) -> bool | None:
    """Equality of texts, numbers and letters of a choice; anything else that differs cannot be told."""
    one, two = (_choice(text) for text in (reference, answer))
    if one == two:
        return True
    values = _value(one), _value(two)
    if None not in values:
        return values[0] == values[1]
    return False if len(one) == len(two) == 1 and one.isalpha() and two.isalpha() else None


_NUMBER = re.compile(r"[+-]?[0-9]{1,1000}(?:\.[0-9]{1,1000}|/0*[1-9][0-9]{0,1000})?")
_WORDS = {True: "right", False: "wrong", None: "without a comparable answer"}


def _outcome(rights: list[str], wrongs: list[str]) -> str:
    if rights and wrongs:
        return "questions with both"
    only = "right" if rights else "wrong" if wrongs else "incomparable"
    return f"questions with only {only} responses"


def _choice(text: str) -> str:
    """``(B)`` and ``B.`` are ``B``."""
    bare = text.strip().strip("().").strip()
    return bare.upper() if len(bare) == 1 and bare.isalpha() else text.strip()


def _value(text: str) -> Fraction | None:
    plain = _NUMBER.fullmatch(text.replace(" ", ""))
    return Fraction(plain[0]) if plain else None
