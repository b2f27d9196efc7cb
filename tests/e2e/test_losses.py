"""Batches, key messages and acknowledgements are lost, repeated and overtaken on the way, bridges change
and logs are wiped: every batch that arrives is decoded or asked for again, and none is durable undecoded.
What the logs hold is decoded by the codec in tests/vectors, which is not Runnel's own.

`--seed N` repeats the choices of the network in the middle; times are the machine's.
"""

import random
from collections import Counter

import pytest

from runnel_test import World, wait_until
from spine import Spine
from spine.logbook import read_log

# Two ticks a batch: a base pays within a few seconds.
SHORT = {"step": "100ms", "batch.interval": "200ms"}
KIND_OF = {"m": "batches", "k": "key messages", "a": "acknowledgements"}


class Place:
    """A broker with its bridge and log. Both places of a test write to one database."""

    def __init__(self, spine):
        self.spine, self.begin = spine, 0
        self.port = spine.broker.port

    def rows(self):
        """Those that came since the last move."""
        return list(read_log(self.spine.bridge_folder, self.begin))

    def arrive(self):
        self.begin = max((row.position for row in self.rows()), default=self.begin)

    def wait_based(self, count=8, timeout=90):
        """The agent is here, and its batches name a base."""
        wait_until(lambda: sum(1 in row.ext for row in self.rows()) >= count, timeout,
                   lambda: f"{count} batches with a base: {Counter(tuple(row.ext) for row in self.rows())}",
                   step=0.5)


def two_places(world):
    first = Spine(world, influx=True, bridge={"ack_after": "influx"})
    (world.folder / "other").mkdir()
    elsewhere = world.own(World(world.folder / "other", world.pki))
    second = Spine(elsewhere, bridge={"ack_after": "influx"}, sinks={"influx": first.sinks["influx"]})
    return Place(first), Place(second)


def hurt(network):
    """How many of each sort did not simply pass."""
    return {name: sum(network.counts[fate, sort] for fate in ("lost", "held", "repeated"))
            for sort, name in KIND_OF.items()}


def mangle_enough(network, again):
    """Of each sort so many did not simply pass that it counts. Key messages are few: `again` makes some."""
    for _ in range(12):
        if min(hurt(network).values()) >= 2:
            break
        again()
    print("network:", dict(network.counts))
    assert min(hurt(network).values()) >= 2, hurt(network)


def settle(spine, network):
    network.honest = True
    spine.settle()


@pytest.mark.parametrize("ack_after", ["log", "influx"])
def test_messages_lost_repeated_and_overtaken_lose_and_double_nothing(world, ack_after, request, long):
    seed = request.config.getoption("--seed") or random.randrange(1 << 31)
    print(f"again: /usr/bin/python3 -m pytest tests/e2e/test_losses.py -k 'overtaken and {ack_after}' --seed={seed}")
    spine = Spine(world, influx=True, bridge={"ack_after": ack_after})
    network = world.mangler(spine.broker.port, seed)
    agent = spine.run("this-machine", SHORT, via=f"mqtt://127.0.0.1:{network.port}")
    place, rand = Place(spine), random.Random(seed)
    place.wait_based()
    faults = {"agent": lambda: (agent.kill(), agent.start()), "bridge": spine.restart_bridge,
              "connection": network.cut}

    def go_through(name):
        print("fault:", name)
        place.arrive()
        faults[name]()
        spine.let_pass(3000)
        place.wait_based()
    for _ in range(40 if long else 5):
        go_through(rand.choice(list(faults)))
    mangle_enough(network, lambda: go_through("agent"))
    settle(spine, network)
    assert not agent.proc.lines("event=install_renewed"), "nobody uses a copy of this buffer"
    spine.assert_nothing_is_lost()


def test_a_device_moves_to_an_empty_bridge_and_back_and_loses_nothing(world):
    """Nothing is repeated on the way, so each log asks for what it lacks and no more."""
    here, there = two_places(world)
    network = world.mangler(here.port, 0, loses=0, holds=0, repeats=0)
    agent = here.spine.run("this-machine", SHORT, via=f"mqtt://127.0.0.1:{network.port}")
    here.wait_based()
    for place in (there, here, there):
        place.arrive()
        network.target_port = place.port
        network.cut()
        place.wait_based()
    agent.kill()  # in the other bridge's time it forgets whom it told what
    agent.start()
    here.arrive()
    network.target_port = here.port
    network.cut()
    here.wait_based()
    here.spine.settle()
    there.spine.settle()
    here.spine.assert_books_balance()
    here.spine.wiped = True
    here.spine.assert_everything_arrived(files=False)
    there.spine.truth = here.spine.truth
    there.spine.assert_log_is_true(whole=False)


def test_whatever_is_lost_wiped_and_changed_all_is_decoded_or_asked_for_again(world, request, long):
    seed = request.config.getoption("--seed") or random.randrange(1 << 31)
    print(f"again: /usr/bin/python3 -m pytest tests/e2e/test_losses.py -k whatever --seed={seed}")
    places = two_places(world)
    network, rand = world.mangler(places[0].port, seed), random.Random(seed)
    spine = places[0].spine
    agent = spine.run("this-machine", SHORT, via=f"mqtt://127.0.0.1:{network.port}")
    place = places[0]
    place.wait_based()

    def wipe():
        place.spine.restart_bridge(wipe=True)
        place.begin = 0

    def move():
        nonlocal place
        place = places[1 - places.index(place)]
        network.target_port = place.port
        network.cut()

    def wipe_and_move():
        wipe()
        move()

    faults = [wipe, move, wipe_and_move, place.spine.restart_bridge, network.cut,
              lambda: (agent.kill(), agent.start())]

    def go_through(fault):
        print("fault:", fault.__name__)
        for each in places:
            each.arrive()
        fault()
        spine.let_pass(3000)
        place.wait_based()
    for turn in range(40 if long else 6):
        go_through(rand.choice(faults) if turn >= 2 else faults[turn])
    mangle_enough(network, lambda: go_through(wipe))
    settle(spine, network)
    for other in places:
        other.spine.settle()
    spine.assert_books_balance()
    spine.wiped = True
    spine.assert_everything_arrived(repeats=True, files=False)
    places[1].spine.truth = spine.truth
    places[1].spine.assert_log_is_true(whole=False, repeats=True)
