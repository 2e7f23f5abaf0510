"""Prompt and parser per family of judges: pure text, no I/O."""
