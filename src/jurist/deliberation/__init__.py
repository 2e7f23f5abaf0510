"""Deliberations: how several judgments become one decision; they call `ask` and know no engine."""
