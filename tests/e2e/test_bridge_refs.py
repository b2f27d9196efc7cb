"""Hints and bases at the bridge: kept, asked for, decoded with, never mixed up. The columns come from
the codec in tests/vectors, which is not Runnel's own.
"""

import sqlite3
import struct
import sys
from pathlib import Path

import cbor2
import pytest

from bridge_fixture import (CONFLICT, DURABLE, NEED, REFUSED, SCHEMA, Bridge, Device, body, canonical,
                            now_tick)
from runnel_test import wait_until
from spine import lines

sys.path.append(str(Path(__file__).resolve().parent.parent / "vectors"))
import packed  # noqa: E402

HINTS_KIND, BASE_KIND = 2, 3
MEMBERS = cbor2.loads(SCHEMA)
FIELDS = ("used", "free")


def base_of(*numbers):
    return canonical({1: list(numbers)})


def hints_of(*steps):
    return canonical({1: bytes(10 + step for step in steps), 2: bytes(steps)})


BASE, HINTS = base_of(1000, 70000), hints_of(3, 9)


def encoded(enc, cells, base=None, hints=None, t0=None, schema=1, base_id=1, hints_id=1):
    """A batch's body: cells[column][tick], with these objects under their numbers."""
    t0 = now_tick() - 10 * len(cells[0]) if t0 is None else t0
    times = [t0 + 10 * i for i in range(len(cells[0]))]
    ext, firsts, habits = {}, None, None
    if base:
        ext[1], firsts = base_id, cbor2.loads(base)[1]
    if hints and enc == 2:
        ext[2], read = hints_id, cbor2.loads(hints)
        habits = list(zip(read[1], read[2]))
    columns = packed.encode(enc, MEMBERS, times, cells, base=firsts, base_object=base or b"",
                            hints=habits)
    return body(schema=schema, t0=t0, n=len(times), enc=enc, columns=columns, ext=ext)


def points(cells, t0):
    return {(FIELDS[c], (t0 + 10 * i) * 10**9): value
            for c, column in enumerate(cells) for i, value in enumerate(column)}


class Refs(Device):
    """A device that knows how to send the objects of all three kinds."""

    def give(self, *objects, number=1, with_object=True):
        kinds = {SCHEMA: 1}
        for content in objects:
            kind = kinds.get(content) or (HINTS_KIND if 2 in cbor2.loads(content) else BASE_KIND)
            self.key(content, number, with_object, kind=kind)

    def needs(self):
        return [entry for ack in self.acks(NEED) for entry in ack[NEED]]


class Stored(Bridge):
    """A bridge whose sink is a file that can be read back."""

    def __init__(self, world, broker, **options):
        self.lines = world.folder / "lines"
        super().__init__(world, broker, **{"sinks.out.type": "file", "sinks.out.path": self.lines,
                                           "ack_after": "log", **options})

    def written(self, device="dev1"):
        """{(field, time): value} of one device."""
        found = {}
        for path in sorted(self.lines.parent.glob("lines.*")):
            text = path.read_text()  # perhaps in the middle of a line that is being written
            for (_, tags, field, time_ns), (_, value) in lines.points_of(text[:text.rfind("\n") + 1]):
                if dict(tags)["host"] == device:
                    assert (field, time_ns) not in found
                    found[field, time_ns] = value
        return found

    def wait_written(self, expected, device="dev1"):
        wait_until(lambda: len(self.written(device)) >= len(expected), 15,
                   lambda: f"{len(expected)} values of {device}, not {self.written(device)}")
        assert self.written(device) == expected

    def wait_position(self, position):
        """What the log holds up to there is the file's for good: a file is cut at a start where its
        cursor stands."""
        def reached():
            with sqlite3.connect(f"file:{self.data}/cursor/out.db?mode=ro", uri=True) as db:
                return db.execute("select position from cursor").fetchone()[0] >= position
        wait_until(reached, 15, f"the cursor is at {position}")

    def objects(self):
        with sqlite3.connect(f"file:{self.data}/schemas.db?mode=ro", uri=True) as db:
            return db.execute("select count(*) from object").fetchone()[0]


@pytest.fixture
def bridge(world, broker):
    return Stored(world, broker)


CELLS = [[1001, 1002, 1003, 1003], [69990, 69980, 69985, 70020]]


@pytest.mark.parametrize("enc", [1, 2])
def test_batches_with_base_and_hints_are_stored_and_read_back_value_for_value(world, broker, bridge,
                                                                              enc):
    device, t0 = Refs(world, broker), now_tick() - 100
    device.birth()
    device.give(SCHEMA, BASE, HINTS)
    device.batch(1, content=encoded(enc, CELLS, BASE, HINTS, t0))
    device.wait_told(DURABLE, {1})
    assert not device.needs()
    bridge.wait_written(points(CELLS, t0))


