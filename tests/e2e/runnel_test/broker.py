"""A private mosquitto."""

import zlib
from pathlib import Path

from .net import accepts, free_port
from .proc import ROOT, Proc
from .wait import wait_until

ACL_FILE = ROOT / "packaging" / "mosquitto" / "acl"


def shard(dev):
    return f"{zlib.crc32(dev.encode()) & 0xff:02x}"


def device_user(dev):
    """A device's user name = client id = certificate CN."""
    return f"{shard(dev)}/{dev}"


class Broker:
    """mosquitto with a plain listener on `port` and, with a Pki, listeners for certificates:

    tls_port     server certificate only
    device_port  devices: client certificate, its CN is user name and client id
    bridge_port  bridges: client certificate, its CN is the user name

    acl: path or text of an ACL file ("shipped": packaging/mosquitto/acl); it holds on all listeners.
    users: {name: password}; without it, plain and TLS clients are anonymous.
    options: further lines of configuration. What it forgets when it is restarted: everything.
    """

    def __init__(self, world, name="broker", pki=None, acl=None, users=None, options=()):
        self.world, self.name, self.pki = world, name, pki
        self.acl, self.users, self.options = acl, users, list(options)
        self.folder = world.folder / name
        self.folder.mkdir()
        self.proc, self._begin = None, 0
        for _ in range(10):
            if self._try_start():
                return
        raise AssertionError(f"{name} found no port:\n{self.proc.tail()}")

    def _try_start(self):
        self.port = free_port()
        self.tls_port, self.device_port, self.bridge_port = \
            (free_port() for _ in range(3)) if self.pki else (None, None, None)
        self._write_config()
        self._begin = self.proc.mark() if self.proc else 0
        self.proc = Proc(self.name, ["mosquitto", "-c", self.folder / "mosquitto.conf"],
                         self.world.folder)
        self.world.own(self.proc)
        try:
            self.wait_ready()
            return True
        except AssertionError:
            if "Address already in use" not in self.proc.log()[self._begin:]:
                raise
            self.proc.kill()
            return False

    def _listener(self, port, lines=()):
        return [f"listener {port} 127.0.0.1", *lines]

    def _tls(self, *more):
        cert, key = self.pki.server()
        return [f"cafile {self.pki.ca}", f"certfile {cert}", f"keyfile {key}", *more]

    def _acl_lines(self):
        if self.acl is None:
            return []
        path = self.folder / "acl"
        text = ACL_FILE.read_text() if self.acl == "shipped" else \
            self.acl.read_text() if isinstance(self.acl, Path) else self.acl
        path.write_text(text)
        path.chmod(0o600)
        return [f"acl_file {path}"]

    def _password_lines(self):
        if self.users is None:
            return ["allow_anonymous true"]
        path = self.folder / "passwords"
        path.write_text("".join(f"{name}:{password}\n" for name, password in self.users.items()))
        path.chmod(0o600)
        self.world.run(["mosquitto_passwd", "-U", path])
        return ["allow_anonymous false", f"password_file {path}"]

    def _write_config(self):
        lines = ["user root", "persistence false", "set_tcp_nodelay true", "log_dest stderr",
                 "log_type error", "log_type warning", "log_type notice", "log_type information",
                 "per_listener_settings false", *self._password_lines(), *self._acl_lines(),
                 *self.options, *self._listener(self.port)]
        if self.pki:
            identity = ["require_certificate true", "use_identity_as_username true"]
            lines += self._listener(self.tls_port, self._tls())
            lines += self._listener(self.device_port,
                                    self._tls(*identity, "use_username_as_clientid true"))
            lines += self._listener(self.bridge_port, self._tls(*identity))
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def wait_ready(self, timeout=10.0):
        def ready():
            assert self.proc.running(), f"{self.name} ended:\n{self.proc.tail()}"
            # Said when it has all its ports: another program that has one accepts connections as well.
            return "running" in self.proc.log()[self._begin:] and all(
                accepts(port) for port in
                (self.port, self.tls_port, self.device_port, self.bridge_port) if port)
        wait_until(ready, timeout, lambda: f"{self.name} accepts connections:\n{self.proc.tail()}")

    @property
    def url(self):
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def tls_url(self):
        return f"mqtts://127.0.0.1:{self.tls_port}"

    @property
    def device_url(self):
        return f"mqtts://127.0.0.1:{self.device_port}"

    @property
    def bridge_url(self):
        return f"mqtts://127.0.0.1:{self.bridge_port}"

    def kill(self):
        """SIGKILL: no will is published, nothing is kept."""
        self.proc.kill()

    def stop(self):
        """SIGTERM: publishes all wills."""
        self.proc.terminate()

    def start(self):
        """Again, on the same ports, empty."""
        self._begin = self.proc.mark()
        self.proc.start()
        self.wait_ready()

    def restart(self):
        self.kill()
        self.start()

    def pause(self):
        """SIGSTOP: accepts connections (the kernel does) and answers nothing."""
        self.proc.pause()

    def resume(self):
        self.proc.resume()
