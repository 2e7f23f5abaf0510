"""From messages to token ids with a Hugging Face tokenizer, so that no message can forge a control token."""

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

from jurist.core.errors import EngineError
from jurist.core.types import Completion, Conversation, Message, Usage

_OPENED = re.compile(r"<think>\s*\Z")
MARK = re.compile("\ue000(\\d+)\ue001")
"""Stands for the content of a numbered message while a template is rendered."""

# Added tokens that are not "special" but steer a template or a parser: <think>, [TOOL_CALLS].
MARKUP = re.compile(r"<[^<>\s]+>|\[[A-Z_/]+\]")


class ChatError(Exception):
    """A conversation or a label that this model's template or vocabulary cannot express."""


class ChatIds:
    """The chat template and the vocabulary of one model; may be used from several threads."""

    assistant_next = True
    """Whether the assistant speaks next, after the last message."""

    def __init__(self, tokenizer: Any, model: str) -> None:
        if not tokenizer.chat_template:
            raise EngineError(
                f"the tokenizer of {model!r} has no chat template",
                hint="choose an instruction-tuned model; a base model has no turns to judge in",
            )
        self._tokenizer = tokenizer
        self._template_error: Any = import_module("jinja2").TemplateError
        # Whether special tokens are split is a state of the tokenizer, not of a call.
        self._lock = threading.Lock()
        self._known_turn: tuple[str, list[int]] | None = None
        added: list[Any] = list(tokenizer.added_tokens_decoder.values())
        markup = [str(t) for t in added if not t.special and MARKUP.fullmatch(str(t))]
        self._markup = _any_of(markup)
        self._control = _any_of([*markup, *[str(t) for t in added if t.special]])

    def prompt(self, messages: Conversation, prefill: str | None) -> list[int]:
        """Ids of a chat in which the assistant speaks next, from ``prefill`` on; raises ``ChatError``."""
        with self._lock:
            turns, rendered = self._accepted(messages)
            if any(self._control.search(m.content) for m in messages):
                ids = self._in_parts(rendered, messages)
            else:
                # The usual case is rendered and tokenised in one piece, as the model was trained.
                ids = self._ids(self._rendered([_filled(t, messages) for t in turns]))
            return ids + self._text_ids(prefill)

    def label(self, prefill: str | None, label: str) -> int:
        """The one token by which ``label`` continues ``prefill``; raises ``ChatError``."""
        with self._lock:
            before, after = self._text_ids(prefill), self._text_ids((prefill or "") + label)
            alone = [after[-1]] if after[:-1] == before else self._text_ids(label)
        if len(alone) != 1:
            words = f"{len(alone)} tokens in this model's vocabulary"
            raise ChatError(f"the verdict's label {label!r} is {words}")
        return alone[0]

    def reply(self, content: str) -> list[int]:
        """Ids of a whole assistant turn as this template ends it, from where its prompt stops.

        Where the template opens the thinking itself, the content's own opening tag is left out, and content
        without any thinking begins by closing it.
        """
        with self._lock:
            opened, end = self._turn()
            return self._text_ids(_continued(content) if opened else content) + end

    @property
    def opened(self) -> str:
        """What the prompts of this template end in to open the thinking; empty where they do not."""
        with self._lock:
            return self._turn()[0]

    def _turn(self) -> tuple[str, list[int]]:
        """(what the prompt opens for the assistant, the ids that end its turn)."""
        self._known_turn = self._known_turn or self._find_turn()
        return self._known_turn

    def _find_turn(self) -> tuple[str, list[int]]:
        """What a turn is, found by rendering one."""
        user, answer = Message("user", "\ue0000\ue001"), "\ue0001\ue001"
        prompt = self._rendered([user])
        opening = _OPENED.search(prompt)
        plain = [{"role": "user", "content": user.content}, {"role": "assistant", "content": answer}]
        try:
            whole: str = self._tokenizer.apply_chat_template(plain, tokenize=False)
        except self._template_error as error:
            raise ChatError(f"the model's chat template refuses an answer: {error}") from error
        tail = self._ids(whole.partition(answer)[2])
        # Not every token that a template ends turns with is a named one (Gemma's <end_of_turn>).
        added = self._tokenizer.added_tokens_decoder.items()
        special = {*self._tokenizer.all_special_ids, *(i for i, token in added if token.special)}
        end = tail[:1] if tail and tail[0] in special else [self._tokenizer.eos_token_id]
        return (opening[0] if opening else ""), end

    def text(self, ids: Sequence[int]) -> str:
        """The text of generated ids, without special tokens."""
        return self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _accepted(self, messages: Conversation) -> tuple[list[Message], str]:
        """Turns with a numbered mark for each content, and their rendering with no mark left out.

        The system turn is merged into the first user turn where the template refuses or drops it.
        """
        marked = [Message(m.role, f"\ue000{i}\ue001") for i, m in enumerate(messages)]
        has_system = messages[0].role == "system"
        try:
            rendered = self._rendered(marked)
        except ChatError:
            if not has_system:
                raise
            rendered = ""
        if has_system and _missing(rendered, marked)[:1] == [0]:
            marked = _merged(marked)
            rendered = self._rendered(marked)
        missing = _missing(rendered, messages)
        if missing:
            role = messages[missing[0]].role
            raise ChatError(f"the model's chat template leaves out message {missing[0]} ({role})")
        return marked, rendered

    def _rendered(self, turns: Sequence[Message]) -> str:
        plain = [{"role": m.role, "content": m.content} for m in turns]
        try:
            return self._tokenizer.apply_chat_template(
                plain, tokenize=False, add_generation_prompt=self.assistant_next
            )
        except self._template_error as error:
            raise ChatError(f"the model's chat template refuses these messages: {error}") from error

    def _in_parts(self, rendered: str, messages: Conversation) -> list[int]:
        """The template's control tokens are control tokens, nobody else's are."""
        ids: list[int] = []
        for i, part in enumerate(MARK.split(rendered)):
            ids += self._plain(messages[int(part)].content) if i % 2 else self._ids(part)
        return ids

    def _plain(self, text: str) -> list[int]:
        """Ids of text in which no control token is recognised; markup is cut inside each one's name."""
        return [token for piece in cut_inside(self._markup, text) for token in self._text_ids(piece)]

    def _text_ids(self, prefill: str | None) -> list[int]:
        """Ids of a text: its <think> stays one token where it is one, but no special token comes of it."""
        return self._ids(prefill or "", split_special_tokens=True)

    def _ids(self, text: str, *, split_special_tokens: bool = False) -> list[int]:
        if not text:
            return []
        options = {"add_special_tokens": False, "split_special_tokens": split_special_tokens}
        return list(self._tokenizer(text, **options)["input_ids"])


