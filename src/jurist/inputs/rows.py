"""A row as a case: the format follows from the names of its fields."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple

from jurist.core.errors import InputError
from jurist.core.types import Case, Conversation, Response, Scores
from jurist.inputs.lines import Fields, seen
from jurist.inputs.messages import refuse_media
from jurist.inputs.turns import after, is_many, prompt_of, response_of, responses_of, shared_prompt
from jurist.inputs.values import gold_of, number_of, text_or_json

Read = tuple[Conversation, tuple[Response, ...], Scores | None]
"""Prompt, responses and gold."""

PROMPTS = ("prompt", "question", "instruction", "input", "conversations")
ALIASES = {
    "id": ("id", "pair_id"),
    "reference": ("reference",),
    "rubric": ("rubric",),
    "group": ("group", "subset"),
    "meta": ("meta",),
    "anchors": ("anchors",),
}

FIRST, SECOND, TIE = (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)
LETTERS = {
    **dict.fromkeys(("a>b", "a", "model_a"), FIRST),
    **dict.fromkeys(("b>a", "b", "model_b"), SECOND),
    **dict.fromkeys(("a=b", "tie", "tie (bothbad)", "both_bad", "bothbad"), TIE),
}
NUMBERS = {"1": FIRST, "2": SECOND, "tie": TIE}

ONE_HOT = {
    "winner_model_a": FIRST,
    "winner_model_b": SECOND,
    "winner_tie": TIE,
    "winner_tie (bothbad)": TIE,
}
"""LMSYS's columns, of which one is 1 and the others are 0."""


class Layout(NamedTuple):
    """A format: the fields its responses stand in, those that say which is better, and how it is read."""

    responses: tuple[str, ...]
    verdict: tuple[str, ...]
    read: Callable[["Layout", Fields], Read]
    winners: dict[str, Scores] = {}


def case_of(fields: Fields, default_id: str) -> Case:
    """The case that a row tells; ``InputError`` names the field, what was seen and how to mend it."""
    layout = _layout(fields)
    _near_misses(fields, layout)
    refuse_media(fields)
    rest = dict(fields)
    prompt, responses, gold = layout.read(layout, rest)
    named = {name: _text(rest, name) for name in ("id", "rubric", "group")}
    anchors = rest.pop("anchors", None)
    return Case(
        id=default_id if named["id"] is None else named["id"],
        prompt=prompt,
        responses=responses,
        gold=gold,
        reference=text_or_json(rest.pop("reference", None), "reference"),
        rubric=named["rubric"],
        group=named["group"],
        meta=_meta(rest),
        anchors=() if anchors is None else responses_of(anchors, "anchors"),
    )


def _listed(layout: Layout, rest: Fields) -> Read:
    """Ours: any number of responses."""
    responses = responses_of(rest.pop("responses"), "responses")
    return _prompt(rest, layout), responses, gold_of(rest.pop("gold", None), len(responses))


def _preferred(layout: Layout, rest: Fields) -> Read:
    """Chosen and rejected: two responses, two conversations that begin alike, or two lists of texts."""
    chosen, rejected = _both(layout, rest)
    if rest.pop("gold", None) is not None:
        one, two = layout.responses
        raise InputError(f"gold: is already told by {one} and {two}", "leave gold out, or use responses")
    if is_many(chosen) or is_many(rejected):
        good, bad = (responses_of(x, f) for x, f in zip((chosen, rejected), layout.responses, strict=True))
        return _prompt(rest, layout), good + bad, (1.0,) * len(good) + (0.0,) * len(bad)
    if not any(rest.get(name) is not None for name in PROMPTS):
        rest.pop("prompt", None)
        prompt, pair = shared_prompt((chosen, rejected), (layout.responses[0], layout.responses[1]))
        return prompt, pair, FIRST
    prompt = _prompt(rest, layout)
    one, two = (after(prompt, x, f) for x, f in zip((chosen, rejected), layout.responses, strict=True))
    return prompt, (one, two), FIRST


