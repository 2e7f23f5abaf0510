"""Reads files, folders, Hub datasets and Python values as cases."""

from jurist.inputs.reading import BadRows, OnBad, case_from, cases_of, handler, load_cases, read_rows

__all__ = ["BadRows", "OnBad", "case_from", "cases_of", "handler", "load_cases", "read_rows"]