def cut_inside(names: re.Pattern[str], text: str) -> Iterator[str]:
    """The pieces of a text that is cut after the first character of each name in it.

    Tokenised piece by piece, no name of a control token becomes one.
    """
    start = 0
    for name in names.finditer(text):
        yield text[start : name.start() + 1]
        start = name.start() + 1
    yield text[start:]


def overflow(tokens: int, context: int) -> Completion:
    """The completion of a prompt that leaves no room to answer: its input is truncated."""
    error = f"the prompt is longer than the model's context ({tokens} tokens, {context} fit)"
    return Completion(finish="length", error=error, usage=Usage(tokens, 0))


def _continued(content: str) -> str:
    """A turn as it goes on after a ``<think>`` that is written already."""
    body = content.lstrip()
    if body.startswith("<think>"):
        # What stands between the tag and the thought is the template's already.
        return body.removeprefix("<think>").lstrip("\n")
    return body if "</think>" in body else f"</think>\n\n{body}"


def _filled(turn: Message, messages: Conversation) -> Message:
    return Message(turn.role, MARK.sub(lambda m: messages[int(m[1])].content, turn.content))


def _merged(turns: list[Message]) -> list[Message]:
    """The system turn in front of the first user turn's content."""
    system, *others = turns
    at = next((i for i, m in enumerate(others) if m.role == "user"), None)
    if at is None:
        return [Message("user", system.content), *others]
    both = Message("user", f"{system.content}\n\n{others[at].content}")
    return [*others[:at], both, *others[at + 1 :]]


def _missing(rendered: str, messages: Sequence[Message]) -> list[int]:
    rendered_indices = {int(i) for i in MARK.findall(rendered)}
    return [i for i in range(len(messages)) if i not in rendered_indices]


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    """A pattern of literal names, the longest first; without names, one that never matches."""
    ordered = sorted(names, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or r"(?!)")
