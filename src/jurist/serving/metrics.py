"""What the server counts, for Prometheus, in a registry of its own."""

from collections.abc import Callable, Iterable
from functools import cache
from time import monotonic

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from jurist.core.types import Status
from jurist.rewards.cohort import CohortCounts
from jurist.rewards.group import GroupResult

BUCKETS = (0.01, 0.05, 0.25, 1, 5, 15, 30, 60, 120, 180, 300, 600)
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one server; ``counts`` gives the state of its cohorts when the metrics are read."""

    def __init__(self, counts: Callable[[], CohortCounts]) -> None:
        self._registry = registry = CollectorRegistry()
        requests = Counter(
            "jurist_requests", "Requests by route and HTTP status", ["route", "status"], registry=registry
        )
        seconds = Histogram(
            "jurist_request_seconds", "Seconds to the reply", ["route"], buckets=BUCKETS, registry=registry
        )
        rewards = Counter("jurist_rewards", "Rewards by status", ["status"], registry=registry)
        judgments = Counter("jurist_judgments", "Judgments by status", ["status"], registry=registry)
        tokens = Counter("jurist_judgment_tokens", "Tokens of judgments", ["kind"], registry=registry)
        self._judging = Counter("jurist_judgment_seconds", "Seconds of all judgments", registry=registry)
        # prometheus_client looks labels up under a lock; these few are looked up once.
        self._requests, self._seconds = cache(requests.labels), cache(seconds.labels)
        self._rewards, self._judgments = cache(rewards.labels), cache(judgments.labels)
        self._prompt_tokens, self._completion_tokens = tokens.labels("prompt"), tokens.labels("completion")
        gauges: Iterable[tuple[str, str, Callable[[], float]]] = (
            ("jurist_groups_open", "Groups that gather siblings", lambda: counts().open),
            ("jurist_groups_judging", "Groups that are judged now", lambda: counts().judging),
            ("jurist_samples_waiting", "Samples that wait for a reward", lambda: counts().waiting),
            ("jurist_samples_retried", "Samples that came again", lambda: counts().retries),
            (
                "jurist_groups_partial",
                "Groups that were not whole when their time was over",
                lambda: counts().partial,
            ),
            ("jurist_groups_failed", "Groups whose judge raised", lambda: counts().failed),
            ("jurist_samples_late", "Samples that came after their group", lambda: counts().late),
        )
        for name, what, value in gauges:
            Gauge(name, what, registry=registry).set_function(value)

    def request(self, route: str, status: int, started: float) -> None:
        """One reply; ``started`` in the monotonic clock."""
        self._requests(route, str(status)).inc()
        self._seconds(route).observe(monotonic() - started)

    def reward(self, status: Status) -> None:
        """One reward given, or not."""
        self._rewards(status).inc()

    def judged(self, result: GroupResult) -> None:
        """The judgments that a result cost."""
        if result.decision is None:
            return
        prompt = completion = 0
        seconds = 0.0
        for judgment in result.decision.judgments:
            self._judgments(judgment.verdict.status).inc()
            prompt += judgment.usage.prompt_tokens
            completion += judgment.usage.completion_tokens
            seconds += judgment.completion.seconds
        # Each takes a lock.
        if prompt or completion:
            self._prompt_tokens.inc(prompt)
            self._completion_tokens.inc(completion)
        if seconds:
            self._judging.inc(seconds)

    def text(self) -> bytes:
        """All of it, in the text format of Prometheus."""
        return generate_latest(self._registry)
