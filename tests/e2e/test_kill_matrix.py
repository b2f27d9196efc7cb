"""Broker, bridge, database and agents are killed, stopped and emptied under load: nothing that was
committed is lost, nothing is there twice, nothing comes from nowhere, and the live line returns."""

import random
import signal
import time

import pytest

from runnel_test import wait_until
from spine import DB, Spine, assert_same, influx_points, read_buffer
from spine.logbook import read_log


class Part:
    """One part of the spine under one set of verbs."""

    def __init__(self, spine, name, what):
        self.spine, self.name, self.what, self.state = spine, name, what, "up"

    def kill(self):
        self.what.kill()
        self.state = "down"

    def stop(self):
        self.what.pause()
        self.state = "stopped"

    def heal(self):
        if self.state == "down":
            self.what.start()
        elif self.state == "stopped":
            self.what.resume()
        self.state = "up"


def under_load(world, ack_after):
    """ack_after: what makes a batch durable: "log", or the database, "influx"."""
    made = Spine(world, influx=True, bridge={"ack_after": ack_after})
    made.simulate(6)
    # Long batches whose open part is journaled often: a kill finds something in the journal.
    made.simulate(4, prefix="jnl", options={"batch.interval": "2s", "journal.interval": "200ms"})
    # Many large numbers in short batches: a base pays within seconds, hints soon after.
    others = set(made.collectors()) - {"cpu", "mem", "kernel"}
    made.run("host", {"step": "100ms", "batch.interval": "200ms",
                      **{f"collect.{name}.enabled": "false" for name in others}})
    made.wait_online()
    made.let_pass(200)
    return made


def parts_of(spine):
    return [Part(spine, "broker", spine.broker), Part(spine, "bridge", spine.bridge),
            Part(spine, "influx", spine.influx)] + [Part(spine, made.name, made) for made in spine.agents]


def part_of(spine, name):
    return next(part for part in parts_of(spine) if part.name == name)


@pytest.mark.parametrize("name", ["broker", "bridge", "influx", "sim", "jnl", "host"])
def test_one_part_is_killed_and_stopped_and_nothing_is_lost(world, name, long):
    spine = under_load(world, "influx")
    part = part_of(spine, name)
    for fault in (part.kill, part.stop):
        fault()
        time.sleep(60 if long else 3.5)  # longer than the broker waits for a ping
        part.heal()
        spine.wait_live()
    for _ in range(3):  # in quick succession, so that it dies while it recovers
        part.kill()
        part.heal()
        spine.let_pass(40)
    spine.wait_live()
    spine.settle()
    spine.assert_nothing_is_lost()


def wait_based(spine, count=5):
    """So many more batches that name a base."""
    begin = max((row.position for row in spine.read_log()), default=0)
    wait_until(lambda: sum(1 in row.ext for row in read_log(spine.bridge_folder, begin)) >= count, 60,
               f"{count} batches with a base behind position {begin}", step=0.3)


def rampage(spine, seed, seconds):
    """Kills, stops and heals in an order and at times that the seed decides."""
    rng = random.Random(seed)
    parts = parts_of(spine)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        part = rng.choice(parts)
        verb = "heal" if part.state != "up" else rng.choice(["kill", "kill", "stop"])
        print(f"{time.monotonic() - end + seconds:6.2f} {verb} {part.name}", flush=True)
        getattr(part, verb)()
        time.sleep(rng.expovariate(1 / 0.7))
    for part in parts:
        part.heal()


@pytest.mark.parametrize("lane", range(2))
def test_any_combination_loses_nothing(world, lane, long, request):
    spine = under_load(world, ["log", "influx"][lane])
    first = request.config.getoption("--seed") + lane
    for seed in range(first, first + 20, 2) if long else [first]:
        print(f"again: /usr/bin/python3 -m pytest tests/e2e/test_kill_matrix.py "
              f"-k 'any_combination and {lane}' --seed {seed - lane}", flush=True)
        wait_based(spine)
        rampage(spine, seed, 30 if long else 15)
        spine.wait_live()
    wait_based(spine)
    spine.settle()
    spine.assert_nothing_is_lost()


@pytest.mark.parametrize("times", [1, 3])
def test_a_wiped_log_loses_nothing_that_the_database_has_to_have(world, times):
    """Durable means stored by InfluxDB here, so nothing may be missing in it, whenever the log goes."""
    spine = Spine(world, influx=True, bridge={"ack_after": "influx"})
    spine.simulate(6)
    spine.wait_online()
    for _ in range(times):
        spine.influx.pause()  # so that the log has what nobody else has
        spine.let_pass(200)
        spine.restart_bridge(wipe=True)
        spine.influx.resume()
        spine.wait_live()
    spine.settle()
    spine.assert_nothing_is_lost(files=False)


