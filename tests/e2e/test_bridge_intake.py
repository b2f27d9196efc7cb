"""The bridge's intake against real mosquitto, spoken to by an independent device: Python's MQTT client
and cbor2 on one side, runnel-bridge on the other. Nothing of Runnel's own code makes a message here.
"""

import contextlib
import hashlib
import os
import signal
import socket
import sqlite3
import struct
import time
import zlib

import cbor2
import pytest

from runnel_test import free_port, wait_until


# ---- an agent of our own --------------------------------------------------------------------------

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
        count = len(self.acks(4))
        self.status()
        return self.wait_ack(4, count + 1)[4]

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


RECEIVED, DURABLE, REFUSED, NEED, CONFLICT = 5, 6, 7, 8, 9


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
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
                rows += db.execute("select dev, install, seq, crc from batch order by position")
        return rows

    def wait_state(self, dev, state, after=0, timeout=15):
        return self.proc.wait_log(f"event=device_state device={dev} state={state}\\b", timeout, after)


@pytest.fixture
def broker(world):
    return world.broker()


@pytest.fixture
def bridge(world, broker):
    return Bridge(world, broker)


@pytest.fixture
def waiting_bridge(world, broker):
    """Durable never comes: acknowledgement waits for a database that is down."""
    return Bridge(world, broker, **{"sinks.db.type": "influx",
                                    "sinks.db.url": f"http://127.0.0.1:{free_port()}",
                                    "sinks.db.database": "runnel",
                                    "ack_after": "db"})


# ---- births, schemas, acknowledgement -------------------------------------------------------------

def test_a_birth_is_answered_with_hello(world, broker, bridge):
    device, begin = Device(world, broker), time.time()
    hello = device.birth()
    assert hello[1] == device.install and hello[2] == 1
    assert 3 not in hello and hello[4] == 1
    ack = device.acks(4)[0]
    assert ack[1] == device.install & 0xFFFFFFFF
    assert begin * 1000 - 1 <= ack[3] <= time.time() * 1000


def test_a_birth_that_nobody_heard_is_answered_when_the_bridge_comes(world, broker):
    device = Device(world, broker)
    device.status()
    Bridge(world, broker)
    assert device.wait_ack(4)[4][1] == device.install


def test_an_unknown_schema_is_asked_for_and_then_batches_are_durable(world, broker, bridge):
    device = Device(world, broker)
    device.birth()
    device.batch(1)
    assert device.wait_ack(NEED)[NEED] == [[1, 1, False]]
    device.key(with_object=False)
    assert [1, 1, True] in device.wait_ack(NEED, 2)[NEED]
    device.key()
    crc = device.batch(1)
    durable = device.wait_ack(DURABLE)[DURABLE]
    assert durable == [[1, 1, crc32c(struct.pack(">I", crc))]]
    assert bridge.rows() == [(device.name, device.install, 1, crc)]


