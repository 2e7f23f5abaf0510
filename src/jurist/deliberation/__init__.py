"""Many judgments, one decision; receives `ask`, knows no engine."""
