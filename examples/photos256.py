"""A folder of real 256x256 photographs in three classes, cut from three large ones of scikit-learn and matplotlib.

    python examples/photos256.py photos            # photos/train/<class>/n.jpg and photos/test/<class>/n.jpg

Use it instead of your own folder on a machine without internet: crops of a temple, a flower and a portrait, the
same number of each, so that a tail can be cut and evaluated. Crops of one photograph overlap, so nothing here shows
generalisation.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

SIZE = 256


def photographs() -> dict[str, Image.Image]:
    """The photographs in alphabetical order, as classes are sorted: cutting a tail makes the last ones rare."""
    portrait = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    return {
        "flower": Image.fromarray(load_sample_image("flower.jpg")),
        "portrait": Image.open(portrait).convert("RGB"),
        "temple": Image.fromarray(load_sample_image("china.jpg")),
    }


def write(out: Path, counts: tuple[int, ...] = (200, 200, 200), held_out: int = 20, seed: int = 0) -> None:
    """Write crops of random position and size, resized to 256x256 pixels."""
    random = np.random.default_rng(seed)
    for (name, photo), count in zip(photographs().items(), counts, strict=True):
        for part, number in (("train", count), ("test", held_out)):
            folder = out / part / name
            folder.mkdir(parents=True)
            for i in range(number):
                side = int(random.integers(SIZE, min(photo.size) + 1))
                left, top = (int(random.integers(0, length - side + 1)) for length in photo.size)
                crop = photo.crop((left, top, left + side, top + side)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
                crop.save(folder / f"{i:04d}.jpg", quality=92)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--counts", type=int, nargs=3, default=(200, 200, 200), help="training images of each class")
    parser.add_argument("--held-out", type=int, default=20, help="held-out images of each class")
    options = parser.parse_args()
    write(options.out, tuple(options.counts), options.held_out)
