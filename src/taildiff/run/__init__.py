"""A run on disk: its layout, run.json and weights files."""
