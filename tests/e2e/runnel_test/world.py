"""What one test owns; everything in it ends with the test."""

import re
import subprocess
from pathlib import Path

from .broker import Broker
from .gateway import HttpProxy, WebSocketGateway
from .mangler import Mangler
from .peer import Peer
from .proc import Proc, bin_path
from .relay import Relay


# What the sanitizers say; a program of a sanitizer build that says it fails its test.
SANITIZER = r"(ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:).*"


class World:
    def __init__(self, folder, pki):
        self.folder = Path(folder)
        self._make_pki = pki
        self._owned = []

    def own(self, thing):
        """Closed (or killed) at the end, last first."""
        self._owned.append(thing)
        return thing

    def pki(self):
        """A certificate authority, made once for all tests of a worker."""
        return self._make_pki()

    def proc(self, name, command, **options):
        return self.own(Proc(name, command, self.folder, **options))

    def program(self, name, *arguments, log=None, **options):
        """A program of ours by its name, e.g. world.program("runnel-agent", "run", "--config", path)."""
        return self.proc(log or name, [bin_path(name), *arguments], **options)

    def run(self, command, timeout=60, check=True, **options):
        """Runs a command to its end: subprocess.CompletedProcess with text output."""
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                              timeout=timeout, cwd=self.folder,
                              **{"stdin": subprocess.DEVNULL, **options})
        assert not check or done.returncode == 0, \
            f"{command}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def broker(self, name="broker", **options):
        return Broker(self, name, **options)

    def relay(self, target_port, **options):
        return self.own(Relay(target_port, **options))

    def mangler(self, target_port, seed, **odds):
        return self.own(Mangler(target_port, seed, **odds))

    def peer(self, broker, client_id="Peer", **options):
        return self.own(Peer(broker.port if isinstance(broker, Broker) else broker, client_id,
                             **options))

    def http_proxy(self, **options):
        return self.own(HttpProxy(**options))

    def websocket_gateway(self, target_port, **options):
        return self.own(WebSocketGateway(target_port, **options))

    def logs(self):
        """(name, last lines) of every program, for the report of a failed test."""
        return [(p.name, p.tail()) for p in self._owned if isinstance(p, Proc)]

    def close(self):
        found = []
        while self._owned:
            thing = self._owned.pop()
            try:  # one that does not close keeps none from being closed
                thing.kill() if isinstance(thing, Proc) else thing.close()
            except (AssertionError, OSError) as error:
                found.append(f"{thing} did not close: {error}")
            if isinstance(thing, Proc):
                found += [f"{thing.name}: {m.group(0)}" for m in re.finditer(SANITIZER, thing.log())]
        assert not found, "\n".join(found)
