"""Stores, long tails and the order in which images are seen."""
