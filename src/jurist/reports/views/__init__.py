"""Terminal tables and pictures of what `reports` computes."""
