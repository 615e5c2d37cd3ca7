"""Experiment trackers: a run's metrics and sample grids in TensorBoard, Weights & Biases, or one of your own."""
