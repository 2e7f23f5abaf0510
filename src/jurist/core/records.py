"""The records of a run folder and how they refer to each other (docs/run-folder.md).

A case stands once in cases.jsonl, a rendered prompt once in prompts.jsonl, where what it repeats of the case
and of the protocol's template is a reference. A judgment names its prompt, a decision its case and its
judgments, each by the offset of its line. Each line ends with a checksum.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from jurist.core.blocks import BlockFile
from jurist.core.errors import StoreError
from jurist.core.files import is_sealed, line_number, seal
from jurist.core.recent import Recent
from jurist.core.run_lines import (
    CASES,
    DECISIONS,
    JUDGMENTS,
    PROMPTS,
    SHORTEST,
    AskedLine,
    CaseLine,
    CaseMeta,
    DecisionLine,
    JudgmentLine,
    OldJudgmentLine,
    Piece,
    PromptLine,
    SlimCompletion,
    SlimJudgmentLine,
    TextLine,
)
from jurist.core.types import (
    Case,
    Completion,
    Conversation,
    Decision,
    Judgment,
    Message,
    Query,
    Record,
    Response,
)

V = TypeVar("V")


class Damage(Record, frozen=True):
    """A record that cannot be read: the file, the number of its line, and what is wrong with it."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}, record {self.line}: {self.what}"


class DamagedError(StoreError):
    """A record that is not what was written."""

    def __init__(self, file: str, offset: int, what: str) -> None:
        super().__init__(f"{file}, at byte {offset}: {what}")
        self.file, self.offset, self.what = file, offset, what


def sealed_line(record: Record) -> bytes:
    """A record as its line, with its checksum."""
    return seal(msgspec.json.encode(record))


def prompt_id(messages: Conversation) -> str:
    """Hash of a rendered prompt; 24 hex digits."""
    return blake2b(msgspec.json.encode(messages), digest_size=12).hexdigest()


def texts_of(case: Case) -> tuple[str, ...]:
    """Every text of a case that prompts quote, in a fixed order: their numbers are references."""
    texts = [m.content for m in case.prompt]
    for response in (*case.responses, *case.anchors):
        texts += _texts(response)
    return tuple(texts) + tuple(t for t in (case.reference, case.rubric) if t is not None)


def _texts(response: Response) -> list[str]:
    return [response] if isinstance(response, str) else [m.content for m in response]


def pieces_of(text: str, known: Sequence[tuple[int, str]]) -> list[str | int]:
    """A text taken apart at the known texts in it; ``known`` are (number, text), longest first."""
    pieces: list[str | int] = [text]
    for number, part in known:
        if len(part) < SHORTEST:
            break
        split: list[str | int] = []
        for piece in pieces:
            rests = piece.split(part) if isinstance(piece, str) and len(piece) >= len(part) else [piece]
            split.append(rests[0])
            for rest in rests[1:]:
                split += [number, rest]
        pieces = [piece for piece in split if piece != ""]
    return pieces


