"""The influx sink against real InfluxDB 1.6.7, and against answers that it does not give itself."""

import json
import random
import re
import struct
import time

import pytest

from runnel_test import bin_path, wait_until
from servers import FakeDatabase, Influx, SinkDriver

NS = 1_000_000_000
NOW = int(time.time()) * NS


def driver_for(world, database, db="d", sinks=1, **options):
    common = {"url": database.url, "database": db, **options}
    names = ["main", "other", "third"][:sinks]
    return SinkDriver(world, *[(name, "influx", common) for name in names])


def fill(driver, first, count, dev="dev-a", measurement="load"):
    """count points, a second apart, value = number; in batches of at most 500."""
    for start in range(first, first + count, 500):
        rows = [(NOW - 3600 * NS + n * NS // 100, n) for n in range(start, min(start + 500, first + count))]
        driver.batch(dev, measurement, {"n": "int"}, rows)
    return driver.commit()


def numbers(database, db="d", measurement="load"):
    return [point["n"] for point in database.points(db, measurement)]


# ---- values -----------------------------------------------------------------------------------

def test_every_value_comes_back_exactly(world):
    influx = Influx(world)
    influx.create("d")
    driver = driver_for(world, influx)
    rng = random.Random(world.folder.name)
    ints = [0, -1, 2**63 - 1, -2**63, 2**53 + 1, *(rng.getrandbits(63) for _ in range(50))]
    floats = [0.0, -0.0, 0.1, 1e308, 5e-324, -1.7976931348623157e308, 1 / 3, 2.0**53 + 2,
              *(x for x in (struct.unpack("d", rng.randbytes(8))[0] for _ in range(200)) if x == x)]
    floats = [x for x in floats if abs(x) != float("inf")]
    bools = [True, False]
    times = [NOW + 1, NOW - 987654321, NOW - 7 * NS - 123456789]
    driver.batch("dev-a", "ints", {"v": "int"}, [(NOW - i, v) for i, v in enumerate(ints)])
    driver.batch("dev-a", "floats", {"v": "float"}, [(NOW - i, v) for i, v in enumerate(floats)])
    driver.batch("dev-a", "bools", {"v": "bool"}, [(NOW - i, v) for i, v in enumerate(bools)])
    driver.batch("dev-a", "uints", {"v": "uint"}, [(NOW, 2**63 - 1)])
    driver.batch("dev-a", "times", {"v": "int"}, [(t, 1) for t in times])
    driver.wait_moved("main", driver.commit())

    def values(measurement):
        return [p["v"] for p in reversed(influx.points("d", measurement))]
    assert values("ints") == ints
    got = values("floats")
    assert [struct.pack("d", float(v)) for v in got] == [struct.pack("d", v) for v in floats]
    assert values("bools") == bools
    assert values("uints") == [2**63 - 1]
    assert sorted(p["time"] for p in influx.points("d", "times")) == sorted(times)
    assert {p["host"] for m in ("ints", "floats", "bools", "times") for p in influx.points("d", m)} \
        == {"dev-a"}
    assert driver.letters() == []


NASTY = ["plain", " leading and trailing ", "comma,space =equals", 'quote "inside" and \'single\'',
         "back\\slash", "trailing\\", "\\", '\\"', "tab\there", "new\nline", "cr\rlf\r\n",
         "m,host=victim v=1i 1", "\nm,host=victim v=666i 1600000000000000000", "ünïcödé 日本 🚀",
         "#hash", "{}[]()%", "a\\,b", "a\\ b", "a\\=b", "\u0085\u2028", "x" * 255, "\u007f\u0001"]


def test_texts_with_every_nasty_character_come_back_and_forge_nothing(world):
    influx = Influx(world)
    influx.create("d")
    driver = driver_for(world, influx)
    driver.batch("victim", "m", {"v": "int"}, [(NOW, 1)])
    driver.batch("dev-a", "texts", {"v": "text", "n": "int"},
                 [(NOW + n, text, n) for n, text in enumerate(NASTY)])
    driver.wait_moved("main", driver.commit())
    points = influx.points("d", "texts")
    assert [p["n"] for p in points] == list(range(len(NASTY)))
    for point, text in zip(points, NASTY):
        # Control characters other than tab have no safe form: they are shown by their pictures.
        shown = "".join(chr(0x2400 + ord(c)) if ord(c) < 32 and c != "\t" else
                        "\u2421" if ord(c) == 127 else c for c in text)
        assert point["v"] == shown
    assert influx.measurements("d") == ["m", "texts"]
    assert [(p["host"], p["v"]) for p in influx.points("d", "m")] == [("victim", 1)]


def test_texts_as_long_as_the_database_takes_come_back(world):
    influx = Influx(world)
    influx.create("d")
    driver = driver_for(world, influx)
    texts = [char * (length // len(char.encode())) for length in (255, 256, 16384, 65535)
             for char in ("x", '"', "\\", "é", "日")]
    for n, text in enumerate(texts):
        driver.batch("dev-a", "texts", {"v": "text", "n": "int"}, [(NOW + n, text, n)])
    driver.wait_moved("main", driver.commit())
    assert [(p["n"], p["v"]) for p in influx.points("d", "texts")] == list(enumerate(texts))
    assert driver.letters() == []


def test_names_and_tags_forge_nothing(world):
    influx = Influx(world)
    influx.create("d")
    driver = driver_for(world, influx)
    names = [n for n in NASTY if all(ord(c) >= 32 and ord(c) != 127 and not 0x80 <= ord(c) < 0xa0
                                     for c in n)]
    for n, name in enumerate(names):
        driver.batch("dev-a", "tagged", {"n": "int"}, [(NOW + n, n)], where=name)
        driver.batch("dev-a", "named", {name: "int"}, [(NOW + n, n)])
        driver.batch("dev-a", name, {"n": "int"}, [(NOW + n, n)])
    driver.batch("dev-a", "hosted", {"n": "int"}, [(NOW, 1)], host="victim")
    driver.wait_moved("main", driver.commit())
    tagged = influx.points("d", "tagged")
    assert [p["n"] for p in tagged] == list(range(len(names)))
    assert all(p["host"] == "dev-a" for p in tagged)
    assert len({p["where"] for p in tagged}) == len(names)
    assert len(influx.points("d", "named")) == len(names)
    assert len(influx.measurements("d")) == len(names) + 3
    assert [p["host"] for p in influx.points("d", "hosted")] == ["dev-a"]
    assert influx.query("SHOW TAG VALUES WITH KEY = host WHERE host = 'victim'", "d") == []
    assert driver.letters() == []


def test_more_tags_are_added_where_a_point_has_none_of_that_key(world):
    influx = Influx(world)
    influx.create("d")
    driver = driver_for(world, influx, tags="site=north")
    driver.batch("dev-a", "a b", {"n": "int"}, [(NOW, 1)], where="x y")
    driver.batch("dev-a", "own", {"n": "int"}, [(NOW, 1)], site="south")
    driver.wait_moved("main", driver.commit())
    assert [(p["where"], p["site"], p["host"]) for p in influx.points("d", "a b")] \
        == [("x y", "north", "dev-a")]
    assert [p["site"] for p in influx.points("d", "own")] == ["south"]


# ---- a database that is not as it should be ---------------------------------------------------

def test_a_database_that_is_down_delays_and_loses_nothing(world):
    influx = Influx(world)
    influx.create("d")
    driver = driver_for(world, influx, sinks=1)
    driver.wait_moved("main", fill(driver, 0, 500))
    influx.kill()
    head = fill(driver, 500, 2500)
    driver.wait_moved("verify", head)
    status = driver.wait_state("main", "retrying")
    assert "refused" in status["text"] or "connect" in status["text"].lower()
    influx.start()
    driver.wait_moved("main", head)
    assert numbers(influx) == list(range(3000))
    assert driver.status("main")["state"] == "ok"
    assert len(driver.proc.lines("event=sink_retrying")) == 1
    assert len(driver.proc.lines("event=sink_recovered")) == 1


def test_a_slow_database_is_given_up_on_and_tried_again(world):
    influx = Influx(world)
    influx.create("d")
    driver = driver_for(world, influx, timeout="500ms")
    driver.wait_moved("main", fill(driver, 0, 10))
    influx.pause()
    head = fill(driver, 10, 990)
    driver.wait_state("main", "retrying")
    influx.resume()
    driver.wait_moved("main", head)
    assert numbers(influx) == list(range(1000))


def test_a_missing_database_holds_and_goes_on_once_it_is_made(world):
    influx = Influx(world)
    driver = driver_for(world, influx)
    head = fill(driver, 0, 100)
    status = driver.wait_state("main", "held")
    assert status["text"].startswith('404 database not found: "d" (check ')
    assert driver.letters() == []
    influx.create("d")
    driver.wait_moved("main", head)
    assert numbers(influx) == list(range(100))
    assert len(driver.proc.lines("event=sink_held")) == 1


def test_wrong_credentials_hold_and_right_ones_write(world):
    influx = Influx(world, auth=True)
    influx.query("CREATE USER admin WITH PASSWORD 'pa ss:w/rd' WITH ALL PRIVILEGES")
    influx.credentials = ("admin", "pa ss:w/rd")
    influx.create("d")
    driver = driver_for(world, influx, username="admin", password="wrong")
    head = fill(driver, 0, 100)
    status = driver.wait_state("main", "held")
    assert status["text"].startswith("401 ")
    assert "wrong" not in driver.proc.log()
    driver.stop()
    driver = SinkDriver(world, ("main", "influx", {"url": influx.url, "database": "d",
                                                    "username": "admin", "password": "pa ss:w/rd"}),
                        name="right", folder=driver.folder)
    driver.wait_moved("main", head)
    assert numbers(influx) == list(range(100))


def test_what_is_too_large_is_sent_in_parts(world):
    influx = Influx(world, max_body=4000)
    influx.create("d")
    driver = driver_for(world, influx, gzip="false")
    driver.wait_moved("main", fill(driver, 0, 3000))
    assert numbers(influx) == list(range(3000))
    assert driver.letters() == []


@pytest.mark.parametrize("compress", ["true", "false"])
def test_writes_with_and_without_compression(world, compress):
    influx = Influx(world)
    influx.create("d")
    driver = driver_for(world, influx, gzip=compress)
    driver.wait_moved("main", fill(driver, 0, 2000))
    assert numbers(influx) == list(range(2000))


# ---- poison -----------------------------------------------------------------------------------

def test_type_conflicts_are_dead_lettered_and_can_be_replayed(world):
    influx = Influx(world)
    influx.create("d")
    driver = driver_for(world, influx)
    driver.batch("dev-a", "m", {"v": "int"}, [(NOW, 1)])
    driver.wait_moved("main", driver.commit())
    for n in range(20):
        driver.batch("dev-a", "load", {"n": "int"}, [(NOW + n * NS, n)])
        driver.batch("dev-b", "m", {"v": "float"}, [(NOW + n * NS, n + 0.5)])
        driver.batch("dev-c", "m", {"v": "int"}, [(NOW + n * NS, n)])
    driver.wait_moved("main", driver.commit())
    assert numbers(influx) == list(range(20))
    assert len([p for p in influx.points("d", "m") if p["host"] == "dev-c"]) == 20
    letters = driver.letters("main")
    assert len(letters) == 20
    assert letters[0]["line"] == f"m v=0.5 {NOW}"
    assert {letter["dev"] for letter in letters} == {"dev-b"}
    assert all("field type conflict" in letter["reason"] for letter in letters)
    assert driver.status("main")["writes"] < 12

    driver.replay("main")  # nothing has changed: they stay
    wait_until(lambda: all(letter["attempts"] == 1 for letter in driver.letters("main")), 10,
               "the failed replay")
    influx.query('DROP MEASUREMENT "m"', "d")
    driver.replay()
    wait_until(lambda: driver.letters() == [], 10, "the replay")
    assert sorted((p["host"], p["v"]) for p in influx.points("d", "m")) \
        == sorted(("dev-b", n + 0.5) for n in range(20))


def test_a_dead_letter_with_a_long_text_can_be_replayed(world):
    influx = Influx(world)
    influx.create("d")
    driver = driver_for(world, influx)
    driver.batch("dev-a", "m", {"v": "int"}, [(NOW, 1)])
    driver.wait_moved("main", driver.commit())
    text = '"' * 65535
    driver.batch("dev-b", "m", {"v": "text"}, [(NOW, text)])
    driver.wait_moved("main", driver.commit())
    wait_until(lambda: len(driver.letters("main")) == 1, 10, "the dead letter")
    influx.query('DROP MEASUREMENT "m"', "d")
    driver.replay()
    wait_until(lambda: driver.letters() == [], 10, "the replay")
    assert [p["v"] for p in influx.points("d", "m")] == [text]


def test_points_beyond_the_retention_policy_are_dead_lettered(world):
    influx = Influx(world)
    influx.create("d", retention="2h")
    driver = driver_for(world, influx)
    old, new = NOW - 48 * 3600 * NS, NOW
    rows = [(old + n * NS if n % 2 else new + n, n) for n in range(40)]
    driver.batch("dev-a", "load", {"n": "int"}, sorted(rows))
    driver.batch("dev-a", "load", {"n": "int"}, [(old + 1000 * NS + n, 100 + n) for n in range(50)])
    driver.wait_moved("main", driver.commit())
    assert sorted(numbers(influx)) == list(range(0, 40, 2))
    letters = driver.letters("main")
    assert len(letters) == 70
    assert all("retention policy" in letter["reason"] for letter in letters)


def test_points_outside_the_time_window_are_dead_lettered(world):
    influx = Influx(world)
    influx.create("d")
    driver = SinkDriver(world, ("main", "influx", {"url": influx.url, "database": "d"}), past="1d")
    times = [0, 1, NOW - 2 * 86400 * NS, NOW, NOW + 2 * 3600 * NS, 2**63 - 1]
    driver.batch("dev-a", "load", {"n": "int"}, [(t, n) for n, t in enumerate(times)])
    driver.wait_moved("main", driver.commit())
    assert numbers(influx) == [3]
    letters = driver.letters("main")
    assert [letter["line"] for letter in letters] \
        == [f"load n={n}i {t}" for n, t in enumerate(times) if n != 3]
    assert all("time" in letter["reason"] for letter in letters)


def test_an_unsigned_value_that_version_1_cannot_take_is_dead_lettered(world):
    influx = Influx(world)
    influx.create("d")
    driver = driver_for(world, influx)
    driver.batch("dev-a", "m", {"v": "uint", "w": "int"},
                 [(NOW, 2**63 - 1, 1), (NOW + 1, 2**63, 2), (NOW + 2, 2**64 - 1, 3), (NOW + 3, 4, 4)])
    driver.wait_moved("main", driver.commit())
    assert [(p["v"], p["w"]) for p in influx.points("d", "m")] == [(2**63 - 1, 1), (4, 4)]
    assert [letter["line"] for letter in driver.letters()] \
        == [f"m v={2**63}u,w=2i {NOW + 1}", f"m v={2**64 - 1}u,w=3i {NOW + 2}"]


# ---- crashes ----------------------------------------------------------------------------------

def test_kill_9_on_both_sides_loses_and_repeats_nothing(world, long):
    influx = Influx(world)
    influx.create("d")
    driver = driver_for(world, influx, max_batches=3)
    rng = random.Random(4711)
    rounds, written = (40 if long else 8), 0
    for _ in range(rounds):
        head = fill(driver, written, 5000)
        written += 5000
        time.sleep(rng.uniform(0, 0.15))  # anywhere in the middle of the writes
        victim = rng.choice(["driver", "database", "both"])
        if victim != "database":
            driver.kill()
        if victim != "driver":
            influx.kill()
            influx.start()
        if victim != "database":
            driver.start()
    driver.wait_moved("main", head, 60)
    assert influx.count("d", "load", "n") == written
    assert numbers(influx) == list(range(written))
    assert driver.letters() == []


def test_sinks_do_not_wait_for_each_other(world):
    good = Influx(world)
    good.create("d")
    bad = FakeDatabase()
    world.own(bad)
    bad.decide = lambda path, body: (503, {}, "overloaded")
    driver = SinkDriver(world, ("main", "influx", {"url": good.url, "database": "d"}),
                        ("other", "influx", {"url": bad.url, "database": "d"}),
                        ("copy", "file", {"path": world.folder / "out" / "copy.lp"}))
    head = fill(driver, 0, 2000)
    driver.wait_moved("main", head)
    driver.wait_moved("copy", head)
    assert driver.status("other")["position"] == 0
    assert numbers(good) == list(range(2000))
    lines = (world.folder / "out" / "copy.lp.000001").read_text().splitlines()
    assert lines[0] == f"load,host=dev-a n=0i {NOW - 3600 * NS}"
    assert len(lines) == 2000


# ---- answers that 1.6.7 does not give ---------------------------------------------------------

@pytest.fixture
def fake(world):
    return world.own(FakeDatabase())


def test_version_2_and_3_are_asked_in_their_own_way(world, fake):
    driver = SinkDriver(
        world,
        ("two", "influx", {"url": fake.url + "/", "version": 2, "org": "my org", "bucket": "b&c",
                            "token": "t0ken=="}),
        ("three", "influx", {"url": fake.url, "version": 3, "database": "d", "token": "t3"}))
    driver.batch("dev-a", "m", {"u": "uint"}, [(NOW, 2**64 - 1)])
    head = driver.commit()
    driver.wait_moved("two", head)
    driver.wait_moved("three", head)
    asked = {path: headers for _, path, headers, _ in fake.requests}
    two = asked["/api/v2/write?precision=ns&org=my%20org&bucket=b%26c"]
    three = asked["/api/v3/write_lp?precision=nanosecond&db=d"]
    assert two["Authorization"] == "Token t0ken=="
    assert three["Authorization"] == "Bearer t3"
    assert {body for *_, body in fake.requests} == {f"m,host=dev-a u={2**64 - 1}u {NOW}\n".encode()}


def test_retry_after_is_obeyed(world, fake):
    times = []

    def decide(path, body):
        times.append(time.monotonic())
        return (429, {"Retry-After": "2"}, "slow down") if len(times) == 1 else (204, {}, "")
    fake.decide = decide
    driver = driver_for(world, fake)
    driver.wait_moved("main", fill(driver, 0, 10))
    assert 1.9 < times[1] - times[0] < 20  # of itself it tries again within 0.4 s; its clock counts whole ms


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_overload_is_retried_with_the_same_points(world, fake, status):
    fake.answers = [(status, {}, "busy")] * 3
    driver = driver_for(world, fake)
    driver.wait_moved("main", fill(driver, 0, 10))
    bodies = [body for *_, body in fake.requests]
    assert len(bodies) == 4 and len(set(bodies)) == 1
    assert driver.letters() == []


@pytest.mark.parametrize("status", [401, 403, 404, 405, 302])
def test_what_somebody_has_to_mend_is_held_and_said_once(world, fake, status):
    fake.answers = [(status, {}, json.dumps({"message": "no"}))] * 3
    driver = driver_for(world, fake)
    driver.wait_moved("main", fill(driver, 0, 10))
    assert len(fake.requests) == 4
    assert len(driver.proc.lines(f'event=sink_held .*err="{status} no .check')) == 1
    assert len(driver.proc.lines("event=sink_recovered")) == 1


def test_line_numbers_of_version_3_name_the_poison(world, fake):
    def decide(path, body):
        bad = [n for n, line in enumerate(body.decode().splitlines(), 1) if "n=7i" in line]
        if not bad:
            return 204, {}, ""
        data = [{"line_number": n, "error_message": "invalid column type", "original_line": "x"}
                for n in bad]
        return 400, {}, json.dumps({"error": "partial write of line protocol occurred", "data": data})
    fake.decide = decide
    driver = SinkDriver(world, ("main", "influx", {"url": fake.url, "version": 3, "database": "d"}))
    driver.wait_moved("main", fill(driver, 0, 100))
    assert len(fake.requests) == 2
    letters = driver.letters("main")
    assert [letter["line"].split()[1] for letter in letters] == ["n=7i"]
    assert letters[0]["reason"] == "400 invalid column type"


def test_a_batch_refused_whole_is_bisected_to_its_poison(world, fake):
    def decide(path, body):
        if "n=77i" in body.decode():
            return 422, {}, json.dumps({"code": "unprocessable entity", "message": "no"})
        return 204, {}, ""
    fake.decide = decide
    driver = SinkDriver(world, ("main", "influx", {"url": fake.url, "version": 2, "bucket": "b"}))
    driver.wait_moved("main", fill(driver, 0, 500))
    assert [letter["line"].split()[1] for letter in driver.letters("main")] == ["n=77i"]
    assert len(fake.requests) <= 19
    taken = [line for *_, body in fake.requests for line in body.decode().splitlines()]
    assert {line.split()[1] for line in taken} == {f"n={n}i" for n in range(500)}


def test_a_server_that_is_no_database_does_not_swallow_the_data(world, fake):
    fake.decide = lambda path, body: (400, {}, "<html>Bad Request</html>")
    driver = driver_for(world, fake, hold_retry="1h")
    fill(driver, 0, 500)
    driver.wait_state("main", "held")
    assert len(driver.letters("main")) <= 40
    assert driver.status("main")["position"] == 0


def test_connections_are_kept(world, fake):
    driver = driver_for(world, fake, max_batches=1)
    connections = set()
    original = fake.server.get_request

    def get_request():
        sock, address = original()
        connections.add(address)
        return sock, address
    fake.server.get_request = get_request
    driver.wait_moved("main", fill(driver, 0, 20000))
    assert len(fake.requests) == 40
    assert len(connections) == 1


def test_wrong_configurations_are_refused_with_the_key(world, fake):
    wrong = [({"url": "localhost:8086", "database": "d"}, r"sinks\.main\.url"),
             ({"url": fake.url}, r"sinks\.main\.database"),
             ({"url": fake.url, "version": 2, "database": "d"}, r"sinks\.main\.bucket"),
             ({"url": fake.url, "database": "d", "tags": "no space=x"}, r"sinks\.main\.tags")]
    for n, (keys, expected) in enumerate(wrong):
        done = world.run([bin_path("sink_driver"), f"folder={world.folder}/{n}", "sink=main:influx",
                          *(f"sinks.main.{key}={value}" for key, value in keys.items())], check=False)
        assert done.returncode == 1
        assert re.search(expected, done.stderr), done.stderr