def test_all_that_is_lacking_is_asked_for_in_one_answer(world, broker, bridge):
    device, t0 = Refs(world, broker), now_tick() - 100
    device.birth()
    content = encoded(2, CELLS, BASE, HINTS, t0)
    device.batch(1, content=content)
    assert sorted(device.wait_ack(NEED)[NEED]) == [[1, 1, False], [2, 1, False], [3, 1, False]]
    device.give(SCHEMA, BASE, HINTS, with_object=False)
    wait_until(lambda: all([kind, 1, True] in device.needs() for kind in (1, 2, 3)))
    assert not bridge.rows()
    device.give(SCHEMA, BASE, HINTS)
    device.batch(1, content=content)
    device.wait_told(DURABLE, {1})
    bridge.wait_written(points(CELLS, t0))


@pytest.mark.parametrize("missing", [SCHEMA, HINTS, BASE], ids=["schema", "hints", "base"])
def test_exactly_what_is_lacking_is_asked_for(world, broker, bridge, missing):
    device, t0 = Refs(world, broker), now_tick() - 100
    kind = [SCHEMA, HINTS, BASE].index(missing) + 1
    device.birth()
    device.give(*({SCHEMA, HINTS, BASE} - {missing}))
    content = encoded(2, CELLS, BASE, HINTS, t0)
    device.batch(1, content=content)
    device.wait_ack(NEED)
    device.give(missing, with_object=False)
    wait_until(lambda: [kind, 1, True] in device.needs(), what="the object is asked for")
    device.batch(1, content=content)
    device.give(missing)
    device.batch(1, content=content)
    device.wait_told(DURABLE, {1})
    assert {entry[0] for entry in device.needs()} == {kind}
    assert len(bridge.rows()) == 1
    bridge.wait_written(points(CELLS, t0))


@pytest.mark.parametrize("ext, objects", [({1: 1}, [base_of(1)]), ({1: 1}, [base_of(1, 2, 3)]),
                                          ({2: 1}, [hints_of(1)]), ({2: 1}, [hints_of(1, 2, 3)])])
def test_objects_of_another_number_of_columns_are_refused_and_the_batch_is_kept(world, broker, bridge,
                                                                               ext, objects):
    device = Refs(world, broker)
    device.birth()
    device.give(SCHEMA, *objects)
    content = body(enc=2, columns=b"xyzxyz", ext=ext)
    device.batch(1, content=content)
    assert device.wait_ack(REFUSED)[REFUSED] == [[1, 1, 2]]
    with sqlite3.connect(f"file:{bridge.data}/dead.db?mode=ro", uri=True) as db:
        assert any(isinstance(cell, bytes) and cell.endswith(content)
                   for row in db.execute("select * from letter") for cell in row)
    assert not bridge.rows()


def test_a_base_that_the_batch_was_not_encoded_with_is_never_durable(world, broker, bridge):
    device = Refs(world, broker)
    device.birth()
    device.give(SCHEMA, base_of(1000, 70001), HINTS)
    device.batch(1, content=encoded(2, CELLS, BASE, HINTS))
    assert device.wait_ack(REFUSED)[REFUSED] == [[1, 1, 1]]
    assert not device.told(DURABLE)


@pytest.mark.parametrize("kill", [False, True])
def test_a_restarted_bridge_still_has_them(world, broker, bridge, kill):
    device, t0 = Refs(world, broker), now_tick() - 100
    device.birth()
    device.give(SCHEMA, BASE, HINTS)
    device.batch(1, content=encoded(2, CELLS, BASE, HINTS, t0))
    device.wait_told(DURABLE, {1})
    bridge.restart(kill)
    device.peer.clear()
    device.batch(2, 1, content=encoded(2, CELLS, BASE, HINTS, t0 - 100))
    device.wait_told(DURABLE, {2}, timeout=15)
    assert not device.needs()
    bridge.wait_written({**points(CELLS, t0), **points(CELLS, t0 - 100)})


def test_a_wiped_log_is_filled_again_without_asking(world, broker, bridge):
    device, t0 = Refs(world, broker), now_tick() - 100
    device.birth()
    device.give(SCHEMA, BASE, HINTS)
    device.batch(1, content=encoded(2, CELLS, BASE, HINTS, t0))
    device.wait_told(DURABLE, {1})
    bridge.wait_written(points(CELLS, t0))
    bridge.wait_position(1)
    bridge.proc.terminate()
    world.run(["rm", "-rf", bridge.data / "log"])
    mark = bridge.proc.mark()
    bridge.proc.start()
    bridge.wait_connected(after=mark)
    device.peer.clear()
    device.batch(2, 1, content=encoded(2, CELLS, BASE, HINTS, t0 - 100))
    device.wait_told(DURABLE, {2}, timeout=15)
    assert not device.needs()
    bridge.wait_written({**points(CELLS, t0), **points(CELLS, t0 - 100)})


