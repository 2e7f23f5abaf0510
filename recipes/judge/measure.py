"""The judge's figures from a run on held-out pairs: a line per kind, and what its reasons are worth.

    jurist judge runs/judge/data/held_out.jsonl --protocol pointwise-short --out runs/judge/held_out
    python recipes/judge/measure.py runs/judge/held_out

``right``: the better reply's rating (its expectation) is higher; a reply is assessed alone, so this holds in
both orders. ``written``: so is the rating that it wrote; ``same``: both replies got the same written rating.
"""

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jurist.core.runs import read_decisions
from jurist.core.statistics import wilson
from jurist.core.types import Decision, Judgment, Status
from jurist.protocols.pointwise_short import pointwise_short

_PROTOCOL = pointwise_short()
_QUOTE = re.compile(r'"([^"]+)"')
_CRITERION = re.compile(r"(\d)\. (.*?) \((\d+)%\)")
_FINDING = re.compile(r"^(\d)\. .*?(Not met|Met)\.$", re.M)


@dataclass
class Count:
    """What came of the pairs of one kind."""

    pairs: int = 0
    right: int = 0
    written: int = 0
    same: int = 0
    replies: int = 0
    unanswered: int = 0
    quotes: list[bool] = field(default_factory=list[bool])
    rubrics: int = 0
    follows: int = 0


def part(text: str, tag: str) -> str:
    """What stands between a tag and its end."""
    found = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S)
    return found[1].strip() if found else ""


def written_rating(judgment: Judgment) -> float | None:
    """The rating in the text, whatever the labels' probabilities say."""
    verdict = _PROTOCOL.parse(judgment.completion)
    return verdict.scores[0] if verdict.scores else None


def reply_of(judgment: Judgment) -> str:
    """The reply as the judge read it."""
    text = judgment.query.messages[-1].content
    return text.split("\n[Reply]\n", 1)[1].rsplit("\n[End of reply]", 1)[0]


def follows(text: str) -> bool:
    """Whether the rating is what the chain's own findings and weights come to."""
    weights = {n: int(w) for n, _, w in _CRITERION.findall(part(text, "rubric"))}
    met = dict(_FINDING.findall(part(text, "eval")))
    if not weights or weights.keys() != met.keys():
        return False
    share = sum(w for n, w in weights.items() if met[n] == "Met") / sum(weights.values())
    return part(text, "rating") == str(1 + round(4 * share))


def count(decision: Decision, into: Count) -> None:
    """Add one pair."""
    by_reply = {j.query.order[0]: j for j in decision.judgments}
    gold = decision.gold or (1.0, 0.0)
    better, worse = (0, 1) if gold[0] > gold[1] else (1, 0)
    scores = decision.verdict.scores
    into.pairs += 1
    into.right += (
        decision.verdict.status is Status.OK and scores is not None and scores[better] > scores[worse]
    )
    ratings = [written_rating(by_reply[i]) if i in by_reply else None for i in (better, worse)]
    if ratings[0] is not None and ratings[1] is not None:
        into.written += ratings[0] > ratings[1]
        into.same += ratings[0] == ratings[1]
    texts = [by_reply[i].completion.text for i in (0, 1) if i in by_reply]
    into.rubrics += len({part(t, "rubric") for t in texts}) == 1
    for judgment in by_reply.values():
        text, reply = judgment.completion.text, " ".join(reply_of(judgment).split()).lower()
        into.replies += 1
        into.unanswered += written_rating(judgment) is None
        into.follows += follows(text)
        into.quotes += [" ".join(q.split()).lower() in reply for q in _QUOTE.findall(part(text, "eval"))]


def line(name: str, c: Count) -> str:
    """A row of the table."""
    low, high = wilson(c.right, c.pairs)
    quotes = sum(c.quotes) / len(c.quotes) if c.quotes else float("nan")
    shares = [c.written / c.pairs, c.same / c.pairs, c.unanswered / c.replies, quotes]
    shares += [c.rubrics / c.pairs, c.follows / c.replies]
    right = f"{name:16} {c.pairs:5} {c.right / c.pairs:6.1%} [{low:.0%}, {high:.0%}] "
    return right + " ".join(f"{share:6.1%}" for share in shares)


def total(counts: Sequence[Count]) -> Count:
    """All kinds together."""
    both = Count()
    for c in counts:
        for name in ("pairs", "right", "written", "same", "replies", "unanswered", "rubrics", "follows"):
            setattr(both, name, getattr(both, name) + getattr(c, name))
        both.quotes += c.quotes
    return both


def main() -> None:
    """Read a run and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    chosen = parser.parse_args()
    counts: dict[str, Count] = defaultdict(Count)
    for decision in read_decisions(chosen.run):
        count(decision, counts[decision.group or ""])
    print(f"{'kind':16} {'pairs':>5} {'right':>6} {'95%':11}  written  same  unans. quotes rubric follows")
    for name, c in sorted(counts.items()):
        print(line(name, c))
    print(line("all", total(list(counts.values()))))
    if chosen.json:
        figures = {
            name: {"pairs": c.pairs, "right": c.right, "written": c.written, "same": c.same}
            for name, c in counts.items()
        }
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
