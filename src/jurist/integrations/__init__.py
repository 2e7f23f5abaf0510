"""Judges as reward functions of trainers, in the trainer's own processes."""
