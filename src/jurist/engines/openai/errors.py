"""What a server's refusal means: a line for people, whether another try may help, what to do about it."""

import json
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from jurist.core.types import Completion
from jurist.engines.base import failed, with_mend
from jurist.engines.openai.json_values import list_of, object_of, objects_of

RETRIED_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})

_ADDRESS = "the address of an OpenAI-compatible server usually ends in /v1"
_CREDIT = "add credit to the account of the key"
_KEY = "put a key that the server accepts into the environment: export JURIST_API_KEY=..."

# Codes and words by which servers say that the request may succeed later (lower case, words joined by "_").
_LATER = re.compile(
    r"rate.?limit|too.?many.?requests|overloaded|server_?error|internal_?error|(?:service|temporarily).?unavailable"
    r"|\Aunavailable|resource_exhausted|bad.?gateway|gateway.?time|\A(?:request_)?timed?_?out|try.?again|at_capacity"
)
# An account without credit answers 429, and will answer so until somebody pays.
_UNPAID = re.compile(r"insufficient_quota|billing|insufficient.?(?:balance|credit|funds)|payment.?required")
_FILTERED = re.compile(
    r"content.?(?:filter|policy|moderation|management.?policy)|responsible_?ai|data_?inspection|prohibited_content"
    r"|usage.?polic|safety.?(?:system|polic|filter|setting|reason|check)|(?:input|prompt|content|text).{0,30}flagged"
    r"|flagged.{0,40}(?:moderation|polic|unsafe)|inappropriate.content|content.exists.risk|blocked.{0,20}(?:safety|prohibited)"
    r"|guardrail|sensitive.(?:content|words|information)|unsafe.content|invalid_prompt",
)
_TOO_LONG = re.compile(
    r"context[ _](?:length|size|window)|maximum context|n_ctx"
    r"|(?:prompt|input|messages?|conversation)\b.{0,40}too long"
    r"|input.{0,20}(?:exceeds|longer than).{0,40}(?:maximum|limit)",
    re.I | re.S,
)
_CONTEXT = re.compile(r"context length (?:is|of) (\d+)")
_OUTPUT = re.compile(r"requested (\d+) output|too large: (\d+)|(\d+)(?: tokens for| in) the completion")
_NO_MODEL = re.compile(
    r"model\b.{0,80}(?:does(?: not|n't) exist|not found|not exist|unknown|is not (?:available|served|loaded))"
    r"|(?:no such|unknown|invalid|not a valid) model|model_not_found|deployment.{0,60}not exist",
    re.I | re.S,
)

# (status or None, pattern of the words, what to do), the first that fits.
_MENDS: tuple[tuple[tuple[int, ...], str, str], ...] = (
    (
        (),
        r"system.{0,40}(?:not|n't|un).{0,6}(?:support|allow)|(?:not|n't|un).{0,6}support.{0,20}system"
        r"|roles? must alternate|only (?:supports? )?user(?:,| and) (?:assistant|model)",
        "--system merge",
    ),
    (
        (),
        r"max_tokens.{0,60}(?:not|un).{0,6}support",
        """--extra '{"max_tokens": null, "max_completion_tokens": 4096}'""",
    ),
    (
        (),
        r"(?:temperature|top_p).{0,60}(?:not|un|n't).{0,6}support|unsupported.{0,40}(?:temperature|top_p)",
        """--extra '{"temperature": null, "top_p": null}'""",
    ),
    ((), r"enable_thinking", """--extra '{"chat_template_kwargs": {"enable_thinking": false}}'"""),
    ((), r"logprobs.{0,60}(?:not|un|n't).{0,6}(?:support|allow|available)", "--forced never"),
    ((), r"insufficient_quota|exceeded your current quota|billing|credit|balance", _CREDIT),
    ((401, 403), r"", _KEY),
    ((402,), r"", _CREDIT),
    ((404, 400, 422), _NO_MODEL.pattern, "--model with a name that the server lists under /v1/models"),
    ((404, 405), r"", _ADDRESS),
    ((429,), r"", "a smaller --concurrency, or a longer --retry-for"),
    ((500, 502, 503, 504), r"", "the server's own log says more"),
    ((), r"HTML instead of JSON", f"{_ADDRESS}; a page may be a proxy's or a login's"),
)


class WireError(Exception):
    """A reply of another shape than was asked for."""