def _paired(layout: Layout, rest: Fields) -> Read:
    """Two responses in two fields, and a word for the better one."""
    pair = zip(_both(layout, rest), layout.responses, strict=True)
    responses = tuple(response_of(value, field) for value, field in pair)
    prompt, gold = _prompt(rest, layout), gold_of(rest.pop("gold", None), 2)
    field = next((name for name in layout.verdict if rest.get(name) is not None), None)
    if gold is None and field is None:
        gold = _preference(layout, rest)
    if gold is not None or field is None:
        return prompt, responses, gold
    word = rest.pop(field)
    text = f"{word:g}" if isinstance(word, float) else str(word)  # tables with gaps turn 1 into 1.0
    scores = layout.winners.get(text.strip().lower())
    if scores is None:
        legal = ", ".join(repr(x.upper() if len(x) < 4 and x != "tie" else x) for x in layout.winners)
        between = " and ".join(layout.responses)
        raise InputError(
            f"{field}: does not say which of {between} is better, saw {seen(word)}",
            f"legal are {legal}; or give gold: the index (0 or 1) of the better one",
        )
    return prompt, responses, scores


def _preference(layout: Layout, rest: Fields) -> Scores | None:
    """What AlpacaEval's ``preference`` or LMSYS's one-hot columns say, where the row has them.

    ``preference``: 1 the first is better, 2 the second, 1.5 and 0 neither, between 1 and 2 the share of
    the second (tatsu-lab/alpaca_eval @cd543a1, ``metrics/winrate.py``).
    """
    if layout.responses == ("output_1", "output_2") and rest.get("preference") is not None:
        value = number_of(rest.pop("preference"), "preference")
        if value != 0 and not 1 <= value <= 2:
            raise InputError(f"preference: {value:g} is out of range", "legal are 1 to 2, and 0 for a draw")
        return TIE if value == 0 else (2 - value, value - 1)
    flags = {name: number_of(rest.pop(name), name) for name in ONE_HOT if rest.get(name) is not None}
    if not flags:
        return None
    if sorted(flags.values()) != [0.0] * (len(flags) - 1) + [1.0]:
        raise InputError(
            f"{', '.join(flags)}: one must be 1 and the others 0, saw {seen(flags)}", "or give winner"
        )
    return next(ONE_HOT[name] for name, flag in flags.items() if flag)


def _rated(layout: Layout, rest: Fields) -> Read:
    """One response and its rating."""
    response = response_of(rest.pop("response"), "response")
    prompt, gold = _prompt(rest, layout), gold_of(rest.pop("gold", None), 1)
    if gold is None and rest.get("score") is not None:
        gold = (number_of(rest.pop("score"), "score"),)
    return prompt, (response,), gold


_PAIRS = (
    *((f"{stem}_{a}", f"{stem}_{b}") for stem in ("response", "answer") for a, b in ("ab", "AB")),
    *((f"{stem}1", f"{stem}2") for stem in ("output_", "response", "response_", "answer", "answer_")),
)
_VERDICTS = ("label", "winner")
LAYOUTS = (
    Layout(("responses",), (), _listed),
    Layout(("chosen", "rejected"), (), _preferred),
    Layout(("text_chosen", "text_rejected"), (), _preferred),
    *(Layout(pair, _VERDICTS, _paired, NUMBERS if pair[0][-1] == "1" else LETTERS) for pair in _PAIRS),
    Layout(("response",), ("score",), _rated),
)
RESPONSES = tuple(name for layout in LAYOUTS for name in layout.responses)


def _layout(fields: Fields) -> Layout:
    """The first format that the row has a value for; a row with nothing but nulls counts by its names."""
    for names in ([name for name, value in fields.items() if value is not None], fields):
        layout = next((x for x in LAYOUTS if any(name in names for name in x.responses)), None)
        if layout:
            return layout
    near = next((near for name in fields if (near := _nearest(name, RESPONSES))), None)
    raise InputError(
        f"responses: no field holds them; fields of the row: {seen(list(fields))}",
        f"did you mean {near!r}?" if near else _how_rows_look(fields),
    )


def _how_rows_look(fields: Fields) -> str:
    """The hint for a row without responses: what its fields look like, else which fields a row has."""
    values = list(fields.values())
    if len(fields) == 1 and isinstance(values[0], list):
        name = next(iter(fields))
        return f"are the rows the list under {name!r}? write that list alone, for example: jq '.{name}'"
    return "a row has prompt and responses, chosen and rejected, response_a and response_b, or response"


