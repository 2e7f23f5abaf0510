"""Groups of judgments of one pair: written by a rollout backend, parsed, rewarded.

Samples of them are kept in RUN/traces as a run folder, which `jurist show` opens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from msgspec.structs import replace

from jurist.core.hashing import seed_of
from jurist.core.store import Store
from jurist.core.types import Completion, Decision, Judgment, Sampling, Status, Usage, winner
from jurist.deliberation.combine import majority
from jurist.judging.faithfulness import faults
from jurist.judging.judge import to_case_order
from jurist.protocols.base import Protocol
from jurist.training.evaluation import written_text
from jurist.training.model import PolicyModel
from jurist.training.prompts import PromptExample
from jurist.training.reward import RIGHT, WRONG, consistent, reward, well_formed

Sample = tuple[list[int], list[float]]
"""Tokens of a completion with the one that ended it, and the log-probability each was drawn with."""

Generate = Callable[[list[list[int]], int, int], Sequence[Sequence[Sample]]]
"""(prompts, copies, seed) -> for each prompt its completions."""


@dataclass(frozen=True, slots=True)
class Member:
    """One judgment of a group: its sample for the trainer, the judgment, its reward."""

    example: PromptExample
    written: Sample
    judgment: Judgment
    reward: float | None
    right: bool


@dataclass(frozen=True, slots=True)
class Group:
    """All judgments of one pair in one step."""

    members: tuple[Member, ...]

    @property
    def zero_advantage(self) -> bool:
        """All rewards are equal, so all advantages are 0 and nothing is learned from it."""
        return len({m.reward for m in self.members if m.reward is not None}) < 2


@dataclass(frozen=True, slots=True)
class GroupSampler:
    """How groups are sampled: protocol, policy, sampling, size, and what is rewarded."""

    protocol: Protocol
    policy: PolicyModel
    sampling: Sampling
    size: int
    both: bool
    rewarded: Literal["verdict", "consistent", "faithful"]
    format_reward: float
    seed: int

    def groups(
        self, pairs: Sequence[tuple[PromptExample, ...]], step: int, attempt: int, write: Generate
    ) -> list[Group]:
        """A group for each pair, whose prompt is one, or one for each order."""
        copies = self.size // (2 if self.both else 1)
        prompts = [example.ids for pair in pairs for example in pair]
        written = iter(write(prompts, copies, draw(self.seed, step, attempt)))
        return [self._group([(q, next(written)) for q in pair], step) for pair in pairs]

    def _group(self, asked: Sequence[tuple[PromptExample, Sequence[Sample]]], step: int) -> Group:
        orders = [[self._member(q, w, step, i) for i, w in enumerate(written)] for q, written in asked]
        if self.rewarded == "consistent" and len(orders) == 2:
            both = consistent([m.reward for m in orders[0]], [m.reward for m in orders[1]])
            orders = [[_with(m, r) for m, r in zip(members, both, strict=True)] for members in orders]
        return Group(tuple(m for members in orders for m in members))

    def _member(self, example: PromptExample, written: Sample, step: int, sample: int) -> Member:
        ids, _ = written
        policy = self.policy
        completion = Completion(
            written_text(policy.chat, self.protocol, ids),
            finish="stop" if ids and ids[-1] in policy.eos else "length",
            usage=Usage(len(example.ids), len(ids)),
        )
        verdict = to_case_order(self.protocol.parse(completion), example.query.order)
        query = replace(example.query, sample=sample, sampling=self.sampling, judge=f"step {step}")
        judgment = Judgment(query, completion, verdict)
        value = reward(verdict, example.case.gold)
        if value == RIGHT and self.rewarded == "faithful":
            opens = self.protocol.opens_thinking
            value = WRONG if faults(example.case, judgment, opens=opens) else RIGHT
        if value is not None and self.format_reward and well_formed(completion, self.protocol):
            value += self.format_reward
        right = winner(verdict.scores) == example.want
        return Member(example, written, judgment, value, right)


def _with(member: Member, value: float | None) -> Member:
    return Member(member.example, member.written, member.judgment, value, member.right)


def draw(*parts: object) -> int:
    """A seed derived from the parts."""
    return seed_of(*parts, bits=32) >> 1


def group_shares(groups: Sequence[Group]) -> dict[str, float]:
    """What the trainer logs about its groups, as shares in [0, 1]."""
    members = [m for group in groups for m in group.members]
    verdicts = [m for m in members if m.judgment.verdict.status is Status.OK]
    firsts = [m.judgment.query.order[0] == winner(m.judgment.verdict.scores) for m in verdicts]
    return {
        "verdicts/right": fmean(m.right for m in members),
        "verdicts/unanswered": 1 - len(verdicts) / len(members),
        "verdicts/first": fmean(firsts) if firsts else 0.5,
        "groups/zero_variance": fmean(group.zero_advantage for group in groups),
    }


class Traces:
    """RUN/traces: every so many steps the judgments of a few groups."""

    def __init__(self, folder: Path, facts: dict[str, str], every: int, groups: int = 2) -> None:
        self._folder, self._facts, self._every, self._groups = folder, facts, every, groups

    def keep(self, step: int, groups: Sequence[Group]) -> None:
        """Generate the first groups of a step, if it is one of those that are kept."""
        if self._every and step % self._every == 0:
            with Store(self._folder, self._facts) as store:
                for group in groups[: self._groups]:
                    _kept(store, step, group)


def _kept(store: Store, step: int, group: Group) -> None:
    case = group.members[0].example.case
    name = f"step-{step:05d}/{case.id}"
    judgments = tuple(
        replace(m.judgment, query=replace(m.judgment.query, case_id=name)) for m in group.members
    )
    case = replace(case, id=name)
    store.begin(case)
    for judgment in judgments:
        if store.recall(judgment.query) is None:
            store.record(judgment)
    rewards = [m.reward for m in group.members]
    verdict = majority([j.verdict for j in judgments])
    meta = {"step": step, "rewards": rewards}
    decision = Decision(name, verdict, judgments, None, case.gold, f"step {step}", meta)
    if store.decided(name, case.digest) is None:
        store.decide(decision, case.digest)
