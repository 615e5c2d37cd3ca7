"""A limit of memory that threads share; and glibc's allocator, tuned for training.

Training frees and allocates the same large blocks in every step. By default glibc returns freed large blocks to the
kernel and gets them back page by page; on two CPU cores that made a step over two views cost 2.3 plain ones instead of
1.9 (benchmarks/step_cost.py without and with this call). Keeping the blocks does not raise the peak.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


class Budget:
    """Bytes that threads may use together; one that needs more than all of them waits until it is alone."""

    def __init__(self, total: int):
        self._total = self._left = total
        self._changed = threading.Condition()

    @contextmanager
    def spent(self, needed: int) -> Iterator[None]:
        """Wait until `needed` bytes are left, and use them for the block."""
        needed = min(needed, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= needed)
            self._left -= needed
        try:
            yield
        finally:
            with self._changed:
                self._left += needed
                self._changed.notify_all()


def physical_memory() -> int:
    """Bytes of memory of this machine; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


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
