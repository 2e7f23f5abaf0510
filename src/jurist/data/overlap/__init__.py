"""Contamination: which training rows contain texts of a benchmark, exactly or nearly."""

from jurist.data.overlap.clean import Marks, check_target, write_clean
from jurist.data.overlap.index import Index
from jurist.data.overlap.match import Hit, OverlapMatch, match
from jurist.data.overlap.report import SORTS, BenchmarkOverlap, Clean, OverlapReport, OverlapSummary, stamp
from jurist.data.overlap.rows import RowCase, read_cases
from jurist.data.overlap.rule import Rule

__all__ = [
    "SORTS",
    "BenchmarkOverlap",
    "Clean",
    "Hit",
    "Index",
    "Marks",
    "OverlapMatch",
    "OverlapReport",
    "OverlapSummary",
    "RowCase",
    "Rule",
    "check_target",
    "match",
    "read_cases",
    "stamp",
    "write_clean",
]
