"""Compares evaluations, over runs and over training seeds; imports no torch."""
