"""Two or more measurements of the same held-out pairs beside each other: differences and McNemar's test.

    python recipes/judge/compare.py before.jsonl after.jsonl [...]

The files are what `sample.py` (each reply alone, or side by side) or `scalar.py` wrote.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from jurist.core.statistics import mcnemar, paired_difference, wilson

Key = tuple[str, int]


def right_pairs(path: Path) -> dict[Key, bool]:
    """Whether each pair was decided right in both orders."""
    of: dict[Key, dict[str, Any]] = defaultdict(dict)
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        if "truth" in row:
            of[row["kind"], row["pair"]][row["truth"]] = row
        else:
            of[row["kind"], row["pair"]] = row
    found: dict[Key, bool] = {}
    for key, row in of.items():
        if "A" in row:
            found[key] = all(
                row[letter]["text"].rstrip().endswith(f"[[{letter}]]</answer>") for letter in "AB"
            )
        elif "kind" in row:
            found[key] = row["better"] > row["worse"]
        else:
            found[key] = row["better"]["expected"] > row["worse"]["expected"]
    return found


def line(name: str, keys: list[Key], before: dict[Key, bool], after: dict[Key, bool]) -> str:
    """A row of the table: both shares, pairs gained and lost, p, and the difference's interval."""
    n = len(keys)
    k0, k1 = sum(before[k] for k in keys), sum(after[k] for k in keys)
    gained = sum(after[k] and not before[k] for k in keys)
    lost = sum(before[k] and not after[k] for k in keys)
    low, high = paired_difference(gained, lost, n)
    return (
        f"{name:14} {n:4} {k0 / n:6.1%} {k1 / n:6.1%} [{wilson(k1, n)[0]:.0%}, {wilson(k1, n)[1]:.0%}]  "
        f"+{gained:<3} -{lost:<3} p {mcnemar(gained, lost):.3g}  {low:+.1%} to {high:+.1%}"
    )


def main() -> None:
    """Read the files and print a table for each after the first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+")
    first, *others = parser.parse_args().files
    before = right_pairs(first)
    for path in others:
        after = right_pairs(path)
        keys = [k for k in before if k in after]
        by: dict[str, list[Key]] = defaultdict(list)
        for key in keys:
            by[key[0]].append(key)
        print(f"{first} -> {path}")
        for kind, of in sorted(by.items()):
            print(line(kind, of, before, after))
        print(line("all", keys, before, after))


if __name__ == "__main__":
    main()