class _NoAnswer(Exception):
    """The server answered with an error: its words, and its status (0: none)."""

    def __init__(self, words: str, status: int = 0) -> None:
        super().__init__(f"HTTP {status}: {words}" if status else words)
        self.words = words
        self.status = status

    @property
    def mend(self) -> str:
        """What the user can do about it; empty where we do not know."""
        return mend_of(self.status, self.words)


class Refused(_NoAnswer):
    """The server answered, and would answer the same request the same way again."""

    def __init__(self, words: str, status: int = 0, *, mend: str = "", filtered: bool = False) -> None:
        super().__init__(words, status)
        self.filtered = filtered
        self._mend = mend

    @property
    def of_request(self) -> bool:
        """Whether it is the request's body that was refused: another one may be taken."""
        return self.status in (400, 422) and not self.filtered

    @property
    def of_key(self) -> bool:
        """Whether the server does not let this key (or a caller without one) in."""
        return self.status in (401, 403) and not self.filtered

    @property
    def no_route(self) -> bool:
        """Whether the server has no such route."""
        return self.status in (404, 405, 501)

    @property
    def too_long(self) -> bool:
        """Whether the prompt does not fit into the model's context."""
        refused = self.status in (400, 413, 422) and not self.output_too_long
        return refused and _TOO_LONG.search(self.words) is not None

    @property
    def output_too_long(self) -> bool:
        """Whether more output was asked for than fits with any prompt: ``max_tokens`` is wrong."""
        context, output = _CONTEXT.search(self.words), _OUTPUT.search(self.words)
        return bool(context and output and int(output[output.lastindex or 0]) >= int(context[1]))

    @property
    def no_model(self) -> bool:
        """Whether the server says that it has no such model."""
        return self.status in (400, 404, 422) and _NO_MODEL.search(self.words) is not None

    @property
    def mend(self) -> str:
        """What the user can do about it; empty where we do not know."""
        if self._mend:
            return self._mend
        if self.output_too_long:
            return "a smaller --max-tokens"
        return super().mend


class Retried(_NoAnswer):
    """The request may succeed later; ``after`` seconds if the server said so.

    ``most`` is how often at most it is worth another try, where a server that repeats itself is not busy but
    broken.
    """

    def __init__(
        self, words: str, status: int = 0, *, after: float | None = None, most: int | None = None
    ) -> None:
        super().__init__(words, status)
        self.after = after
        self.most = most


@dataclass(frozen=True, slots=True)
class Problem:
    """What an error object says: its words, its number, and its names (code, type, status)."""

    words: str
    code: int | None = None
    names: str = ""


def mend_of(status: int, words: str) -> str:
    """What to do about a refusal with these words; empty where we do not know."""
    fits = ((s, p, m) for s, p, m in _MENDS if (not s or status in s) and re.search(p, words, re.I | re.S))
    return next((mend for _, _, mend in fits), "")


def refusal(status: int, data: bytes, content_type: str, after: float | None = None) -> Refused | Retried:
    """The exception for a reply that is no answer; ``after``: seconds until another try, if it says so."""
    problem = problem_of(data)
    if problem is None:
        problem = Problem(_shown(data, content_type))
    return _raised(problem, status, after)


def refusal_inside(value: Any) -> Refused | Retried | None:
    """The exception for an error that came with status 200; None where ``value`` holds none.

    Some gateways report an error of the server behind them so; its own code says whether to try again.
    """
    problem = problem_in(value)
    if problem is None:
        return None
    if problem.code is not None and 400 <= problem.code < 600:
        return _raised(problem, problem.code, None)
    if _LATER.search(problem.names) or (not problem.names and _LATER.search(problem.words.lower())):
        return Retried(f"an error with status 200: {problem.words}")
    return Refused(f"an error with status 200: {problem.words}", filtered=_is_filtered(problem))


def problem_of(data: bytes) -> Problem | None:
    """What an error reply says; None where it is no error object."""
    try:
        value = json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return problem_in(value) or _plain_problem(value)


def problem_in(value: Any) -> Problem | None:
    """The error that a decoded reply holds, under ``error``, ``errors`` or a vendor's field, if any."""
    fields = _object(value)
    for name in ("error", "errors"):
        if _says_something(error := fields.get(name)):
            return _problem(error, fields)
    vendor = _object(fields.get("base_resp"))  # MiniMax
    if vendor.get("status_code"):
        return Problem(_line(vendor.get("status_msg") or vendor), names=str(vendor["status_code"]))
    if fields.get("error_msg") or fields.get("error_code"):  # Baidu
        return Problem(_line(fields.get("error_msg") or fields), names=str(fields.get("error_code") or ""))
    return None