class Records:
    """The files of a run folder, read by offset; what was damaged raises ``DamagedError``.

    ``unsealed`` says how many bytes of a file were written before version 2, without checksums.
    """

    def __init__(self, folder: Path, unsealed: dict[str, int]) -> None:
        self.folder, self.unsealed = folder, unsealed
        self._files: dict[str, BlockFile] = {}
        self._cases: Recent[int, CaseLine] = Recent(8)
        self._prompts: Recent[int, Conversation] = Recent(32)
        self._texts: Recent[int, str] = Recent(256)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._files = {}

    def damage(self, error: DamagedError) -> Damage:
        """What a ``DamagedError`` is about, its line counted."""
        return Damage(error.file, line_number(self.folder / error.file, error.offset), error.what)

    def case(self, offset: int) -> CaseLine:
        """The case whose line begins at an offset."""
        known = self._cases.get(offset)
        return known or self._cases.put(offset, self._decoded(CASES, offset, _decode_case))

    def prompt(self, offset: int) -> Conversation:
        """The prompt whose line begins at an offset."""
        known = self._prompts.get(offset)
        if known is not None:
            return known
        line = self._decoded(PROMPTS, offset, _decode_prompt)
        texts = texts_of(self.case(line.case).case) if line.case is not None else ()
        try:
            messages = tuple(
                Message(role, "".join([self._piece(piece, texts) for piece in pieces]))
                for role, pieces in line.messages
            )
        except IndexError:
            raise DamagedError(PROMPTS, offset, "it quotes a text that its case does not have") from None
        return self._prompts.put(offset, messages)

    def judgment(self, offset: int, key: str | None = None, *, prompt: bool = True) -> Judgment:
        """The judgment whose line begins at an offset; its key, hashed again, is ``key`` and the line's.

        Without ``prompt`` its query has no messages, and the checksum alone stands for what it says.
        """
        line = self._line(JUDGMENTS, offset)
        if offset < self.unsealed.get(JUDGMENTS, 0):
            old = _decoded(JUDGMENTS, offset, line, _decode_old_judgment)
            written, judgment, prompt = old.key, old.judgment, True
        else:
            new = _decoded(JUDGMENTS, offset, line, _decode_judgment)
            prompt = prompt and new.prompt is not None
            messages = self.prompt(new.prompt) if prompt and new.prompt is not None else ()
            written, judgment = new.key, _joined(new, messages)
        if (prompt and judgment.query.key != written) or (key is not None and key != written):
            raise DamagedError(JUDGMENTS, offset, "its key is not that of its query")
        return judgment

    def judgment_of(self, offset: int, query: Query) -> Judgment:
        """The judgment of a query that is at hand, so that its prompt need not be read."""
        if offset < self.unsealed.get(JUDGMENTS, 0):
            return self.judgment(offset, query.key)
        line = self._decoded(JUDGMENTS, offset, _decode_judgment)
        if line.key != query.key:
            raise DamagedError(JUDGMENTS, offset, "it is the judgment of another query")
        return Judgment(query, line.completion, line.verdict, line.forced)

    def slim_judgment(self, offset: int, key: str | None = None) -> Judgment:
        """As ``judgment``, without texts; the checksum stands for the key of the query."""
        if offset < self.unsealed.get(JUDGMENTS, 0):
            return slim(self.judgment(offset, key))
        line = _decoded(JUDGMENTS, offset, self._line(JUDGMENTS, offset), _decode_slim)
        if key is not None and line.key != key:
            raise DamagedError(JUDGMENTS, offset, "it is not the judgment that the decision rests on")
        query = _query(line.query, ())
        forced = _completion(line.forced) if line.forced else None
        return Judgment(query, _completion(line.completion), line.verdict, forced)

    def decision(self, offset: int) -> DecisionLine:
        """The line of decisions.jsonl that begins at an offset."""
        return self._decoded(DECISIONS, offset, _decode_decision)

    def meta(self, line: DecisionLine) -> dict[str, Any]:
        """The meta of a decision: its own, or its case's."""
        if line.meta is not None or line.case is None:
            return line.meta or {}
        return self._decoded(CASES, line.case, _decode_meta).case.meta

    def _piece(self, piece: Piece, texts: Sequence[str]) -> str:
        if isinstance(piece, str):
            return piece
        if isinstance(piece, int):
            return texts[piece]
        (offset,) = piece
        known = self._texts.get(offset)
        return known or self._texts.put(offset, self._decoded(PROMPTS, offset, _decode_text).text)

    def _decoded(self, name: str, offset: int, decode: Callable[[bytes], V]) -> V:
        return _decoded(name, offset, self._line(name, offset), decode)

    def _line(self, name: str, offset: int) -> bytes:
        """The line at an offset, its checksum right."""
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = BlockFile(self.folder / name)
        line = file.line(offset)
        if offset >= self.unsealed.get(name, 0) and not is_sealed(line):
            raise DamagedError(name, offset, "its checksum is wrong")
        return line


def slim(judgment: Judgment) -> Judgment:
    """The judgment without its texts."""
    query = msgspec.structs.replace(judgment.query, messages=())
    completion = msgspec.structs.replace(judgment.completion, text="", thinking=None)
    return msgspec.structs.replace(judgment, query=query, completion=completion)


def decision_of(line: DecisionLine, judgments: tuple[Judgment, ...], meta: dict[str, Any]) -> Decision:
    """The decision of a line, joined with its judgments."""
    return Decision(line.case_id, line.verdict, judgments, line.agreement, line.gold, line.group, meta)


def asked_line(query: Query) -> AskedLine:
    """A query without its messages."""
    return AskedLine(
        query.case_id, query.order, query.sample, query.sampling, query.prefill, query.choices, query.judge
    )


def _query(line: AskedLine, messages: Conversation) -> Query:
    return Query(
        line.case_id,
        line.order,
        line.sample,
        messages,
        line.sampling,
        line.prefill,
        line.choices,
        line.judge,
    )


def _joined(line: JudgmentLine, messages: Conversation) -> Judgment:
    return Judgment(_query(line.query, messages), line.completion, line.verdict, line.forced)


def _completion(line: SlimCompletion) -> Completion:
    return Completion(
        finish=line.finish,
        usage=line.usage,
        seconds=line.seconds,
        logprobs=line.logprobs,
        error=line.error,
        reused=line.reused,
    )


def _decoded(name: str, offset: int, line: bytes, decode: Callable[[bytes], V]) -> V:
    try:
        return decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedError(name, offset, f"not a line that this version writes ({error})") from None


_decode_case = msgspec.json.Decoder(CaseLine).decode
_decode_prompt = msgspec.json.Decoder(PromptLine).decode
_decode_text = msgspec.json.Decoder(TextLine).decode
_decode_judgment = msgspec.json.Decoder(JudgmentLine).decode
_decode_old_judgment = msgspec.json.Decoder(OldJudgmentLine).decode
_decode_slim = msgspec.json.Decoder(SlimJudgmentLine).decode
_decode_decision = msgspec.json.Decoder(DecisionLine).decode
_decode_meta = msgspec.json.Decoder(CaseMeta).decode