def test_without_schemas_db_the_log_still_decodes_and_devices_are_asked_again(world, broker, bridge):
    """The sink is new after the wipe: it reads the log from its beginning."""
    device, t0 = Refs(world, broker), now_tick() - 100
    device.birth()
    device.give(SCHEMA, BASE, HINTS)
    device.batch(1, content=encoded(2, CELLS, BASE, HINTS, t0))
    device.wait_told(DURABLE, {1})
    bridge.wait_written(points(CELLS, t0))
    bridge.proc.terminate()
    for path in (*bridge.data.glob("schemas.db*"), *bridge.data.glob("cursor/*"),
                 *bridge.lines.parent.glob("lines.*")):
        path.unlink()
    mark = bridge.proc.mark()
    bridge.proc.start()
    bridge.wait_connected(after=mark)
    bridge.wait_written(points(CELLS, t0))
    device.peer.clear()
    # Another device is first this time, with other objects: numbers of rows begin anew.
    other, cells = Refs(world, broker, "other", 77), [[5, 6], [7, 8]]
    other.birth()
    other.give(base_of(5, 5), SCHEMA)
    other.batch(1, content=encoded(1, cells, base_of(5, 5), None, t0))
    other.wait_told(DURABLE, {1})
    content = encoded(2, CELLS, BASE, HINTS, t0 - 100)
    device.batch(2, 1, content=content)
    assert sorted(device.wait_ack(NEED)[NEED]) == [[1, 1, False], [2, 1, False], [3, 1, False]]
    device.give(SCHEMA, BASE, HINTS)
    device.batch(2, 1, content=content)
    device.wait_told(DURABLE, {2})
    bridge.wait_written({**points(CELLS, t0), **points(CELLS, t0 - 100)})
    bridge.wait_written(points(cells, t0), "other")


def test_the_same_numbers_mean_different_objects_for_two_devices(world, broker, bridge):
    t0, contents = now_tick() - 100, {}
    bases = {"one": BASE, "two": base_of(-7, 2**62)}
    habits = {"one": HINTS, "two": hints_of(54, 0)}
    cells = {"one": CELLS, "two": [[-6, -8, 0, 9], [2**62, 2**62 + 1, 5, 2**62]]}
    devices = {name: Refs(world, broker, name, 100 + i) for i, name in enumerate(bases)}
    for name, device in devices.items():
        device.birth()
        device.give(SCHEMA, bases[name], habits[name])
        contents[name] = encoded(2, cells[name], bases[name], habits[name], t0)
    for name, device in devices.items():
        device.batch(1, content=contents[name])
    for name, device in devices.items():
        device.wait_told(DURABLE, {1})
        bridge.wait_written(points(cells[name], t0), name)


def test_a_number_given_to_two_objects_is_a_conflict_for_new_batches_alone(world, broker, bridge):
    """As a device does whose buffer was restored from an older copy."""
    t0, other = now_tick() - 100, canonical({**MEMBERS, 4: [{**MEMBERS[4][0], 1: "other"}]})
    device = Refs(world, broker)
    device.birth()
    device.give(SCHEMA, BASE)
    stored = encoded(1, CELLS, BASE, t0=t0)
    device.batch(1, content=stored)
    device.wait_told(DURABLE, {1})
    device.key(other, 1, True, kind=1)
    device.batch(2, content=encoded(0, CELLS, t0=t0 + 100))
    device.wait_told(CONFLICT, {2})
    bridge.restart()
    device.peer.clear()
    device.batch(3, content=encoded(0, CELLS, t0=t0 + 200))
    device.wait_told(CONFLICT, {3})
    device.peer.clear()
    device.batch(1, content=stored)
    device.wait_told(DURABLE, {1})
    bridge.wait_written(points(CELLS, t0), device.name)


def test_rows_outlive_the_bindings_that_they_came_under(world, broker):
    """50 bases, one a batch; the log is read a second time after 18 of the bindings have gone."""
    bridge = Stored(world, broker, **{"ack_after": "log", "log.segment_bytes": "64k"})
    device, t0, expected = Refs(world, broker), now_tick() - 4000, {}
    device.birth()
    device.give(SCHEMA, HINTS)
    bridge.proc.wait_log("event=device_state device=dev1")
    for number in range(1, 51):
        base, cells = base_of(number * 1000, -number), [[number * 1000 + 1, 5], [number, -number]]
        device.give(base, number=number)
        device.batch(number, number - 1, encoded(2, cells, base, HINTS, t0 + number * 20, base_id=number))
        expected.update(points(cells, t0 + number * 20))
        if number % 10 == 0:
            device.wait_told(DURABLE, range(number - 9, number + 1))
    bridge.wait_written(expected)
    wait_until(lambda: bridge.objects() == 32 + 2, what="the newest 32 bases are left")
    bridge.proc.terminate()
    for path in (*bridge.data.glob("cursor/*"), *bridge.lines.parent.glob("lines.*")):
        path.unlink()
    bridge.proc.start()
    bridge.wait_written(expected)


