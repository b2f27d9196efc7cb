"""Remote configuration from end to end: real broker, bridge and agent. What a document does, what a
bad one gets, and that a device always finds its way back."""

import json
import time
import urllib.request

import cbor2
import pytest

from runnel_test import bin_path, device_user, free_port, shard, wait_until
from spine import Spine

DEV = "dev-1"
DEADLINE = {"config.deadline_connected": "3s", "config.deadline_unconnected": "3s"}


class Fleet:
    """A spine with one simulated device's worth of agent that takes remote configurations."""

    def __init__(self, world, options=None, signed=True, **spine):
        self.world = world
        self.spine = Spine(world, **spine)
        self.key_file = self.spine.bridge_folder / "config.pub"
        key = {"config_key_file": self.key_file} if signed else {}
        quiet = {f"collect.{name}.enabled": "false" for name in ("disk", "diskio", "processes")}
        self.agents = self.spine.run(DEV, options={**quiet, **DEADLINE, **key, **(options or {})})
        self.spine.wait_online([DEV])

    @property
    def proc(self):
        return self.agents.proc

    # ---- what an operator does ----

    def put(self, settings, **more):
        """Stores a document; its revision."""
        token = (self.spine.bridge_folder / "http.token").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.spine.http_port}/api/v1/devices/{DEV}/config", method="PUT",
            data=json.dumps({"settings": settings, **more}).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read())["revision"]

    def config(self):
        return self.spine.get(f"/api/v1/devices/{DEV}/config") or {}

    def report(self):
        return self.config().get("report") or {}

    def wait_report(self, timeout=20.0, **want):
        def found():
            report = self.report()
            return report if all(report.get(key) == value for key, value in want.items()) else None
        return wait_until(found, timeout, lambda: f"a report with {want}: {self.report()}\n{self.proc.tail()}")

    # ---- what the device runs ----

    def status(self):
        text = self.world.run([bin_path("runnel-agent"), "status", *self._where()]).stdout
        return dict(part.split("=", 1) for line in text.splitlines() for part in line.split(" ")
                    if "=" in part)

    def check(self):
        """key -> (value, who set it), as `check --origin` says."""
        text = self.world.run([bin_path("runnel-agent"), "check", "--origin", *self._where()]).stdout
        rows = [line.split(": ", 1) for line in text.splitlines()]
        return {key: tuple(rest.rsplit("  # ", 1)) for key, rest in rows}

    def _where(self):
        return self.agents._arguments()[1:-2]

    def ticks(self):
        """Times (ms) of the samples that the file sink has."""
        lines = [line for path in sorted(self.world.folder.glob("lines*"))
                 for line in path.read_text().splitlines() if line.startswith("system,")]
        return sorted({int(line.rsplit(" ", 1)[1]) // 1_000_000 for line in lines})

    # ---- what an attacker at the broker does ----

    def publish(self, payload, key=None):
        peer = self.world.peer(self.spine.broker, "Operator")
        peer.publish(f"rn/d/{device_user(DEV)}/c", sign(payload, key))
        peer.close()


def document(revision, settings, dev=DEV, expires_ms=None):
    doc = {1: dev, 2: revision, 4: dict(sorted(settings.items(), key=lambda kv: (len(kv[0]), kv[0])))}
    if expires_ms is not None:
        doc = {1: dev, 2: revision, 3: expires_ms, 4: doc[4]}
    return cbor2.dumps(doc, canonical=True)


def sign(payload, key):
    """COSE_Sign1; key: a 32-byte seed, or None: unsigned."""
    signature = b""
    if key:
        signature = ed25519(key, cbor2.dumps(["Signature1", b"\xa1\x01\x27", b"", payload]))
    return cbor2.dumps([b"\xa1\x01\x27", {}, payload, signature])


def ed25519(seed, message):
    """With the system's OpenSSL: no code of ours."""
    import subprocess
    import tempfile
    from pathlib import Path
    with tempfile.TemporaryDirectory() as folder:
        key, text = Path(folder) / "key", Path(folder) / "message"
        key.write_bytes(bytes.fromhex("302e020100300506032b657004220420") + seed)
        text.write_bytes(message)
        return subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", "-keyform", "DER", "-inkey", key,
                               "-in", text], check=True, capture_output=True, timeout=20).stdout


def test_a_changed_period_takes_effect_within_two_seconds(world):
    fleet = Fleet(world)
    fleet.spine.let_pass(100)
    assert fleet.check()["step"][0] == "200ms"
    begin = time.time()
    revision = fleet.put({"step": "100ms", "batch.interval": "200ms"})
    fleet.wait_report(state="confirmed", offered=revision, running=revision, timeout=2)
    assert time.time() - begin < 2
    until = begin * 1000 + 2000
    wait_until(lambda: [t for t in fleet.ticks() if t > until], 20, "samples after two seconds")
    ticks = [t for t in fleet.ticks() if t > begin * 1000]
    changed = next(b for a, b in zip(ticks, ticks[1:]) if b - a == 100)
    assert changed <= until
    assert fleet.check()["step"] == ("100ms", f"remote r{revision}")
    assert fleet.status()["config_revision"] == str(revision)
    device = fleet.spine.device(DEV)
    assert device["config"]["running"] == revision, device
    fleet.spine.settle()
    fleet.spine.assert_nothing_is_lost()
