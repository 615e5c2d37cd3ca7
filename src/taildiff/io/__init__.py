"""Files: atomic writes, checksums, locks, resumable arrays, guarded readers; knows nothing of runs or data."""
