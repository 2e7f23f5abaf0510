"""The report: one HTML file with a run's numbers, its audit and every judgment, to read without a server."""
