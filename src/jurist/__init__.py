"""Jurist: reasoning reward models, judged, measured, trained and served."""

__version__ = "0.1.0"