def _near_misses(fields: Fields, layout: Layout) -> None:
    """Raise where an unknown field looks like a known one that the row lacks: it would be read as meta."""
    typo = _typo(tuple(fields), layout.responses, layout.verdict)
    if typo:
        name, near = typo
        raise InputError(
            f"{name}: is no known field, and {near!r} is missing, saw {seen(fields[name])}",
            f"did you mean {near!r}? what is meant otherwise may stand under 'meta'",
        )


@lru_cache(maxsize=256)  # the rows of a file mostly have the same names
def _typo(
    names: tuple[str, ...], responses: tuple[str, ...], verdict: tuple[str, ...]
) -> tuple[str, str] | None:
    """The first unknown name that is near a known one that is missing under all its names."""
    slots = (PROMPTS, ("gold", *verdict), *((name,) for name in responses), *ALIASES.values())
    known = {name for slot in slots for name in slot}
    legal = tuple(name for slot in slots if not any(x in names for x in slot) for name in slot)
    nearest = ((name, _nearest(name, legal)) for name in names if name not in known)
    return next(((name, near) for name, near in nearest if near), None)


def _nearest(name: str, legal: tuple[str, ...]) -> str | None:
    """The legal name a typo away: same first letter and about as long (a preference is no reference)."""
    low = name.strip().lower()
    alike = [x for x in legal if len(x) > 3 and x[:1] == low[:1] and abs(len(x) - len(low)) < 2]
    return next(iter(get_close_matches(low, alike, n=1, cutoff=0.8)), None)


def _both(layout: Layout, rest: Fields) -> tuple[object, object]:
    for name in layout.responses:
        if name not in rest:
            other = next(x for x in layout.responses if x != name)
            raise InputError(
                f"{name}: is missing beside {other!r}; fields of the row: {seen(list(rest))}",
                f"a row with {other} needs {name}",
            )
    one, two = (rest.pop(name) for name in layout.responses)
    return one, two


def _prompt(rest: Fields, layout: Layout) -> Conversation:
    field = next((name for name in PROMPTS if rest.get(name) is not None), None)
    if field is None:
        null = any(name in rest for name in PROMPTS)
        names = seen([*layout.responses, *rest])
        raise InputError(
            f"prompt: is {'null' if null else 'missing'}; fields of the row: {names}",
            f"legal names are {', '.join(PROMPTS)}",
        )
    value = rest.pop(field)
    text = rest.get("input")
    if field == "instruction" and isinstance(value, str) and isinstance(text, str):
        # Instruction data has two halves: the task, and the text that it is about.
        del rest["input"]
        value = "\n\n".join(half for half in (value, text) if half)
    return prompt_of(value, field)


def _text(rest: Fields, name: str) -> str | None:
    """A text under one of its names; numbers are legal, since ids and answers often are."""
    field = next((x for x in ALIASES[name] if rest.get(x) is not None), None)
    if field is None:
        return None
    value = rest.pop(field)
    numeric = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if not (isinstance(value, str) or numeric) or (name == "id" and value == ""):
        raise InputError(
            f"{field}: must be a text, saw {seen(value)}", f"write {field} as a text or leave it out"
        )
    return str(value)


def _meta(rest: Fields) -> Fields:
    """``meta``, and the fields of the row that have no other use, under their names."""
    meta_field = rest.pop("meta", None)
    if meta_field is not None and not isinstance(meta_field, dict):
        raise InputError(
            f"meta: must be an object, saw {seen(meta_field)}", 'for example {"source": "forum"}'
        )
    meta = meta_field or {}
    extra = {name: value for name, value in rest.items() if name not in _SETTLED or value is not None}
    clash = next((name for name in extra if name in meta), None)
    if clash is not None:
        raise InputError(f"{clash}: stands in the row and in meta, saw {seen(extra[clash])}", "rename one")
    return {**extra, **meta}


# Empty columns of tables: a name that means something here is not worth keeping when it is null.
_SETTLED = frozenset((*PROMPTS, *RESPONSES, *_VERDICTS, *(x for a in ALIASES.values() for x in a)))
