"""What the tests of the bridge alone share: an independent device, Python's MQTT client and cbor2, on one
side, runnel-bridge on the other. Nothing of Runnel's own code makes a message here.
"""

import hashlib
import sqlite3
import time
import zlib

import cbor2

from runnel_test import wait_until


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def canonical(value):
    return cbor2.dumps(value, canonical=True)


SCHEMA = canonical({1: 1, 2: 1000000000, 3: 10,
                    4: [{1: "mem", 3: [{1: "used", 2: 0}, {1: "free", 2: 0}], 4: [[]]}]})
OTHER_SCHEMA = canonical({1: 1, 2: 1000000000, 3: 10,
                          4: [{1: "swap", 3: [{1: "used", 2: 0}], 4: [[]]}]})


def now_tick():
    return int(time.time()) // 10 * 10


def body(schema=1, t0=None, values=(5, 7), n=1, enc=0, columns=None, ext=None):
    """Everything of a batch after `low`, as the bytes that the checksum is about."""
    t0 = now_tick() if t0 is None else t0
    columns = [None, b"\x00", list(values)] if columns is None else columns
    return b"".join(canonical(part) for part in (schema, t0, n, enc, columns, ext or {}))


class Device:
    def __init__(self, world, broker, name="dev1", install=0x1234567890, prefix="rn", epoch=1,
                 client_id=None, with_will=False, interval_ms=2000):
        self.name, self.install, self.epoch, self.n = name, install, epoch, 0
        self.interval_ms = interval_ms
        self.shard = f"{zlib.crc32(name.encode()) & 0xFF:02x}"
        self.prefix = prefix
        self.client_id = client_id or f"{self.shard}/{name}-{install & 0xffff}"
        will = None
        if with_will:
            will = (self.status_topic, canonical({1: 0, 2: install, 3: epoch, 4: 0}), 1, True)
        self.peer = world.peer(broker, self.client_id, will=will)
        self.peer.subscribe(f"{prefix}/d/{self.shard}/{name}/a")

    def up(self, kind):
        return f"{self.prefix}/u/{self.shard}/{self.name}/{kind}"

    @property
    def status_topic(self):
        return f"{self.prefix}/s/{self.shard}/{self.name}"

    @property
    def ack_topic(self):
        return f"{self.prefix}/d/{self.shard}/{self.name}/a"

    def status(self, presence=1, interval_ms=None, **more):
        self.n += 1
        message = {1: presence, 2: self.install, 3: self.epoch, 4: self.n,
                   6: interval_ms or self.interval_ms, **more}
        self.peer.publish(self.status_topic, canonical(message), retain=True)

    def birth(self):
        """The hello to just this birth: one to a status before may still be under way, and devices of one
        name hear each other's."""
        count = len(self.acks(4))
        self.status()

        def hello():
            return next((ack[4] for ack in self.acks(4)[count:]
                         if (ack[4][1], ack[4][2]) == (self.install, self.epoch)), None)
        return wait_until(hello, 10, f"a hello to epoch {self.epoch} of {self.name}")

    def batch(self, seq, low=0, content=None, install=None):
        tag = (self.install if install is None else install) & 0xFFFFFFFF
        content = body() if content is None else content
        message = b"\x89" + b"".join(canonical(part) for part in (tag, seq, low)) + content
        self.peer.publish(self.up("m"), message, qos=0)
        return crc32c(content)

    def key(self, content=SCHEMA, number=1, with_object=True, claimed=None, kind=1):
        message = {1: self.install, 2: kind, 3: number, 4: claimed or hashlib.sha256(content).digest()}
        if with_object:
            message[5] = content
        self.peer.publish(self.up("k"), canonical(message))

    def acks(self, key=None):
        found = self.peer.cbor(self.ack_topic)
        return [ack for ack in found if key is None or key in ack]

    def wait_ack(self, key, count=1, timeout=10):
        def found():
            acks = self.acks(key)
            return acks[count - 1] if len(acks) >= count else None
        return wait_until(found, timeout, f"{count} acknowledgement(s) with {key} for {self.name}")

    def told(self, key):
        """Every seq named in the ranges under this key."""
        return {seq for ack in self.acks(key) for entry in ack[key]
                for seq in range(entry[0], entry[0] + entry[1])}

    def wait_told(self, key, seqs, timeout=10):
        wait_until(lambda: set(seqs) <= self.told(key), timeout,
                   f"{sorted(seqs)} under {key} for {self.name}")

    def ready(self):
        """Born and with its schema known."""
        hello = self.birth()
        self.key()
        return hello


RECEIVED, DURABLE, REFUSED, NEED, CONFLICT, HOLD = 5, 6, 7, 8, 9, 11


class Bridge:
    def __init__(self, world, broker, **options):
        self.data = world.folder / "bridge"
        settings = {"data": self.data, "mqtt.addresses": f"mqtt://127.0.0.1:{broker.port}",
                    "http.listen": "", "liveness.grace": "500ms", "mqtt.backoff_min": "50ms", "mqtt.backoff_max": "300ms",
                    "liveness.reconnect": "500ms", **options}
        arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        self.proc = world.program("runnel-bridge", "run", *arguments)
        self.wait_connected()

    def wait_connected(self, after=0):
        for role in ("in", "out"):
            self.proc.wait_log(f"event=broker_connected client={role}", after=after)
        self.proc.wait_log("event=subscribed", after=after, count=2)

    def restart(self, kill=False):
        mark = self.proc.mark()
        if kill:
            self.proc.kill()
        else:
            self.proc.terminate()
        self.proc.start()
        self.wait_connected(after=mark)

    def rows(self):
        rows = []
        for path in sorted((self.data / "log").glob("*.db")):
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60) as db:
                rows += db.execute("select dev, install, seq, crc from batch order by position")
        return rows

    def wait_state(self, dev, state, after=0, timeout=15):
        return self.proc.wait_log(f"event=device_state device={dev} state={state}\\b", timeout, after)
