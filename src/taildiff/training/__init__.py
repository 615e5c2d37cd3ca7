"""The training loop, checkpoints, EMA and tracking."""
