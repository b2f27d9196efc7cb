"""Waiting for conditions; nothing in these tests sleeps for luck."""

import time

# Limits are what a machine with nothing else to do may need; a shared one is given so many times that.
# They only end what would never end: a promise about time needs an assertion of its own.
PATIENCE = 4


def wait_until(condition, timeout=10.0, what="the condition", step=0.02):
    """Returns the first true value of condition(); fails with `what` after PATIENCE x timeout seconds."""
    timeout *= PATIENCE
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(step)
