"""Why there is no verdict, counted."""

from jurist.core.reasons import MOST, Reasons, reason_of
from jurist.core.types import Completion, Judgment, Query, Sampling, Status, Verdict


def _judgment(note: str, status: Status = Status.FAILED) -> Judgment:
    return Judgment(Query("1", (0, 1), 0, (), Sampling()), Completion(), Verdict(status=status, note=note))


def test_what_tells_single_calls_apart_is_left_out():
    notes = [
        "HTTP 400: 4097 tokens are more than 4096 (request req-8f3a99e012b7cd01)",
        "HTTP 400: 5123 tokens are more than 4096 (request req-00aa99e012b7cd44)",
    ]
    assert len({reason_of(_judgment(note)) for note in notes}) == 1
    assert reason_of(_judgment("HTTP 401: wrong key")) == "failed: HTTP 401: wrong key"
    first = "HTTP 429: request req_abc123 of 1,024 tokens; wait 3.5 s (tried for 12 s); mend: --retry-for 9"
    second = "HTTP 429: request req_zzz of 7 tokens; wait 60 s (tried for 600 s); mend: --retry-for 9"
    expected = "failed: HTTP 429: request ID of N tokens; wait N s; mend: --retry-for 9"
    assert reason_of(_judgment(first)) == reason_of(_judgment(second)) == expected
    assert reason_of(_judgment("HTTP 401: x")) != reason_of(_judgment("HTTP 403: x"))
    assert reason_of(_judgment("", Status.UNPARSED)) == "unparsed"


def test_the_most_frequent_reasons_come_first():
    reasons = Reasons()
    reasons.add(_judgment("rare") for _ in range(2))
    reasons.add(_judgment("frequent") for _ in range(5))
    assert list(reasons.most().items()) == [("failed: frequent", 5), ("failed: rare", 2)]
    reasons.add(_judgment("x" * i) for i in range(2 * MOST))
    assert len(reasons.most(10**6)) == MOST + 1
    assert sum(reasons.most(10**6).values()) == 7 + 2 * MOST
    reasons.add([Judgment(Query("1", (0,), 0, (), Sampling()), Completion(), Verdict((1.0,)))])
    assert sum(reasons.most(10**6).values()) == 7 + 2 * MOST
