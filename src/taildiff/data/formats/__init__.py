"""One file format a file: each finds its source, and reads it."""
