"""What a run is on disk: its layout, run.json and weights files."""
