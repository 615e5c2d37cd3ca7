"""Runs in the formats of other libraries."""
