"""The front door: what `import taildiff` offers and the command line calls."""
