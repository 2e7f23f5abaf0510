"""Training of judges: sft, grpo, scalar; distillation of chains; ablations."""
