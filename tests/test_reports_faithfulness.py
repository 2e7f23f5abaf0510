"""Which reasons hold: each check on texts of the kind that real judges write, flagged and not."""

import pytest

from jurist.core.types import Case, Completion, Judgment, Message, Query, Sampling, Verdict
from jurist.judging.claims import own_answer, preferred, stated_answer
from jurist.judging.faithfulness import Fault, faults, occurs

FIRST = (
    'The river is called "the long water". It rises in the north, see https://example.org/north for a map.'
)
SECOND = "It is a river. Boats go up it in spring, when the snow melts, and down it again in autumn."


def found(
    text: str,
    scores: tuple[float, ...] = (1.0, 0.0),
    order: tuple[int, ...] = (0, 1),
    responses: tuple[str, str] = (FIRST, SECOND),
) -> set[str]:
    one = Case("c", (Message("user", "Tell me about the river, with a map."),), responses)
    query = Query("c", order, 0, (), Sampling())
    return {fault.value for fault in faults(one, Judgment(query, Completion(text), Verdict(scores)))}


BOTH = "Assistant A tells more than Assistant B does. "


@pytest.mark.parametrize(
    ("text", "flagged"),
    [
        # Marks within a quotation, white space before a full stop, links and words in brackets do not matter.
        (BOTH + "Assistant A says \"The river is called 'the long water' .\"", False),
        (BOTH + 'Assistant A says "It rises in the north, see for a map."', False),
        (BOTH + 'Assistant B writes "[The vessels] go up it in spring, when the snow melts".', False),
        (BOTH + 'Assistant B writes "Boats go up it ... and down it again in autumn".', False),
        (BOTH + 'Assistant A says "The river is called"the long water""', False),
        # A term, a title, or a question in other words is no quotation.
        (BOTH + 'The phrase is explained. "Melting" means "turning from ice into running water".', False),
        (BOTH + 'B answers the question of "what do boats do on the river?".', False),
        (BOTH + "A keeps to the character '\"' in every line, and so does B, the character '\"'.", False),
        (BOTH + 'Assistant B says "boats go up it all the year round".', True),
        (BOTH + "Assistant B says “boats go up it all the year round”.", True),
        (BOTH + 'It uses phrases such as "when all the snow melts away".', True),
    ],
)
def test_a_quotation_is_looked_for_where_one_is_said_to_be(text: str, flagged: bool) -> None:
    assert ("quote" in found(text)) == flagged


def test_two_passages_joined_without_a_mark_are_no_quotation() -> None:
    assert occurs("Boats go up it … in autumn.", SECOND)
    assert not occurs("Boats go up it in autumn.", SECOND)
    assert occurs("*boats* go up it IN  SPRING", SECOND)


def test_a_quotation_that_is_not_closed_ends_with_its_line() -> None:
    chain = "<eval>1. <quote_A>It rises in the north\n2. B: <quote_B>\nBoats go up it\nA is better</eval>"
    assert not found(chain)
    assert found(chain.replace("north", "far north")) == {"quote"}


def test_a_tagged_quotation_of_the_other_response_is_told_from_an_invented_one() -> None:
    chain = (
        "<eval>Chatbot A and B: <quote_A>{a}</quote_A> <quote_B>{b}</quote_B></eval><answer>[[A]]</answer>"
    )
    assert not found(chain.format(a="It rises in the north", b="Boats go up it"))
    assert found(chain.format(a="Boats go up it in spring", b="Boats go up it")) == {"owner"}
    assert found(chain.format(a="for a map. It is a river.", b="Boats go up it")) == {"quote"}
    assert found(chain.format(a="Tell me about the river", b="Boats go up it")) == {"owner"}
    assert found(chain.format(a="It rises in the far north", b="Boats go up it")) == {"quote"}


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("Output (b) is better.\n\nOutput (a) does not say where. Output (b) does.", 1),
        ("**Assistant A** is slightly better: [[B>A]]", 0),
        ("Reply A is clear. Therefore, Reply B's longer answer is clearly better.", 1),
        ("I agree with Assistant (b) that Output (b) is better.", 1),
        ("While both reply well, Response A is better than Response B.", 0),
        ("Output (a) is better for the given instruction.", 0),
        ("Assistant A: 6/10. Assistant B: 8/10.", 1),
        ("Total score: Chatbot A 70, total score: Chatbot B 60", 0),
        # In one respect, under a condition, or reported of somebody else.
        ("In terms of detail, Output (a) is better.", None),
        ("Output (a) is better if the reader is a child.", None),
        ("Output (a) is better at rhymes.", None),
        ("Although Output (a) is better known, both fail.", None),
        ("Assistant (a) argues that Output (a) is better.", None),
        ("Assistant (b) believes that Output (b) is better.", None),
        ("Output (a) is not better.", None),
        ("Neither is better; both assistants fail.", None),
    ],
)
def test_the_last_plain_comparison_is_the_preference(text: str, slot: int | None) -> None:
    assert preferred(text) == slot


