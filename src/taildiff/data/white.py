"""Notes on images whose values do not fill the range of their files, such as 12 bits in a file of 16."""

from collections.abc import Mapping

DARK = 32
"""Images of 8 bits that nowhere reach this value are reported: an eighth of white."""


def value_notes(peaks: Mapping[int, int], white: int | None = None) -> tuple[str, ...]:
    """What the user should read about the largest values, by bits per channel (8 or 16), and the `white` in use."""
    deep, notes = peaks.get(16), []
    if white is not None:
        if deep is None and white > 255:
            notes.append(f"--white {white} changed nothing: no image has more than 8 bits per channel")
        if (most := deep if deep is not None else peaks.get(8, 0) if white < 255 else 0) > white:
            notes.append(f"values above --white {white} (up to {most:,}) were clipped to white")
        if deep is not None and 8 * deep < white:
            notes.append(f"no value is above {deep:,}, so the images are dark with --white {white}")
        return tuple(notes)
    if deep is not None and deep < 2**15:
        bits = max(deep.bit_length(), 1)
        notes.append(
            f"the images of 16 bits per channel use only {bits} of them (up to {2**bits - 1:,} of 65,535), so they are "
            f"dark; if {2**bits - 1} is white, prepare them again with --white {2**bits - 1}"
        )
    if deep is None and peaks.get(8, 255) < DARK:
        notes.append(_dark(peaks[8]))
    return tuple(notes)


def _dark(peak: int) -> str:
    if not peak:
        return "all images are black"
    return (
        f"no pixel of any image is above {peak} of 255, so they look black; if {peak} is white, prepare them again "
        f"with --white {peak}"
    )
