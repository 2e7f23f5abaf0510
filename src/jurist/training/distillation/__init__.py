"""Distillation: judging chains that are right and whole, kept as rows for supervised fine-tuning."""
