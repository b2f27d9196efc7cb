"""The whole sequence of states that the bridge showed of a device."""

import re

from runnel_test import wait_until


class StateLog:
    """Reads the bridge's log from `mark` on; a state with a reason is "offline(will)"."""

    def __init__(self, spine, device, mark=0):
        self.spine, self.device, self.mark = spine, device, mark

    def seen(self):
        pattern = rf"device_state.* device={re.escape(self.device)} state=(\S+) reason=(\S+)"
        whole, _, _ = self.spine.bridge.log()[self.mark:].rpartition("\n")
        found = re.findall(pattern, whole)
        return [state if reason == "none" else f"{state}({reason})" for state, reason in found]

    def now(self):
        device = self.spine.device(self.device)
        if device is None:
            return "unknown"
        return f"{device['state']}({device['reason']})" if device["reason"] else device["state"]

    def wait(self, state, timeout=15.0):
        """Until it is shown, and logged (which the bridge does a moment later)."""
        wait_until(lambda: self.now() == state and self.seen()[-1:] == [state], timeout,
                   lambda: f"{self.device} to be {state}; it is {self.now()} after {self.seen()}")

    def from_here(self):
        self.mark = self.spine.bridge.mark()
