"""A limit to the work that an input may cause, which a busy machine does not use up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

MOST_EFFORT = 10.0
"""Seconds of the processor for one input of a few kilobytes: some thousand times what one takes.

A virtual machine that is itself paused may count the pause, and that must fit in.
"""


@contextmanager
def within_reason() -> Iterator[None]:
    """Fail where the block takes more of the processor, in this thread, than ``MOST_EFFORT``."""
    begun = time.thread_time()
    yield
    effort = time.thread_time() - begun
    assert effort < MOST_EFFORT, f"{effort:.1f} seconds of the processor"
