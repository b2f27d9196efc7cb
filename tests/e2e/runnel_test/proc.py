"""Programs under test: started, watched, hurt and always reaped."""

import ctypes
import os
import re
import signal
import subprocess
from pathlib import Path

from .wait import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[3]
_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def bin_path(name):
    """A program of ours: from $RUNNEL_BIN, build/bin or build/dev/bin."""
    places = [Path(os.environ["RUNNEL_BIN"])] if "RUNNEL_BIN" in os.environ else []
    places += [ROOT / "build" / "bin", ROOT / "build" / "dev" / "bin"]
    for place in places:
        if (place / name).exists():
            return str(place / name)
    raise FileNotFoundError(f"{name} is in none of {', '.join(map(str, places))}: ./run build")


def _die_with_parent():
    os.setsid()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Proc:
    """One program. Its output (both streams) goes to <folder>/<name>.log.

    It dies with the test runner, so start it from the main thread.
    """

    def __init__(self, name, command, folder, env=None, cwd=None, stdin=False):
        self.name, self.command = name, [str(part) for part in command]
        self.folder, self.cwd = Path(folder), str(cwd or folder)
        self.env = {**os.environ, **{k: str(v) for k, v in (env or {}).items()}}
        self.use_stdin = stdin
        self.log_path = self.folder / f"{name}.log"
        self.popen = None
        self.start()

    def start(self):
        """Starts it, again if it ended; the log goes on in the same file."""
        assert not self.running(), f"{self.name} runs already"
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                self.command, cwd=self.cwd, env=self.env, stdout=log, stderr=subprocess.STDOUT,
                stdin=subprocess.PIPE if self.use_stdin else subprocess.DEVNULL,
                preexec_fn=_die_with_parent)
        return self

    @property
    def pid(self):
        return self.popen.pid

    def running(self):
        return self.popen is not None and self.popen.poll() is None

    # ---- what it says ----

    def log(self):
        return self.log_path.read_text(errors="replace")

    def lines(self, pattern=None):
        """Complete lines of the log, those that match the pattern."""
        lines = self.log().split("\n")[:-1]
        return [line for line in lines if pattern is None or re.search(pattern, line)]

    def mark(self):
        """The log's present end, for `after`."""
        return len(self.log())

    def wait_log(self, pattern, timeout=10.0, after=0, count=1):
        """Waits until `count` lines behind `after` match; returns the match of the last of these."""
        regex = re.compile(pattern)

        def found():
            running = self.running()  # first: what it says at its end has to be seen
            lines = self.log()[after:].split("\n")[:-1]
            matches = [match for match in map(regex.search, lines) if match]
            if len(matches) < count:
                assert running or self.popen is None, \
                    f"{self.name} ended ({self.popen.returncode}) without {pattern!r}:\n{self.tail()}"
                return None
            return matches[count - 1]

        return wait_until(found, timeout,
                          lambda: f"{count} x {pattern!r} in the log of {self.name}:\n{self.tail()}")

    def tail(self, count=40):
        return "\n".join(self.log().split("\n")[-count:])

    # ---- what is done to it ----

    def send(self, line):
        """Writes a line to its standard input."""
        self.popen.stdin.write(line.encode() + b"\n")
        self.popen.stdin.flush()

    def signal(self, number):
        if self.running():
            self.popen.send_signal(number)

    def pause(self):
        """SIGSTOP: alive, and silent."""
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """SIGKILL, reaped."""
        if self.popen is None:
            return None
        self.signal(signal.SIGKILL)
        code = self.wait()
        if self.popen.stdin:
            self.popen.stdin.close()
        return code

    def terminate(self, timeout=10.0):
        """SIGTERM; returns the exit status (fails if it does not end)."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout=10.0):
        timeout *= PATIENCE
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {timeout} s:\n{self.tail()}") from None

    # ---- what it uses ----

    def _status(self, key):
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{key}:\s+(\d+)", text, re.M).group(1))

    def sanitized(self):
        """True in a sanitizer build, whose memory says nothing."""
        maps = Path(f"/proc/{self.pid}/maps").read_text()
        return re.search(r"lib[atl]san", maps) is not None

    def rss_kb(self):
        return self._status("VmRSS")

    def anonymous_kb(self):
        return self._status("RssAnon")

    def threads(self):
        return self._status("Threads")

    def open_files(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))
