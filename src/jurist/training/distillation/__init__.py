"""Distillation: chains of reasoning that end in the right verdict, as rows for supervised fine-tuning."""