def test_a_wiped_log_loses_nothing_that_was_not_durable(world):
    """Durable means logged here: what an agent still has when the log goes arrives again."""
    spine = Spine(world, influx=True, bridge={"ack_after": "log"})
    agents = spine.simulate(6)
    spine.wait_online()
    spine.let_pass(200)
    spine.bridge.pause()  # what is sent from here on is not acknowledged
    spine.let_pass(200)
    agents.kill()
    kept = [point for device, folder in agents.folders.items()
            for point in read_buffer(folder, device).points()]
    assert kept
    spine.restart_bridge(wipe=True)
    agents.start()
    spine.wait_live()
    spine.settle()
    there = influx_points(spine.influx, DB)
    assert_same(dict(kept), {key: value for key, value in there.items() if key in dict(kept)}, "InfluxDB")
    assert there.items() <= spine.truth.values.items(), "something came from nowhere"


def test_a_database_that_is_down_for_long_delays_its_own_cursor_only(world, long):
    spine = under_load(world, "log")
    spine.influx.kill()
    before = spine.produced()
    spine.let_pass(20000 if long else 1500, 600)
    # The log answers for it meanwhile: the agents keep nothing back, and the other cursors go on.
    spine.wait_settled()
    spine.wait_caught_up("file", "verify")
    wait_until(lambda: (b := spine.behind()) and b["influx"] > 20, 20, lambda: f"influx is down: {spine.behind()}")
    spine.influx.start()
    spine.wait_live()
    spine.wait_caught_up("influx")
    assert spine.produced() >= before + 1500
    spine.settle()
    spine.assert_nothing_is_lost()


def test_an_agent_that_is_stopped_again_and_again_ends_well_each_time(world, long):
    """Paho's threads once crashed a process that ended on a busy machine: one time in 300."""
    spine = Spine(world)
    several = [spine.simulate(1, prefix=f"dev{number}-") for number in range(4)]
    for _ in range(100 if long else 4):
        for agents in several:
            agents.proc.wait_log("event=connected", after=agents.mark)
        for agents in several:
            agents.ask_to_stop()
        for agents in several:
            agents.wait_stopped()
            agents.start()
    spine.let_pass(24)  # lives so short may have committed nothing
    spine.settle()
    spine.assert_nothing_is_lost()


def test_a_tick_is_not_taken_twice_by_a_quick_restart_or_a_reload(world):
    """The database would keep one value of two for the same series and time."""
    spine = Spine(world)
    agents = spine.simulate(3, options={"step": "2s", "batch.interval": "2s"})
    for again in (agents.stop, agents.kill):
        spine.let_pass(24)
        again()
        agents.start()
    spine.let_pass(24)
    agents.proc.signal(signal.SIGHUP)
    agents.proc.wait_log("config_reloaded", count=3)
    spine.let_pass(24)
    spine.settle()
    spine.assert_nothing_is_lost()


SMALL = {"step": "100ms", "batch.interval": "200ms", "buffer.max_bytes": "64k"}


def overflow(spine, agent):
    evicted = agent.ledgers()["small"]["evicted"]
    wait_until(lambda: agent.ledgers()["small"]["evicted"] > evicted + 500, 60,
               lambda: f"eviction: {agent.ledgers()}")


def assert_each_sample_is_in_its_column(spine, agent):
    """Stored means delivered, not stored means evicted, to the sample."""
    spine.wait_live()
    spine.wait_caught_up()
    spine.settle()
    truth, found = spine.truth.values, influx_points(spine.influx, DB)
    assert found.items() <= truth.items(), "something came from nowhere"

    def told():  # of what was evicted the bridge speaks at the next birth at the latest
        ledger = agent.ledgers()["small"]
        assert ledger["produced"] == ledger["delivered"] + ledger["evicted"] == len(truth)
        return (ledger["delivered"], ledger["evicted"]) == (len(found), len(truth) - len(found))
    wait_until(told, 20, lambda: f"{len(found)} of {len(truth)} arrived: {agent.ledgers()}\n{agent.proc.tail()}")
    return truth, found


def test_a_buffer_that_overflows_drops_the_oldest_and_counts_each_sample(world):
    spine = Spine(world, influx=True)
    agent = spine.run("small", SMALL)
    spine.wait_online()
    spine.broker.kill()
    overflow(spine, agent)
    spine.broker.start()
    truth, found = assert_each_sample_is_in_its_column(spine, agent)
    missing = {key[3] for key in truth.keys() - found.keys()}
    # The oldest go first; of those that were under way when the broker died some had arrived.
    between = {key[3] for key in found if min(missing) < key[3] < max(missing)}
    assert len(between) <= 2 * 16, "more than a window of two ticks a batch"


@pytest.mark.parametrize("killed", [False, True], ids=["it goes on", "it is killed"])
@pytest.mark.parametrize("silent", ["bridge", "influx", "influx, then broker"])
def test_what_arrived_and_was_evicted_before_the_answer_counts_as_delivered(world, silent, killed):
    spine = Spine(world, influx=True)
    agent = spine.run("small", SMALL)
    spine.wait_online()
    parts = [getattr(spine, name) for name in silent.split(", then ")]
    parts[0].pause()
    if len(parts) > 1:
        spine.let_pass(600)
        parts[1].pause()
    overflow(spine, agent)
    if killed:
        agent.kill()
        agent.start()
    for part in reversed(parts):
        part.resume()
    assert_each_sample_is_in_its_column(spine, agent)
