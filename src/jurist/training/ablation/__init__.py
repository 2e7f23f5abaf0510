"""Ablations: several ways to make a judge, each a list of our own commands, measured on the same pairs."""
