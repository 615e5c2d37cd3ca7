"""Complete the rare classes of a run's data with generated images that pass filters."""
