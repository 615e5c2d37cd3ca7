"""Memory that training frees and asks for again a moment later, step after step.

glibc returns large blocks to the kernel when they are freed and gets them back page by page; on two CPU cores that made
a step over two views cost 2.3 plain ones instead of 1.9 (benchmarks/step_cost.py without and with this call). Keeping
them costs nothing: the peak is the same in the next step.
"""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory() -> None:
    """Let glibc's allocator reuse blocks below 1 GiB instead of returning them; elsewhere do nothing."""
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
