"""Jurist: reasoning reward models, judged, measured, trained and served."""
