"""Which decisions a reader wants to see: wrong, tied, unanswered, disputed, of a group, with words."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches

from jurist.core.errors import UnknownNameError
from jurist.core.runs import Run, open_run
from jurist.core.types import Case, Decision, Response


@dataclass(slots=True)
class Selection:
    """A filter of decisions; without any option everything fits.

    ``wrong``, ``ties`` and ``unanswered`` add up; ``disagree`` (the judgments do not all say the same),
    ``groups`` (any of these) and ``search`` (all of these words, in any letters' case, in the id, the prompt,
    the responses, the reference or what the judge wrote) narrow. ``fitting`` counts those that fit.
    """

    wrong: bool = False
    ties: bool = False
    unanswered: bool = False
    disagree: bool = False
    groups: tuple[str, ...] = ()
    search: str = ""
    fitting: int = field(default=0, init=False)

    @property
    def narrows(self) -> bool:
        """Whether anything is asked for."""
        kinds = self.wrong or self.ties or self.unanswered
        return bool(kinds or self.disagree or self.groups or self.search.strip())

    def of(self, run: Run, *, slim: bool = False) -> Iterator[Decision]:
        """The decisions of a run that fit, in the order of the input, read as they are taken.

        ``slim``: without texts, if the search needs none. Raises ``UnknownNameError`` for a group that the
        run does not have.
        """
        words = self.search.casefold().split()
        self._check_groups(run)
        found = run.decided() if words else ((decision, None) for decision in run.decisions(slim=slim))
        for decision, case in found:
            if not self._fits(decision) or (words and not _has(words, decision, case)):
                continue
            self.fitting += 1
            yield decision

    def _check_groups(self, run: Run) -> None:
        """Look for the groups before anything is printed; by another reader, since each counts damage."""
        missing, known = set(self.groups), set[str]()
        if not missing:
            return
        with open_run(run.folder) as reader:
            for decision in reader.decisions(slim=True):
                known.add(decision.group or "")
                missing.discard(decision.group or "")
                if not missing:
                    return
        name = min(missing)
        near = get_close_matches(name, known - {""}, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "jurist show lists them with --all"
        listed = ", ".join(sorted(known - {""})[:20]) or "no case has one"
        raise UnknownNameError(f"no group {name!r} in {run.folder}; its groups: {listed}", hint)

    def _fits(self, decision: Decision) -> bool:
        if self.wrong or self.ties or self.unanswered:
            scores = decision.verdict.scores
            tie = scores is not None and len(scores) > 1 and decision.winner is None
            kinds = (
                (self.wrong and decision.right is False)
                or (self.ties and tie)
                or (self.unanswered and scores is None)
            )
            if not kinds:
                return False
        if self.disagree and (decision.agreement is None or decision.agreement >= 1):
            return False
        return not self.groups or decision.group in self.groups


def _has(words: list[str], decision: Decision, case: Case | None) -> bool:
    """Whether all words occur; a run without cases (old or imported) is searched in its rendered prompts."""
    parts = [decision.case_id]
    if case is not None:
        parts += [*(m.content for m in case.prompt), *map(_whole, case.responses)]
        parts.append(case.reference or "")
    for judgment in decision.judgments:
        parts += [judgment.completion.text, judgment.completion.thinking or ""]
        if case is None:
            parts += [m.content for m in judgment.query.messages]
    text = "\n".join(parts).casefold()
    return all(word in text for word in words)


def _whole(response: Response) -> str:
    return response if isinstance(response, str) else "\n".join(m.content for m in response)
