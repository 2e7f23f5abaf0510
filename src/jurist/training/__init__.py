"""Where a judge is trained."""
