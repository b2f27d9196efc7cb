"""A buffer that was restored from an old copy, and two agents from one copy: names of batches are
taken twice then, and still no sample may be lost or merged in silence."""

import shutil
from collections import Counter

import pytest

from runnel_test import wait_until
from spine import Spine, StateLog, Truth, file_points, read_buffer, read_install

DEVICE = "sim001"


def stop_with_backlog(spine, agents):
    """Stopped with batches that were sent, perhaps, and not acknowledged: the bridge does not hear."""
    spine.bridge.pause()
    spine.let_pass(60)
    agents.stop()
    assert agents.pending() > 0


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_buffer_restored_from_an_old_copy_loses_nothing(world, how):
    spine = Spine(world, influx=True)
    agents = spine.simulate(1)
    folder, copy = world.folder / "sim", world.folder / "copy"
    spine.wait_online()
    spine.let_pass(60)
    stop_with_backlog(spine, agents)
    shutil.copytree(folder, copy)
    agents.start()
    spine.bridge.resume()
    spine.let_pass(120)
    spine.wait_live()
    getattr(agents, how)()
    after = read_buffer(folder / DEVICE, DEVICE)
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    # What was still pending in the buffer that is gone was lost with it: put it aside.
    gone = dict(after.points())
    agents.start()
    spine.let_pass(120)
    spine.wait_live()
    spine.settle()
    there = dict(file_points(world.folder, "lines"))
    spine.truth.values = {key: value for key, value in spine.truth.values.items()
                          if key in there or key not in gone}
    spine.assert_everything_arrived(repeats=True)
    assert f"{after.install:016x}" != spine.device(DEVICE)["install"]


def test_two_agents_from_one_copy_are_named_and_lose_nothing(world):
    spine = Spine(world, bridge={"liveness.duplicate_clear": "2s"})
    one = spine.simulate(1, name="one")
    spine.wait_online()
    spine.let_pass(60)
    stop_with_backlog(spine, one)
    common = read_buffer(world.folder / "one" / DEVICE, DEVICE).points()
    shutil.copytree(world.folder / "one", world.folder / "two")
    spine.bridge.resume()
    states = StateLog(spine, DEVICE)
    one.start()
    # Values of its own: copies that begin at the same tick would make one and the same batch.
    two = spine.simulate(1, name="two", options={"collect.sim.seed": "99"})
    two.truth = Truth()
    two.truth.add(DEVICE, common)
    states.wait("duplicate", 30)

    def installs():  # each may renew its own while they find out
        return {f"{read_install(agents.folders[DEVICE]):016x}" for agents in (one, two)}

    def pair():
        shown = spine.device(DEVICE) or {}
        return shown.get("duplicate") and {shown["install"], shown["duplicate"]["other_install"]}
    wait_until(lambda: len(installs()) == 2 and pair() == installs(), 20,
               lambda: f"the pair {installs()} to be named: {pair()}")
    spine.bridge.wait_log("event=device_duplicate device=sim001 .*other_install=")
    spine.let_pass(200)
    two.stop()
    spine.agents.remove(two)
    wait_until(lambda: spine.states().get(DEVICE) == "online", 20, lambda: f"one alone: {states.seen()}")
    spine.settle()
    one.stop()
    two.start(collecting=False)
    wait_until(lambda: two.pending() == 0, 30, lambda: f"two drained: {two.ledgers()}")
    wait_until(lambda: (b := spine.behind()) and not any(b.values()), 30, "cursors at the head")
    found = Counter(file_points(world.folder, "lines"))
    expected = Counter([*one.truth.values.items(), *two.truth.values.items()])
    both = Counter(common)
    assert not expected - both - found, "not everything arrived"
    assert not set(found) - set(expected), "something came from nowhere"
    assert not found - expected - both, "something arrived more often than it was sent"