def test_a_verdict_against_the_own_words_is_a_contradiction_in_either_order() -> None:
    text = "Output (a) is long, output (b) is short and to the point. Therefore, Output (b) is better."
    assert found(text, (1.0, 0.0)) == {"contradiction"}
    assert found(text, (0.0, 1.0)) == set()
    assert found(text, (1.0, 0.0), (1, 0)) == set()
    assert found(text, (0.5, 0.5)) == {"contradiction"}


def test_reasons_that_name_one_response_only() -> None:
    one = "Output (a) is better. It is short, kind, right, and says where the river rises and how one gets"
    one += " there, and what boats do."
    assert found(one) == {"one-sided"}
    assert found("Output (a) is better.") == set()
    assert found(one + " The other one is none of that.") == set()
    assert found(one + " Compared to B it is brief.") == set()
    assert found(one.replace("Output (a) is", "Of Assistants A and B, Assistant A is")) == set()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so it is \boxed{12}", "12"),
        ("Therefore: CCCCC", "c"),
        ("The correct answer is (D) tall.", "d"),
        ("The best option is option B, since", "b"),
        ("The answer that fits is (E), arccos", "e"),
        ("**Final Answer:** HHHHH", "h"),
        ("My answer: ***two kites***", "two kites"),
        ("**yes, no, unknown**", "yes, no, unknown"),
        # The letter of a response is no option; an article neither.
        ("The best answer is A, without doubt", None),
        ("The correct answer is a matter of taste", None),
        ("**Conclusion**", None),
    ],
)
def test_the_answer_that_a_text_states(text: str, answer: str | None) -> None:
    assert stated_answer(text) == answer


def test_the_own_answer_stands_before_the_responses_are_spoken_of() -> None:
    text = (
        "I answer first, then I evaluate Assistants A and B.\nMy answer: (C)\n\nAssistant A's answer is (D)."
    )
    assert own_answer(text) == "c"
    assert own_answer("Assistant A chose DDDDD.\nThat is right.\nEEEEE") is None


@pytest.mark.parametrize("scores", [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)])
def test_an_own_answer_that_only_the_other_response_has(scores: tuple[float, ...]) -> None:
    text = "My own answer:\nThe tide turns twice, so the correct answer is (C).\n\nAssistant A says (D).\n{0}"
    words = "Assistant B's answer is good as well. I find no difference worth telling."
    responses = "It turns four times. DDDDD", "It turns twice. CCCCC"
    fault = Fault.SOLUTION.value in found(text.format(words), scores, responses=responses)
    assert fault == (scores != (0.0, 1.0))
    # Shown the other way round: what counts is the response, not its place.
    assert Fault.SOLUTION.value in found(text.format(words), (1.0, 0.0), (1, 0), responses)


@pytest.mark.parametrize(
    "responses",
    [
        (r"\boxed{\frac{x}{2}}", r"\boxed{x/2}"),  # one formula in two forms
        (r"\boxed{20.5}", r"\boxed{20.5061}"),  # rounded
        ("I do not know.", r"\boxed{20.5061}"),  # what cannot be read may be the same
        (r"\boxed{20.5061}", r"\boxed{20.5061}"),
    ],
)
def test_answers_that_may_be_the_same_are_no_fault(responses: tuple[str, str]) -> None:
    text = f"My answer: {responses[1]}\nAssistant A and Assistant B both did well, A is more readable."
    assert "solution" not in found(text, responses=responses)


def test_a_solution_of_a_chain_is_held_against_its_verdict() -> None:
    chain = (
        "<type>Reasoning</type><solution>2 + 2, so #### 4</solution>"
        "<eval>Chatbot A is right, Chatbot B is not</eval><answer>[[A]]</answer>"
    )
    assert found(chain, responses=("#### 5", "#### 4")) == {"solution"}
    assert found(chain, responses=("#### 4", "#### 5")) == set()
