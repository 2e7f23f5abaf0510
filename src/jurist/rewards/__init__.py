"""Rewards and choices for a group of responses."""
