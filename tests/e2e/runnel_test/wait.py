"""Waiting for conditions; nothing in these tests sleeps for luck."""

import time


def wait_until(condition, timeout=10.0, what="the condition", step=0.02):
    """Returns the first true value of condition(); fails with `what` after timeout seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(step)
