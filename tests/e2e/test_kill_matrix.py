"""Broker, bridge, database and agents are killed, stopped and emptied under load: nothing that was
committed is lost, nothing is there twice, nothing comes from nowhere, and the live line returns."""

import random
import signal
import time

import pytest

from spine import Spine


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


@pytest.fixture
def spine(world):
    made = Spine(world, influx=True)
    made.simulate(6)
    # Long batches whose open part is journaled often: a kill finds something in the journal.
    made.simulate(4, prefix="jnl", options={"batch.interval": "2s", "journal.interval": "200ms"})
    made.wait_online()
    made.let_pass(200)
    return made


def parts_of(spine):
    return [Part(spine, "broker", spine.broker), Part(spine, "bridge", spine.bridge),
            Part(spine, "influx", spine.influx), Part(spine, "sim", spine.agents[0]),
            Part(spine, "jnl", spine.agents[1])]


def part_of(spine, name):
    return next(part for part in parts_of(spine) if part.name == name)


@pytest.mark.parametrize("name", ["broker", "bridge", "influx", "sim", "jnl"])
def test_one_part_is_killed_and_stopped_and_nothing_is_lost(spine, name, long):
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


@pytest.mark.parametrize("seed", range(2))
def test_any_combination_loses_nothing(spine, seed, long):
    repeat = f"pytest 'tests/e2e/test_kill_matrix.py::test_any_combination_loses_nothing[{seed}]'"
    print(f"seed {seed}; again: {repeat}{' --long' if long else ''}")
    for round_ in range(10 if long else 1):
        rampage(spine, seed + 1000 * round_, 30 if long else 15)
        spine.wait_live()
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
