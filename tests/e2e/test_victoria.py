"""The influx sink against real VictoriaMetrics, which acknowledges before it has stored.

It keeps about 12 significant digits, so exact values are compared in test_influx.py.
"""

import time

from runnel_test import wait_until
from servers import SinkDriver, Victoria

MS = 1_000_000
NOW = int(time.time()) * 1000 * MS


def driver_for(world, victoria, **options):
    return SinkDriver(world, ("main", "influx", {"url": victoria.url, "database": "d", **options}))


def fill(driver, first, count):
    for start in range(first, first + count, 500):
        rows = [(NOW - 3600_000 * MS + n * 10 * MS, n)
                for n in range(start, min(start + 500, first + count))]
        driver.batch("dev-a", "load", {"n": "int"}, rows)
    return driver.commit()


def numbers(victoria):
    series = victoria.export('{__name__="load_n"}')
    assert all(dict(tags) == {"db": "d", "host": "dev-a"} for _, tags in series)
    return [(ms, n) for values in series.values() for ms, n in values]


def all_once(victoria, count):
    """Waits until exactly the first `count` numbers are there, each once."""
    def difference():
        got, wanted = numbers(victoria), expected(count)
        missing, extra = sorted(set(wanted) - set(got)), sorted(set(got) - set(wanted))
        return f"{len(got)} of {len(wanted)}; missing {len(missing)}: {missing[:3]}..{missing[-3:]}, " \
            f"extra {len(extra)}: {extra[:5]}"
    wait_until(lambda: numbers(victoria) == expected(count), 20, difference)


def expected(count):
    first = NOW // MS - 3600_000
    return [(first + n * 10, n) for n in range(count)]


def test_every_sample_arrives_at_its_time(world):
    victoria = Victoria(world)
    driver = driver_for(world, victoria, settle="1s")
    driver.wait_moved("main", fill(driver, 0, 3000))
    all_once(victoria, 3000)
    driver.batch("dev-a", "mixed", {"i": "int", "f": "float", "b": "bool"},
                 [(NOW, -2**53, 0.3125, True), (NOW + MS, 7, -0.5, False)], where="a b,c=d")
    driver.wait_moved("main", driver.commit())
    key = (("db", "d"), ("host", "dev-a"), ("where", "a b,c=d"))
    at = NOW // MS
    wait_until(lambda: victoria.export('{__name__=~"mixed_.*"}') == {
        ("mixed_i", key): [(at, -2**53), (at + 1, 7)],
        ("mixed_f", key): [(at, 0.3125), (at + 1, -0.5)],
        ("mixed_b", key): [(at, 1), (at + 1, 0)]}, 20, "the mixed samples")
    assert driver.letters() == []


def test_the_cursor_waits_until_the_data_has_settled(world):
    victoria = Victoria(world)
    driver = driver_for(world, victoria, settle="3s")
    began = time.monotonic()
    head = fill(driver, 0, 100)
    driver.wait_moved("main", head)
    assert time.monotonic() - began >= 3


def test_influxdb_is_not_taken_for_it(world):
    from servers import Influx
    influx = Influx(world)
    influx.create("d")
    driver = driver_for(world, influx, settle="10m")
    driver.wait_moved("main", fill(driver, 0, 10), 10)


def test_kill_9_loses_nothing_that_was_acknowledged(world, long):
    """It forgets what it said 204 to; the sink notices the restart and writes it again."""
    victoria = Victoria(world)
    driver = driver_for(world, victoria)  # 15 s: killed after 8 s it still forgets, after 10 s no longer
    rounds, written, head = (6 if long else 2), 0, 0
    for _ in range(rounds):
        head = fill(driver, written, 1000)
        written += 1000
        wait_until(lambda: driver.status("main")["samples"] >= written, 20, "the write")
        victoria.kill()
        victoria.start()
    # Nothing is written any more: only the check before the cursor moves can notice.
    driver.wait_moved("main", head, 60)
    assert driver.status("main")["rewinds"] >= 1
    all_once(victoria, written)


def test_a_database_that_is_down_is_retried_from_what_had_settled(world):
    victoria = Victoria(world)
    driver = driver_for(world, victoria)  # 15 s: killed after 8 s it still forgets, after 10 s no longer
    driver.wait_moved("main", fill(driver, 0, 500))
    fill(driver, 500, 500)
    wait_until(lambda: driver.status("main")["samples"] >= 1000, 20, "the write")
    victoria.kill()
    head = fill(driver, 1000, 500)
    driver.wait_state("main", "retrying")
    victoria.start()
    driver.wait_moved("main", head, 60)
    all_once(victoria, 1500)
