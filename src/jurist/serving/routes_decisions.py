"""The contract of decision models, `/v1/decisions`: typed questions about an input, answered by judging.

Shapes as in openai/openai-python 3.54.0, src/openai/types/decision_create_params.py and decision.py; limits
and the values of levels as in vllm-project/vllm at 09e6fa5, vllm/entrypoints/openai/decisions/protocol.py
and (at 3bd1fcc) adapters.py.
"""

from collections.abc import Callable, Sequence
from math import exp
from typing import Annotated, Any, cast

import msgspec

from jurist.core.types import Case, Message, Scores, Status, Usage
from jurist.deliberation.votes import gather
from jurist.protocols.text import flatten, speaker
from jurist.rewards.group import GroupResult
from jurist.rewards.ranking import matches_of
from jurist.serving.errors import HTTPError
from jurist.serving.retries import Caller
from jurist.serving.route import Route
from jurist.serving.routes_native import Seconds
from jurist.serving.service import Service, no_reward

Value = str | bool
Data = dict[str, Any] | list[Any]


class DecisionPart(msgspec.Struct, frozen=True):
    """A part of a content: text, or JSON that is shown as text."""

    type: str
    text: str | None = None
    data: Data | None = None
    refusal: str | None = None


Content = str | tuple[DecisionPart, ...]


class DecisionItem(msgspec.Struct, frozen=True):
    """A message, a call of a tool (``arguments`` or ``input``), or a call's ``output``."""

    type: str = "message"
    role: str | None = None
    content: Content | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: Content | None = None


