"""Samples of the judgments that a training writes, in the format of runs: `jurist show` opens them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from jurist.combine import majority
from jurist.learning.groups import Group
from jurist.store import Store
from jurist.types import Decision


class Traces:
    """RUN/traces: every so many steps the judgments of a few groups."""

    def __init__(self, folder: Path, facts: dict[str, Any], every: int, groups: int = 2) -> None:
        self._folder, self._facts, self._every, self._groups = folder, facts, every, groups

    def keep(self, step: int, groups: Sequence[Group]) -> None:
        """Write the first groups of a step, if it is one of those that are kept."""
        if self._every and step % self._every == 0:
            with Store(self._folder, self._facts) as store:
                for group in groups[: self._groups]:
                    _kept(store, step, group)


def _kept(store: Store, step: int, group: Group) -> None:
    case = group.members[0].question.case
    name = f"step-{step:05d}/{case.id}"
    judgments = tuple(
        replace(m.judgment, query=replace(m.judgment.query, case_id=name)) for m in group.members
    )
    for judgment in judgments:
        if store.recall(judgment.query.key) is None:
            store.record(judgment)
    rewards = [m.reward for m in group.members]
    verdict = majority([j.verdict for j in judgments])
    meta = {"step": step, "rewards": rewards}
    decision = Decision(name, verdict, judgments, None, case.gold, f"step {step}", meta)
    if store.decided(name, case.digest) is None:
        store.decide(decision, case.digest)
