"""The loop, checkpoints, EMA and tracking."""
