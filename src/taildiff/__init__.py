"""taildiff trains, samples and judges class-conditional diffusion models on long-tailed image data."""

__version__ = "0.1.0"
