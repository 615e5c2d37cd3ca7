"""Judging a model by class and by group."""
