"""The bridge's intake against real mosquitto: births, schemas, acknowledgement, names, restarts, and
hostile messages.
"""

import contextlib
import hashlib
import sqlite3
import struct
import time

import pytest

from bridge_fixture import (CONFLICT, DURABLE, HOLD, NEED, OTHER_SCHEMA, RECEIVED, REFUSED, SCHEMA,
                            Bridge, Device, body, canonical, crc32c, now_tick)
from runnel_test import free_port, wait_until


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


def test_a_duplicate_is_told_of_alone_because_its_neighbours_may_be_settled(world, broker, bridge):
    """An agent that was killed does not know the CRCs of what it settled, and deletes nothing for a
    range that spans such batches."""
    device = Device(world, broker)
    device.ready()
    contents = [body(values=(seq, 0)) for seq in range(1, 5)]
    for seq, content in enumerate(contents, 1):
        device.batch(seq, seq - 1, content)
    device.wait_told(DURABLE, range(1, 5))
    wait_until(lambda: time.time() * 1000 - device.acks(DURABLE)[-1][3] > 2200, what="a pause")
    count = len(device.acks(DURABLE))
    crc = device.batch(2, 1, contents[1])
    assert [2, 1, crc32c(struct.pack(">I", crc))] in device.wait_ack(DURABLE, count + 1)[DURABLE]


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
            # If that took over 5 s, another one was asked for the object meanwhile.
            wait_until(lambda: any([1, 1, False] in ack[NEED] for ack in device.acks(NEED)),
                       what=f"{device.name} is told that the schema came")
            device.key(with_object=False)
            device.batch(1)
    for device in devices:
        device.wait_told(DURABLE, {1})


def test_a_device_that_never_gives_its_schema_keeps_nobody_from_giving_it(world, broker, bridge):
    greedy, device = Device(world, broker, "greedy", 7), Device(world, broker, "dev1", 8)
    for one in (greedy, device):
        one.birth()
        one.key(with_object=False)
    seqs = iter(range(1, 1000000))
    greedy.batch(next(seqs))
    wait_until(lambda: any(need[2] for ack in greedy.acks(NEED) for need in ack[NEED]), what="asked")
    last = [0.0]

    def asked():
        greedy.batch(next(seqs))
        if time.monotonic() - last[0] > 1.7:
            last[0] = time.monotonic()
            device.batch(1)
        return [1, 1, True] in [need for ack in device.acks(NEED) for need in ack[NEED]]

    wait_until(asked, 20, "the other one is asked", step=0.01)
    device.key()
    device.batch(1)
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


@pytest.mark.parametrize("content, reason", [(body(t0=10), 5),
                                             (body(columns=[None, b"\x00", [1, 2, 3, 4, 5]]), 1)],
                         ids=["by its time", "by its columns"])
def test_what_was_refused_is_not_durable_after_a_restart(world, broker, content, reason):
    """The refusal was lost on the way, and the segment was sealed since."""
    bridge = Bridge(world, broker, **{"log.segment_bytes": "64k"})
    device = Device(world, broker)
    device.ready()
    device.batch(1, content=content)
    device.wait_told(REFUSED, {1})
    log, seq = bridge.data / "log", 2
    while len(list(log.glob("*.db"))) < 2 and seq < 3000:
        for seq in range(seq, seq + 50):
            device.batch(seq, seq - 1, body(values=(seq, 10 ** 17 + seq)))
        device.wait_told(DURABLE, {seq}, timeout=20)
        seq += 1
    assert len(list(log.glob("*.db"))) >= 2
    bridge.restart()
    device.peer.clear()
    device.batch(1, content=content)
    device.wait_told(REFUSED, {1})
    assert 1 not in device.told(DURABLE)
    assert [entry[2] for ack in device.acks(REFUSED) for entry in ack[REFUSED] if entry[0] == 1][0] == reason


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


def test_what_is_refused_under_a_name_that_is_settled_is_a_conflict(world, broker, bridge):
    """A restored copy has it still; without an answer it would have it for ever."""
    device = Device(world, broker)
    device.ready()
    device.batch(5)
    device.wait_told(DURABLE, {5})
    device.batch(3, content=body(t0=10))
    device.wait_told(CONFLICT, {3})
    device.batch(5, content=body(t0=10))
    device.wait_told(CONFLICT, {5})
    assert len(bridge.rows()) == 1


def test_what_finds_no_room_in_the_dead_letters_stays_on_the_device(world, broker):
    bridge = Bridge(world, broker, hold="200ms")
    device = Device(world, broker)
    device.ready()
    with contextlib.closing(sqlite3.connect(bridge.data / "dead.db", isolation_level=None)) as db:
        db.execute("begin immediate")
        device.batch(1, content=body(t0=10))
        assert device.wait_ack(HOLD, timeout=30)[HOLD] == 200
        db.execute("rollback")
    assert not device.told(REFUSED)
    device.batch(1, content=body(t0=10))
    device.wait_told(REFUSED, {1})


def letters(bridge):
    with contextlib.closing(sqlite3.connect(f"file:{bridge.data}/dead.db?mode=ro", uri=True)) as db:
        return db.execute("select count(*) from letter").fetchone()[0]


def test_a_device_that_sends_garbage_takes_a_bounded_share_of_the_disk(world, broker, bridge):
    bad, good = Device(world, broker, "bad", 7), Device(world, broker, "good", 8)
    bad.ready()
    good.ready()
    begin = time.monotonic()
    for i in range(2000):
        bad.peer.publish(bad.up("m"), b"garbage %d" % i, qos=0)
    bad.birth()  # all of it has been looked at
    assert letters(bridge) <= 256 + (time.monotonic() - begin) / 0.05 + 1
    good.batch(1)
    good.wait_told(DURABLE, {1})


def test_many_batches_that_are_refused_are_all_kept_in_the_end(world, broker):
    bridge = Bridge(world, broker, hold="200ms")
    device, total = Device(world, broker), 300
    device.ready()

    def settled():
        for seq in set(range(1, total + 1)) - device.told(REFUSED):
            device.batch(seq, seq - 1, body(t0=10, values=(seq, 0)))
        holds = len(device.acks(HOLD))
        with contextlib.suppress(AssertionError):
            wait_until(lambda: len(device.acks(HOLD)) > holds, 2)
        return device.told(REFUSED) >= set(range(1, total + 1))

    wait_until(settled, 60, "all are refused")
    assert letters(bridge) == total


def test_a_device_with_too_much_pending_is_told_to_wait_with_what_is_refused_too(world, broker):
    Bridge(world, broker, hold="200ms", **{"fleet.pending_max": 64})
    device = Device(world, broker)
    device.ready()
    for seq in range(1, 65):
        device.batch(seq, seq - 1)
    device.wait_told(DURABLE, range(1, 65))
    device.batch(65, 64, content=body(t0=10))
    assert device.wait_ack(HOLD)[HOLD] == 200
    device.batch(65, 63, content=body(t0=10))
    device.wait_told(REFUSED, {65})


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

    # A bridge that stood still has the messages of a whole round in its queue for once: some megabytes.
    # What messages claim would come with every round.
    round_of_attacks(10 ** 7)
    sizes = [bridge.proc.anonymous_kb()]
    while len(sizes) < 5 and min((b - a for a, b in zip(sizes, sizes[1:])), default=2000) >= 2000:
        round_of_attacks((1 + len(sizes)) * 10 ** 7)
        sizes.append(bridge.proc.anonymous_kb())
    if not bridge.proc.sanitized():
        assert min(b - a for a, b in zip(sizes, sizes[1:])) < 2000, sizes