def completion_of(error: "Refused | Retried", words: str) -> Completion:
    """What a refused call is to a judge: ``words`` are the error's, without secrets."""
    if isinstance(error, Refused):
        if error.filtered:
            return Completion(finish="filter", error=words)
        if error.too_long:
            # A truncation of the input, not a failure of the server.
            mend = "a server with a longer context, a smaller --max-tokens, or --protocol rubrics-short"
            error_text = f"the prompt does not fit into the model's context ({words})"
            return Completion(finish="length", error=with_mend(error_text, mend))
    return failed(with_mend(words, error.mend))


def _plain_problem(value: Any) -> Problem | None:
    """An error object that is the whole reply: ``message``, ``msg`` or FastAPI's ``detail``."""
    fields = _object(value)
    for name in ("message", "msg", "detail", "error_description", "title"):
        if _says_something(words := fields.get(name)):
            return Problem(_line(_fastapi(words)), _code(fields), _names(fields))
    return Problem(_line(value)) if isinstance(value, str) and value.strip() else None


def _problem(error: Any, around: dict[str, Any]) -> Problem:
    if isinstance(error, list):
        error = next(filter(_says_something, list_of(error)), "")
    if not isinstance(error, dict):
        return Problem(_line(error), _code(around), _names(around))
    fields = object_of(error)
    if isinstance(nested := fields.get("error"), dict):
        return _problem(nested, fields)
    named = (fields[n] for n in ("message", "msg", "detail", "description", "reason") if fields.get(n))
    words = next(named, fields)
    metadata = _object(fields.get("metadata")).get("raw")
    line = _line(words)
    if isinstance(metadata, str) and metadata and metadata not in line:
        line = f"{line} ({_line(metadata)[:160]})"  # OpenRouter: what the provider said
    return Problem(line, _code(fields), _names(fields))


def _raised(problem: Problem, status: int, after: float | None) -> Refused | Retried:
    if status in RETRIED_STATUSES and not _UNPAID.search(problem.names):
        return Retried(problem.words, status, after=after)
    filtered = status in (400, 403, 422, 451) and _is_filtered(problem)
    unpaid = _CREDIT if _UNPAID.search(problem.names) else ""
    return Refused(problem.words, status, filtered=filtered, mend=unpaid)


def _is_filtered(problem: Problem) -> bool:
    return bool(_FILTERED.search(problem.names) or _FILTERED.search(problem.words.lower()))


def _object(value: Any) -> dict[str, Any]:
    """An object; the first one of a list (Gemini puts its errors into one); else an empty one."""
    first = objects_of(value)[:1]
    return first[0] if first else object_of(value)


def _says_something(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_says_something, object_of(value).values()))
    return bool(value) and value is not True


def _code(fields: dict[str, Any]) -> int | None:
    for name in ("code", "status", "status_code", "statusCode"):
        value = fields.get(name)
        if isinstance(value, str) and value.isdecimal() and len(value) < 6:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _names(fields: dict[str, Any]) -> str:
    """The error's code, type and status where they are words, lower case, spaces and dashes as "_"."""
    inner = _object(fields.get("innererror"))
    values = [fields.get("code"), fields.get("type"), fields.get("status"), inner.get("code")]
    words = " ".join(v for v in values if isinstance(v, str) and not v.isdecimal())
    return re.sub(r"[ -]", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", words)).lower()


def _fastapi(detail: Any) -> Any:
    """FastAPI's list of complaints as one line; what it quotes of the request is left out."""
    if not isinstance(detail, list):
        return detail
    places = objects_of(detail)
    if len(places) < len(list_of(detail)) or not all(isinstance(p.get("msg"), str) for p in places):
        return list_of(detail)
    return "; ".join(f"{'.'.join(map(str, p.get('loc') or []))}: {p['msg']}" for p in places)


def _line(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode("utf-8", "replace")
    return " ".join(text.encode("utf-8", "replace").decode().split())[:400]


def _shown(data: bytes, content_type: str) -> str:
    text = " ".join(data[:2000].decode("utf-8", "replace").split())
    kind = "HTML" if "html" in content_type or text[:1] == "<" else "text"
    return f"{kind} instead of JSON: {text[:120]!r}" if text else "an empty reply"