def test_a_batch_goes_through_again_after_its_key_message_was_lost(world, broker, bridge):
    device, t0 = Refs(world, broker), now_tick() - 100
    device.birth()
    device.give(SCHEMA, HINTS)
    contents = {seq: encoded(2, CELLS, BASE, HINTS, t0 - 100 * seq) for seq in range(1, 6)}
    for seq, content in contents.items():
        device.batch(seq, seq - 1, content)
    device.wait_ack(NEED)
    device.give(BASE)
    for seq, content in contents.items():
        device.batch(seq, seq - 1, content)
    device.wait_told(DURABLE, contents)
    assert {tuple(entry) for entry in device.needs()} == {(3, 1, False)}
    assert len(bridge.rows()) == 5


def test_endless_new_objects_take_bounded_room_and_nobody_elses(world, broker, bridge):
    honest, evil = Refs(world, broker), Refs(world, broker, "evil", 66)
    honest.birth()
    honest.give(SCHEMA, BASE, HINTS)
    evil.birth()
    evil.give(SCHEMA)
    for number in range(60):
        evil.give(base_of(number, number), number=number)
    honest.batch(1, content=encoded(2, CELLS, BASE, HINTS))
    honest.wait_told(DURABLE, {1})
    assert not honest.needs()
    wait_until(lambda: bridge.objects() == 3 + 32, what="the newest 32 bases are left")


def test_an_object_damaged_in_the_log_is_refused_not_durable(world, broker, bridge):
    """The row waits in a log that was damaged while nobody had decoded it yet."""
    device = Refs(world, broker)
    device.birth()
    device.give(SCHEMA, BASE, HINTS)
    device.batch(1, content=encoded(2, CELLS, BASE, HINTS))
    device.wait_told(DURABLE, {1})
    bridge.proc.terminate()
    segment = next((bridge.data / "log").glob("*.db"))
    with sqlite3.connect(segment) as db:
        changed = db.execute("update object set body = x'a10182181819' where body = ?", (BASE,))
        assert changed.rowcount == 1
    for path in bridge.data.glob("cursor/*"):
        path.unlink()
    mark = bridge.proc.mark()
    bridge.proc.start()
    bridge.wait_connected(after=mark)
    bridge.proc.wait_log("event=batch_refused device=dev1 .*damaged", after=mark)


def test_a_log_of_the_first_format_is_named_and_left_alone(world, broker, bridge):
    bridge.proc.terminate()
    segment = next((bridge.data / "log").glob("*.db"))
    with sqlite3.connect(segment) as db:
        db.execute("pragma user_version = 0")
    bridge.proc.start()
    assert bridge.proc.wait() != 0
    assert "has format 0, this program reads 1" in bridge.proc.log()
    assert segment.exists()


def test_fractions_of_times_without_a_step_fit_too(world, broker, bridge):
    schema = canonical({1: 1, 2: 1000000, 3: 0,
                        4: [{1: "m", 3: [{1: "v", 2: 2, 4: 2}], 4: [[]]}]})
    device, t0 = Refs(world, broker), now_tick() * 1000 - 100000
    base = base_of(12345)
    device.birth()
    device.key(schema)
    device.key(base, kind=BASE_KIND)
    times = [t0, t0 + 3, t0 + 1000, t0 + 1001]
    cells = [[12340, 12350, 12350, -1]]
    columns = packed.encode(2, cbor2.loads(schema), times, cells, base=[12345], base_object=base)
    device.batch(1, content=body(t0=t0, n=4, enc=2, columns=columns, ext={1: 1}))
    device.wait_told(DURABLE, {1})
    bridge.wait_written({("v", time * 10**6): struct.pack(">d", cell / 100)
                         for time, cell in zip(times, cells[0])})


def test_a_sink_that_is_waited_for_makes_nothing_durable_that_does_not_decode(world, broker):
    """The sink passes over what does not decode, and may be faster than what refuses it."""
    bridge = Stored(world, broker, **{"ack_after": "out"})
    device = Refs(world, broker)
    device.birth()
    device.give(SCHEMA, base_of(1, 1))
    wrong = encoded(1, CELLS, base_of(1, 2))
    for seq in range(1, 201):
        device.batch(seq, seq - 1, wrong)
    device.wait_told(REFUSED, range(1, 201), timeout=20)
    assert not device.told(DURABLE)
    device.batch(201, 200, encoded(1, CELLS, base_of(1, 1)))
    device.wait_told(DURABLE, {201})
