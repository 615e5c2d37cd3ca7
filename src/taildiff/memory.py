"""glibc's allocator, tuned for training, which frees and allocates the same large blocks in every step.

By default glibc returns freed large blocks to the kernel and gets them back page by page; on two CPU cores that made a
step over two views cost 2.3 plain ones instead of 1.9 (benchmarks/step_cost.py without and with this call). Keeping the
blocks does not raise the peak.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory() -> None:
    """Make glibc reuse freed blocks below 1 GiB instead of returning them to the kernel; no effect elsewhere."""
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
