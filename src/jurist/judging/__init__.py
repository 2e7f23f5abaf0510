"""From options to decisions: the judge, its configuration and the runner of cases."""
