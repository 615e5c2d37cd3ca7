"""Evaluations side by side, over runs and over training seeds; imports no torch."""