class DecisionQuestion(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every question has."""

    instructions: Content
    name: str | None = None


class DecisionPredicate(DecisionQuestion, frozen=True, kw_only=True, tag="predicate"):
    """How probable it is that a statement about the input is true."""


class DecisionOption(msgspec.Struct, frozen=True):
    """An option; a text and a truth value that read the same are two."""

    value: Value
    description: str = ""


class DecisionChoice(DecisionQuestion, frozen=True, kw_only=True, tag="choice"):
    """Which option is right."""

    choices: Annotated[tuple[DecisionOption, ...], msgspec.Meta(min_length=2, max_length=255)]


class DecisionLevel(msgspec.Struct, frozen=True):
    """A level of a scale."""

    label: str
    description: str = ""


class DecisionScore(DecisionQuestion, frozen=True, kw_only=True, tag="score"):
    """Which level fits; the lowest comes first."""

    levels: Annotated[tuple[DecisionLevel, ...], msgspec.Meta(min_length=2, max_length=10)]


Question = DecisionPredicate | DecisionChoice | DecisionScore


class DecisionsRequest(msgspec.Struct, frozen=True):
    """Questions about one input."""

    model: str
    input: str | Annotated[tuple[DecisionItem, ...], msgspec.Meta(min_length=1)]
    questions: Annotated[tuple[Question, ...], msgspec.Meta(min_length=1, max_length=400)]
    deadline: Seconds | None = None


class PredicateAnswer(msgspec.Struct, frozen=True, tag_field="type", tag="predicate"):
    """The probability that the statement is true."""

    name: str | None
    probability: float


class OptionProbability(msgspec.Struct, frozen=True):
    """An option's probability."""

    value: Value
    probability: float


class ChoiceAnswer(msgspec.Struct, frozen=True, tag_field="type", tag="choice"):
    """The most probable option, which has the probability ``confidence``; all in the order of the request."""

    name: str | None
    choice: Value
    probabilities: list[OptionProbability]
    confidence: float


class LevelProbability(msgspec.Struct, frozen=True):
    """A level's place, from 0, and its probability."""

    value: int
    label: str
    probability: float


class ScoreAnswer(msgspec.Struct, frozen=True, tag_field="type", tag="score"):
    """The expectation of the level's place; ``confidence`` is the probability of the most probable level."""

    name: str | None
    score: float
    probabilities: list[LevelProbability]
    confidence: float


class RefusalAnswer(msgspec.Struct, frozen=True, tag_field="type", tag="refusal"):
    """No answer; ``status`` and ``note``, which are ours, say why."""

    name: str | None
    status: Status
    note: str


Answer = PredicateAnswer | ChoiceAnswer | ScoreAnswer | RefusalAnswer


class ReadDetails(msgspec.Struct, frozen=True):
    """Tokens read that stood in a shared prefix."""

    cached_tokens: int
    cache_write_tokens: int = 0


class WrittenDetails(msgspec.Struct, frozen=True):
    """Always 0: thinking is not counted apart from the answer."""

    reasoning_tokens: int = 0


class DecisionsUsage(msgspec.Struct, frozen=True):
    """Tokens of all judgments."""

    input_tokens: int
    input_tokens_details: ReadDetails
    output_tokens: int
    output_tokens_details: WrittenDetails
    total_tokens: int


class DecisionsReply(msgspec.Struct, frozen=True):
    """Answers in the order of the questions."""

    model: str
    answers: list[Answer]
    usage: DecisionsUsage


async def decide(service: Service, request: DecisionsRequest, _: Caller) -> DecisionsReply:
    """Questions about an input: the judge compares the possible answers to each."""
    evidence = _evidence(request.input)
    cases = [case_of(evidence, question, f"questions[{i}]") for i, question in enumerate(request.questions)]
    results = await gather(*(service.options(case, request.deadline) for case in cases))
    scale = _luce if service.judge.setup.protocol.name == "scalar" else _normalised
    answers: list[Answer] = []
    for i, (question, result) in enumerate(zip(request.questions, results, strict=True)):
        missing = next((r for r in result.rewards if r.value is None), None)
        if missing and service.settings.unanswered == "error":
            option = "another --unanswered: such a question is answered by a refusal then"
            raise no_reward("a question has no answer", missing, option, f"questions[{i}]")
        refusal = RefusalAnswer(question.name, missing.status, missing.note) if missing else None
        answers.append(refusal or answer_of(question, probabilities_of(result, scale)))
    usage = sum((r.decision.usage for r in results if r.decision), Usage())
    return DecisionsReply(request.model or service.model, answers, _usage(usage))


ROUTES: tuple[Route[Any], ...] = (Route("/v1/decisions", DecisionsRequest, DecisionsReply, decide),)


def case_of(evidence: str, question: Question, field: str) -> Case:
    """The question as a prompt, its possible answers as responses, in the order of the request."""
    instructions = _text(question.instructions, f"{field}.instructions")
    match question:
        case DecisionPredicate():
            options = ["Yes", "No"]
            task = f"Is this true of the text above? Answer yes or no.\n{instructions}"
        case DecisionChoice():
            options = _distinct_options(question.choices)
            task = "\n".join((instructions, "", "The answer is one of these:", *(f"- {o}" for o in options)))
        case DecisionScore():
            options = [_described(level.label, level.description) for level in question.levels]
            task = "\n".join(
                (instructions, "", "The answer is one level, lowest first:", *(f"- {o}" for o in options))
            )
    if len(set(options)) < len(options):
        list_name = "choices" if isinstance(question, DecisionChoice) else "levels"
        raise HTTPError(409, "two options are the same", "each option once", field=f"{field}.{list_name}")
    return Case("decision", (Message("user", f"{evidence}\n\n{task}"),), tuple(options))


def probabilities_of(result: GroupResult, scale: Callable[[Scores], Scores]) -> Scores:
    """One probability per option, from a result in which every option has a rating; they sum to 1.

    Of two options that were compared, the judge's mean share of each: votes, or the labels' probabilities.
    Of more, Luce's rule on Bradley and Terry's strengths: what wins a comparison with the odds a : b is
    chosen with the odds a : b. Ratings and rankings, which rest on no comparisons of two, are brought to
    ``scale``.
    """
    ratings = tuple(r for r in result.ratings if r is not None)
    matches = matches_of(result.decision) if result.decision else []
    if matches and len(ratings) == 2:
        return matches[0].score, 1 - matches[0].score
    return _luce(ratings) if matches else scale(ratings)


def answer_of(question: Question, shares: Scores) -> Answer:
    """The answer to a question whose options have these probabilities."""
    top = max(shares)
    match question:
        case DecisionPredicate():
            return PredicateAnswer(question.name, shares[0])
        case DecisionChoice():
            both = zip(question.choices, shares, strict=True)
            listed = [OptionProbability(option.value, share) for option, share in both]
            return ChoiceAnswer(question.name, listed[shares.index(top)].value, listed, top)
        case DecisionScore():
            levels = enumerate(zip(question.levels, shares, strict=True))
            places = [LevelProbability(i, level.label, share) for i, (level, share) in levels]
            return ScoreAnswer(question.name, sum(p.value * p.probability for p in places), places, top)


def _luce(strengths: Scores) -> Scores:
    """Probabilities of being chosen, of strengths in logits (Luce 1959, Individual Choice Behavior)."""
    return _normalised(tuple(exp(s - max(strengths)) for s in strengths))


def _normalised(ratings: Scores) -> Scores:
    """Ratings divided by their sum; equal shares where all are 0. Negative ones are strengths instead."""
    if min(ratings) < 0:
        return _luce(ratings)
    whole = sum(ratings)
    return tuple(r / whole if whole else 1 / len(ratings) for r in ratings)


def _distinct_options(choices: Sequence[DecisionOption]) -> list[str]:
    """The options as texts; quoted where a text and a truth value would read the same."""
    plain = [c.value if isinstance(c.value, str) else _json(c.value) for c in choices]
    names = plain if len(set(plain)) == len(plain) else [_json(c.value) for c in choices]
    return [_described(name, c.description) for name, c in zip(names, choices, strict=True)]


def _described(name: str, description: str) -> str:
    return f"{name}: {description}" if description else name


def _evidence(content: str | tuple[DecisionItem, ...]) -> str:
    """The input as one text: what users alone said as it is, anything else with its speakers."""
    if isinstance(content, str):
        return content
    turns = [_turn(item, f"input[{i}]") for i, item in enumerate(content)]
    if all(turn.role == "user" for turn in turns):
        return "\n\n".join(turn.content for turn in turns)
    # A lone turn would lose its speaker, who is no user here.
    return flatten(tuple(turns)) if len(turns) > 1 else f"{speaker(turns[0].role)}: {turns[0].content}"


def _turn(item: DecisionItem, field: str) -> Message:
    """A message as a turn; a call of a tool, or what came of it, as a turn that says what it is."""
    text = _said(item, field)
    if item.type == "message":
        return Message(item.role or "user", text)
    kind = " ".join(filter(None, (item.type.replace("_", " "), item.name)))
    return Message("tool", f"{kind}: {text}")


def _said(item: DecisionItem, field: str) -> str:
    for name in ("content", "arguments", "input", "output"):
        value = cast("Content | None", getattr(item, name))
        if value is not None:
            return _text(value, f"{field}.{name}")
    raise HTTPError(409, f"an item of type {item.type!r} says nothing", "content, or a call", field=field)


def _text(content: Content, field: str) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(_part(part, f"{field}[{i}]") for i, part in enumerate(content))


def _part(part: DecisionPart, field: str) -> str:
    if part.data is not None:
        return _json(part.data)
    text = part.text if part.text is not None else part.refusal
    if text is None:
        wrong = f"a part of type {part.type!r} holds no text"
        raise HTTPError(409, wrong, "text only: input_text or input_json", field=field)
    return text


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _usage(usage: Usage) -> DecisionsUsage:
    read, written = usage.prompt_tokens, usage.completion_tokens
    return DecisionsUsage(read, ReadDetails(usage.cached), written, WrittenDetails(), read + written)