def test_a_range_carries_the_checksum_of_its_batches(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    crcs = [device.batch(seq, seq - 1, body(values=(seq, 0))) for seq in range(1, 6)]
    device.wait_told(DURABLE, range(1, 6))
    for ack in device.acks(DURABLE):
        for first, count, crc in ack[DURABLE]:
            part = crcs[first - 1:first - 1 + count]
            assert crc == crc32c(b"".join(struct.pack(">I", one) for one in part))


def test_received_comes_alone_while_the_database_is_down(world, broker, waiting_bridge):
    device = Device(world, broker)
    device.ready()
    device.batch(1)
    device.batch(2, 1)
    device.wait_told(RECEIVED, {1, 2})
    device.batch(2, 1)
    wait_until(lambda: len(device.acks(RECEIVED)) >= 2, what="the duplicate is answered")
    assert not device.acks(DURABLE)
    assert len(waiting_bridge.rows()) == 2


def test_a_duplicate_shows_that_words_were_lost_and_all_of_them_are_said_again(world, broker,
                                                                              waiting_bridge):
    device = Device(world, broker)
    device.ready()
    content = body()
    for seq in (1, 2, 3):
        device.batch(seq, seq - 1, content)
    device.wait_told(RECEIVED, {1, 2, 3})
    wait_until(lambda: time.time() * 1000 - device.acks(RECEIVED)[-1][3] > 2200, what="a pause")

    def again(seq):
        count = len(device.acks(RECEIVED))
        device.batch(seq, seq - 1, content)
        return device.wait_ack(RECEIVED, count + 1)

    last = again(2)
    assert last[RECEIVED] == [[1, 3]]
    for _ in range(20):  # a moment later: on its own
        before, last = last, again(1)
        if last[3] - before[3] < 1500:
            break
        assert last[RECEIVED] in ([[1, 1]], [[1, 3]])  # the machine stood still: a pause again
    assert last[RECEIVED] == [[1, 1]]


def test_for_one_schema_one_device_is_asked_and_the_others_are_told_when_it_came(world, broker,
                                                                                  bridge):
    devices = [Device(world, broker, f"dev{i}", 100 + i) for i in range(3)]
    for device in devices:
        device.birth()
        device.key(with_object=False)
        device.batch(1)
    asked = wait_until(lambda: [d for d in devices
                                if any(n[2] for a in d.acks(NEED) for n in a[NEED])])
    assert len(asked) == 1
    asked[0].key()
    asked[0].batch(1)
    for device in devices:
        if device is not asked[0]:
            assert [1, 1, False] in device.wait_ack(NEED)[NEED]
            device.key(with_object=False)
            device.batch(1)
    for device in devices:
        device.wait_told(DURABLE, {1})


def test_one_devices_binding_never_serves_another(world, broker, bridge):
    one, other = Device(world, broker, "one", 1), Device(world, broker, "two", 2)
    one.ready()
    other.birth()
    other.batch(1)
    assert other.wait_ack(NEED)[NEED] == [[1, 1, False]]
    assert not bridge.rows()


# ---- names ----------------------------------------------------------------------------------------

def test_a_duplicate_is_acknowledged_again_and_stored_once(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    content = body()
    device.batch(1, content=content)
    device.wait_told(DURABLE, {1})
    count = len(device.acks(DURABLE))
    device.batch(1, content=content)
    wait_until(lambda: len(device.acks(DURABLE)) > count, what="told again")
    assert len(bridge.rows()) == 1


def test_other_content_under_a_known_name_is_a_conflict(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    device.batch(1, content=body(values=(1, 2)))
    device.wait_told(DURABLE, {1})
    device.batch(1, content=body(values=(3, 4)))
    device.wait_told(CONFLICT, {1})
    assert len(bridge.rows()) == 1


def test_what_was_settled_cannot_come_again(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    for seq in range(1, 4):
        device.batch(seq)
        device.wait_told(DURABLE, {seq})
    device.batch(1)
    device.wait_told(CONFLICT, {1})
    assert len(bridge.rows()) == 3


def test_an_install_that_no_birth_announced_is_neither_stored_nor_answered(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    count = len(device.acks())
    device.batch(1, install=0x99999999)
    device.batch(2)
    device.wait_told(DURABLE, {2})
    assert all(ack[1] == device.install & 0xFFFFFFFF for ack in device.acks()[count:])
    assert [row[2] for row in bridge.rows()] == [2]
    bridge.proc.wait_log("event=message_refused device=dev1 reason=unannounced_install")


def test_hello_tells_what_was_seen_of_an_install(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    device.batch(41, 0)
    device.wait_told(DURABLE, {41})
    device.epoch = 7
    assert device.birth()[4] == 7
    device.epoch = 3  # restored from an old copy
    hello = device.birth()
    assert hello[3] == 41 and hello[4] == 7


# ---- restarts -------------------------------------------------------------------------------------

@pytest.mark.parametrize("kill", [False, True])
def test_a_restarted_bridge_knows_every_batch(world, broker, bridge, kill):
    device = Device(world, broker)
    device.ready()
    contents = {seq: body(values=(seq, seq)) for seq in range(1, 21)}
    for seq, content in contents.items():
        device.batch(seq, seq - 1, content)
    device.wait_told(DURABLE, contents)
    log_id = device.acks(DURABLE)[0][2]
    bridge.restart(kill)
    device.peer.clear()
    for seq, content in contents.items():
        device.batch(seq, seq - 1, content)
    device.wait_told(DURABLE, contents)
    device.batch(5, 4, body(values=(0, 0)))
    device.wait_told(CONFLICT, {5})
    assert len(bridge.rows()) == 20
    assert {ack[2] for ack in device.acks()} == {log_id}


def test_a_late_batch_of_the_connection_before_does_not_count_as_an_answer_to_the_hello(world, broker, bridge):
    """The hello was lost: the device repeats its birth and sends nothing before it is greeted."""
    device = Device(world, broker)
    device.ready()
    device.batch(1)
    device.wait_told(DURABLE, {1})
    device.status()
    device.batch(2, 1)
    device.wait_told(DURABLE, {2})
    device.status()
    device.batch(3, 2)
    device.wait_told(DURABLE, {3})
    assert len(device.acks(4)) == 1, "news of a device that talks is not greeted"
    device.status()
    device.status()
    device.wait_ack(4, 2)


def test_a_killed_bridge_knows_every_install_that_it_greeted(world, broker, bridge):
    """Only the newest birth is retained; batches of the install before may still be on the device."""
    devices = [Device(world, broker, install=install, epoch=install) for install in (100, 101, 102)]
    for device in devices:
        device.birth()
    bridge.restart(kill=True)
    for device in devices:
        device.key()
        device.batch(1)
    for device in devices:
        wait_until(lambda: any(ack[1] == device.install and DURABLE in ack for ack in devices[0].acks()),
                   what=f"a batch of install {device.install} is durable")


def test_what_was_not_durable_is_still_not_durable_after_a_restart(world, broker, waiting_bridge):
    device = Device(world, broker)
    device.ready()
    content = body()
    device.batch(1, content=content)
    device.wait_told(RECEIVED, {1})
    waiting_bridge.restart(kill=True)
    device.peer.clear()
    device.batch(1, content=content)
    device.wait_told(RECEIVED, {1}, timeout=15)
    assert not device.acks(DURABLE)
    assert len(waiting_bridge.rows()) == 1


def test_a_wiped_log_has_another_identity(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    device.batch(1)
    device.wait_told(DURABLE, {1})
    before = device.acks(DURABLE)[0][2]
    bridge.proc.terminate()
    world.run(["rm", "-rf", bridge.data / "log"])
    mark = bridge.proc.mark()
    bridge.proc.start()
    bridge.wait_connected(after=mark)
    device.peer.clear()
    device.batch(2, 1)
    device.batch(1)
    device.wait_told(DURABLE, {1, 2})
    assert {ack[2] for ack in device.acks(DURABLE)} - {before}
    assert sorted(row[2] for row in bridge.rows()) == [1, 2]


def test_small_segments_change_nothing(world, broker):
    bridge = Bridge(world, broker, **{"log.segment_bytes": "64k"})
    device = Device(world, broker)
    device.ready()
    total = 400
    for seq in range(1, total + 1):
        device.batch(seq, seq - 1, body(values=(seq, 10 ** 17 + seq),
                                        columns=[None, b"\x00", [seq, 10 ** 17 + seq]]))
        if seq % 50 == 0:
            device.wait_told(DURABLE, range(1, seq + 1), timeout=20)
    files = list((bridge.data / "log").glob("*.db"))
    assert len(bridge.rows()) == total
    bridge.restart(kill=True)
    device.peer.clear()
    device.batch(3, 2, body(values=(0, 0)))
    device.wait_told(CONFLICT, {3})
    device.batch(total + 1, total)
    device.wait_told(DURABLE, {total + 1})
    assert len(bridge.rows()) == total + 1
    assert files


# ---- hostile messages -----------------------------------------------------------------------------

HOSTILE = {
    "empty": b"",
    "not cbor": b"\xff\xff\xff",
    "a map": canonical({1: 2}),
    "claims a huge array": b"\x9a\xff\xff\xff\xff" + b"\x00" * 40,
    "claims a huge string": b"\x89\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
    "indefinite": b"\x9f" + b"\x01" * 9 + b"\xff",
    "nested deeply": b"\x81" * 5000 + b"\x00",
    "too few parts": b"\x83\x01\x02\x03",
    "negative seq": canonical([1, -5, 0, 1, 0, 1, 0, [None, b"", []], {}]),
    "seq 0": canonical([1, 0, 0, 1, 0, 1, 0, [None, b"", []], {}]),
    "low above seq": canonical([1, 5, 6, 1, 0, 1, 0, [None, b"", []], {}]),
    "seq over 2^63": canonical([1, 2 ** 63, 0, 1, 0, 1, 0, [None, b"", []], {}]),
    "trailing bytes": canonical([1, 5, 0, 1, 0, 1, 0, [None, b"", []], {}]) + b"\x00",
    "text keys": canonical({"a": 1}),
    "over the maximum": b"\x89" + b"\x00" * 140000,
}


@pytest.mark.parametrize("kind", ["m", "k", "r"])
def test_hostile_messages_are_refused_and_change_nothing(world, broker, bridge, kind):
    device, other = Device(world, broker), Device(world, broker, "other", 55)
    device.ready()
    other.ready()
    for payload in HOSTILE.values():
        device.peer.publish(device.up(kind), payload, qos=0)
    other.batch(1)
    other.wait_told(DURABLE, {1})
    device.batch(1)
    device.wait_told(DURABLE, {1})
    assert sorted(row[0] for row in bridge.rows()) == ["dev1", "other"]
    refused = bridge.proc.lines("event=message_refused device=dev1 ")
    assert 1 <= len(refused) <= 6, "once per reason"


def test_hostile_statuses_are_refused(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    for payload in [*HOSTILE.values(), canonical({1: 7, 2: 1, 3: 1, 4: 1}),
                    canonical({1: 1, 2: 0, 3: 1, 4: 1}), canonical({1: 1, 3: 1, 4: 1})]:
        device.peer.publish(device.status_topic, payload, qos=0)
    device.batch(1)
    device.wait_told(DURABLE, {1})
    bridge.wait_state("dev1", "online")


def test_odd_topics_are_refused(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    shard = device.shard
    for topic in [f"rn/u/{shard}/dev1/x", f"rn/u/{shard}/DEV1/m", f"rn/u/00/dev1/m",
                  f"rn/u/{shard}//m", f"rn/u/{shard}/../m", f"rn/s/{shard}/dev 1",
                  f"rn/u/{shard}/{'a' * 40}/m", "rn/s/zz/dev1"]:
        if topic == f"rn/u/{shard}/dev1/m":
            continue
        device.peer.publish(topic, b"\x80", qos=0)
    device.batch(1)
    device.wait_told(DURABLE, {1})
    assert len(bridge.rows()) == 1
    bridge.proc.wait_log("event=topic_refused")


def test_retained_data_is_refused(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    message = b"\x89" + b"".join(canonical(p) for p in (device.install & 0xFFFFFFFF, 9, 0)) + body()
    device.peer.publish(device.up("m"), message, retain=True)
    device.batch(1)
    device.wait_told(DURABLE, {1})
    assert [row[2] for row in bridge.rows()] == [1]
    bridge.proc.wait_log("reason=retained")


def test_an_object_that_lies_about_its_hash_is_refused(world, broker, bridge):
    device = Device(world, broker)
    device.birth()
    device.key(OTHER_SCHEMA, claimed=hashlib.sha256(SCHEMA).digest())
    device.batch(1)
    assert device.wait_ack(NEED)
    device.key()
    device.batch(1)
    device.wait_told(DURABLE, {1})
    bridge.proc.wait_log("reason=key")


def test_a_number_cannot_be_bound_twice(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    device.key(OTHER_SCHEMA)
    bridge.proc.wait_log("reason=key")
    device.batch(1)
    device.wait_told(CONFLICT, {1})


@pytest.mark.parametrize("content, reason", [
    (body(n=16000), 2),                                    # more cells than a batch may have
    (body(enc=77, columns=b"xyz"), 3),                     # an encoding that nobody knows
    (body(enc=3, columns=b"xyz"), 3),                      # the first of those
    (body(ext={1: 1}), 3),                                 # a base, which encoding 0 never has
    (body(enc=2, columns=b"xyzxyzxyz"), 1),                # known, and damaged
    (body(t0=10), 5),                                      # 1970
    (body(t0=now_tick() + 86400), 5),                      # tomorrow
    (body(columns=[None, b"\x00", [1, 2, 3, 4, 5]]), 1),   # columns that do not decode
], ids=["cells", "encoding", "encoding-3", "base", "damaged", "past", "future", "columns"])
def test_a_batch_that_can_never_be_stored_is_refused_with_a_reason(world, broker, bridge, content,
                                                                    reason):
    device = Device(world, broker)
    device.ready()
    device.batch(1, content=content)
    refused = device.wait_ack(REFUSED)[REFUSED]
    assert refused[0][:2] == [1, 1]
    assert refused[0][2] in (reason, 2 if reason == 1 else reason)
    device.batch(2, 1)
    device.wait_told(DURABLE, {2})
    assert 1 not in device.told(DURABLE)
    with sqlite3.connect(f"file:{bridge.data}/dead.db?mode=ro", uri=True) as db:
        tables = [row[0] for row in db.execute("select name from sqlite_master where type='table'")]
        assert tables


def test_memory_does_not_grow_with_what_messages_claim(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    device.batch(1)
    device.wait_told(DURABLE, {1})

    def round_of_attacks(base):
        for i in range(300):
            for payload in HOSTILE.values():
                if len(payload) < 10000:
                    device.peer.publish(device.up("m"), payload, qos=0)
            device.batch(base + i * 1000, 0, body(schema=i))
            device.status(presence=0)
        end = base + 10 ** 6
        for _ in range(20):  # the broker drops what a busy bridge does not take: QoS 0
            device.batch(end, 0)
            with contextlib.suppress(AssertionError):
                device.wait_told(DURABLE, {end}, timeout=3)
                return
        raise AssertionError(f"{end} never became durable")

    round_of_attacks(10 ** 7)
    before = bridge.proc.anonymous_kb()
    round_of_attacks(2 * 10 ** 7)
    if not bridge.proc.sanitized():
        assert bridge.proc.anonymous_kb() - before < 2000


# ---- liveness, end to end -------------------------------------------------------------------------

def test_presence_of_the_bridge_is_shown_and_withdrawn(world, broker, bridge):
    peer = world.peer(broker, "Watcher")
    peer.subscribe("rn/b/Bridge")
    assert peer.wait_message("rn/b/Bridge", where=lambda m: cbor2.loads(m.payload)[1] is True)
    bridge.proc.terminate()
    assert peer.wait_message("rn/b/Bridge", where=lambda m: cbor2.loads(m.payload)[1] is False)


def test_the_will_of_a_killed_bridge_withdraws_its_presence(world, broker, bridge):
    peer = world.peer(broker, "Watcher")
    peer.subscribe("rn/b/Bridge")
    peer.wait_message("rn/b/Bridge", where=lambda m: cbor2.loads(m.payload)[1] is True)
    bridge.proc.kill()
    assert peer.wait_message("rn/b/Bridge", where=lambda m: cbor2.loads(m.payload)[1] is False)


def test_states_follow_the_device(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    bridge.wait_state("dev1", "online")
    mark = bridge.proc.mark()
    device.peer.publish(device.status_topic, canonical({1: 0, 2: device.install, 3: 1, 4: 0}),
                        retain=True)
    bridge.wait_state("dev1", "offline", mark)
    mark = bridge.proc.mark()
    device.epoch = 2
    device.birth()
    bridge.wait_state("dev1", "online", mark)
    mark = bridge.proc.mark()
    device.status(presence=2)
    bridge.wait_state("dev1", "offline", mark)


def test_a_killed_device_is_offline_after_the_grace(world, broker, bridge):
    relay = world.relay(broker.port)
    device = Device(world, relay.port, with_will=True)
    device.birth()
    bridge.wait_state("dev1", "online")
    relay.cut()
    bridge.wait_state("dev1", "offline reason=will")


def test_a_silent_link_is_late_then_offline_and_ends_with_data(world, broker, bridge):
    relay = world.relay(broker.port)
    device = Device(world, relay.port)
    device.birth()
    device.status(interval_ms=500)
    bridge.wait_state("dev1", "online")
    relay.silent()
    bridge.wait_state("dev1", "late")
    bridge.wait_state("dev1", "offline reason=silence")
    mark = bridge.proc.mark()
    relay.pass_()
    device.batch(1)
    bridge.wait_state("dev1", "online", mark)


def test_a_takeover_by_the_same_client_id_is_no_flap(world, broker):
    bridge = Bridge(world, broker, **{"liveness.grace": "4s"})
    first = Device(world, broker, client_id="same", with_will=True, interval_ms=60000)
    first.birth()
    bridge.wait_state("dev1", "online")
    for epoch in range(2, 6):
        Device(world, broker, client_id="same", with_will=True, epoch=epoch, interval_ms=60000).birth()
    time.sleep(5)  # what the wills would have done, they have done by now
    assert len(bridge.proc.lines("event=device_state")) == 1


def test_a_stale_retained_online_is_unconfirmed_then_offline(world, broker):
    device = Device(world, broker)
    device.status(interval_ms=1000)
    bridge = Bridge(world, broker)
    bridge.wait_state("dev1", "unconfirmed")
    bridge.wait_state("dev1", "offline")


def test_the_state_survives_a_restart_of_the_bridge(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    device.status(presence=2)
    bridge.wait_state("dev1", "offline")
    mark = bridge.proc.mark()
    bridge.restart()
    bridge.wait_state("dev1", "offline", mark)
    assert not [line for line in bridge.proc.lines("event=device_state") if "unconfirmed" in line]


def test_a_killed_broker_makes_nobody_offline(world, broker, bridge):
    device = Device(world, broker)
    device.status(interval_ms=5000)
    bridge.wait_state("dev1", "online")
    mark = bridge.proc.mark()
    broker.kill()
    bridge.wait_state("dev1", "blind", mark)
    broker.start()
    bridge.wait_connected(after=mark)
    again = Device(world, broker)
    again.epoch = 2
    mark = bridge.proc.mark()
    again.birth()
    bridge.wait_state("dev1", "online", mark)
    assert not bridge.proc.lines("device=dev1 state=offline")


def test_two_agents_with_one_name_are_named(world, broker, bridge):
    one, two = Device(world, broker, "dev1", 111), Device(world, broker, "dev1", 222)
    for epoch in range(1, 5):
        one.epoch = two.epoch = epoch
        one.status()
        two.status()
    line = bridge.proc.wait_log("event=device_duplicate device=dev1 .*").group(0)
    assert f"{111:016x}" in line and f"{222:016x}" in line
    one.epoch = 9
    assert one.birth()[8] is True


# ---- trouble of its own ---------------------------------------------------------------------------

def test_a_paused_bridge_goes_on_where_it_stopped(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    bridge.proc.pause()
    for seq in range(1, 11):
        device.batch(seq, seq - 1)
    bridge.proc.resume()
    device.wait_told(DURABLE, range(1, 11))


def test_a_full_log_holds_the_devices_and_goes_on_when_there_is_room(world, broker):
    sink_port = free_port()
    bridge = Bridge(world, broker, **{"log.segment_bytes": "64k", "log.cursor_bytes": "128k",
                                      "log.history_bytes": "0", "hold": "200ms",
                                      "sinks.db.type": "influx", "ack_after": "db",
                                      "sinks.db.database": "runnel",
                                      "sinks.db.url": f"http://127.0.0.1:{sink_port}"})
    device = Device(world, broker)
    device.ready()
    filler = canonical([None, b"\x03", [10 ** 18 - i * 10 ** 14 for i in range(2 * 200)]])

    def send(seq):
        content = b"".join(canonical(p) for p in (1, now_tick() - 2000, 200, 0)) + filler + b"\xa0"
        device.batch(seq, seq - 1, content)

    def held():
        return [ack for ack in device.acks(11) if 0 < ack[11] <= 200]

    seq = 0
    while not held():
        assert seq < 5000, "the log never filled"
        for _ in range(10):
            seq += 1
            send(seq)
        wait_until(lambda: held() or seq in device.told(RECEIVED), 30, lambda: f"an answer {seq} {sorted(device.told(RECEIVED))[-3:]} {device.acks()[-3:]}")
    bridge.proc.wait_log("event=log_full")
    stored = len(bridge.rows())
    server = http_sink(world, sink_port)
    wait_until(lambda: bridge.proc.lines("event=log_has_room"), 60, "room again")
    device.peer.clear()
    send(seq + 1)
    device.wait_told(DURABLE, {seq + 1}, timeout=30)
    assert stored > 10
    server.shutdown()


def http_sink(world, port):
    """An InfluxDB that takes everything."""
    import http.server
    import threading

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_a_damaged_segment_is_put_aside_and_named(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    for seq in range(1, 101):
        device.batch(seq, seq - 1)
    device.wait_told(DURABLE, range(1, 101))
    bridge.proc.terminate()
    path = next((bridge.data / "log").glob("*.db"))
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(4096))
    mark = bridge.proc.mark()
    bridge.proc.start()
    bridge.proc.wait_log("event=log_segment_damaged", after=mark)
    bridge.wait_connected(after=mark)
    assert list((bridge.data / "log").glob("*.damaged"))
    device.peer.clear()
    device.batch(101, 100)
    device.wait_told(DURABLE, {101})


def test_two_bridges_do_not_share_a_folder(world, broker, bridge):
    second = world.program("runnel-bridge", "run", "--set", f"data={bridge.data}", "--set",
                           f"mqtt.addresses=mqtt://127.0.0.1:{broker.port}", log="second")
    assert second.wait() == 4
    assert "another bridge uses the data folder" in second.log()


def test_sigterm_ends_within_two_seconds_also_without_a_broker(world):
    """The least of up to five counts: the machine may be busy."""
    seconds = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        while len(seconds) < 5 and min(seconds, default=3) >= 3:
            bridge = world.program("runnel-bridge", "run", "--set", f"data={world.folder}/b", "--set",
                                   f"mqtt.addresses=mqtt://127.0.0.1:{silent.getsockname()[1]}",
                                   "--set", "http.listen=", log=f"bridge{len(seconds)}")
            bridge.wait_log("event=bridge_started")
            begin = time.monotonic()
            bridge.signal(signal.SIGTERM)
            assert bridge.wait() == 0
            seconds.append(time.monotonic() - begin)
    assert min(seconds) < 3, seconds


def test_systemd_is_told_about_readiness_and_life(world, broker):
    path = world.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(10)
        bridge = world.program("runnel-bridge", "run", "--set", f"data={world.folder}/b", "--set",
                               f"mqtt.addresses=mqtt://127.0.0.1:{broker.port}", "--set",
                               "http.listen=",
                               env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": 1000000})
        assert notify.recv(100) == b"READY=1"
        assert notify.recv(100) == b"WATCHDOG=1"
        bridge.signal(signal.SIGTERM)
        while notify.recv(100) != b"STOPPING=1":
            pass
        assert bridge.wait() == 0


@pytest.mark.parametrize("arguments, status, words", [
    (["check", "--set", "nonsense=1"], 3, "nonsense"),
    (["check", "--set", "ack_after=db"], 3, "ack_after"),
    (["check", "--set", "sinks.x.type=oracle"], 3, "expected one of"),
    (["check", "--set", "name=lower"], 3, "name: expected"),
    (["check", "-c", "/does/not/exist.yaml"], 3, "exist.yaml"),
    (["fly"], 2, "no such command"),
    (["run", "--fast"], 2, "unknown option"),
    (["check", "--connect", "--set", "mqtt.addresses=mqtt://127.0.0.1:1"], 5, "cannot connect"),
])
def test_what_is_wrong_is_said_with_an_exit_status(world, arguments, status, words):
    from runnel_test import bin_path
    done = world.run([bin_path("runnel-bridge"), *arguments], check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert words in done.stdout + done.stderr
