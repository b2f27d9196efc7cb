"""Batches that name hints and a base: the agent makes them, the bridge asks for what it lacks, and
whatever is lost on the way every value arrives as the collectors said it. The ModelBridge decodes with
the codec in tests/vectors, which is not Runnel's own."""

import random
import signal
import sqlite3

from runnel_test import wait_until
from spine import Spine, items_of_body
from spine.books import Truth, assert_same
from test_agent import Agent, ModelBridge, drained

# Two ticks a batch: a base pays within a few seconds.
SHORT = ["step=100ms", "batch.interval=200ms"]


def refers(body):
    return bool(items_of_body(body)[5])


def wait_referring(bridge, more=10):
    have = sum(map(refers, bridge.log.values()))
    bridge.run(lambda: sum(map(refers, bridge.log.values())) >= have + more, 60, "batches that name a base")


def end(agent, bridge, truth, tee):
    """Everything that was committed is in the log, once and with its value."""
    agent.proc.signal(signal.SIGTERM)
    bridge.run(lambda: not agent.proc.running(), 10)
    truth.read_tee(tee)
    agent.proc.start()
    bridge.run(agent.settled(), 60, "what was left is settled")
    agent.proc.signal(signal.SIGTERM)
    bridge.run(lambda: not agent.proc.running() and bridge.statuses[-1][1] == 2, 10)
    truth.read_tee(tee)
    status = drained(agent)
    assert status["refused"] == status["lost"] == status["evicted"] == "0" and bridge.conflicts == 0
    return status


def points_in(bridge, log):
    points = [point for (install, _), body in log.items() for point in bridge.points(install, body)]
    assert len(points) == len(dict(points)), "a value came twice"
    return dict(points)


def assert_arrived(truth, found, status):
    """found may lack what is still pending."""
    assert len(truth.values) == int(status["produced"])
    assert len(found) >= int(status["delivered"])
    assert_same({key: value for key, value in truth.values.items() if key in found}, found, "the log")


def test_hints_and_a_base_are_learnt_and_survive_a_kill(world):
    broker = world.broker()
    bridge, truth, tee = ModelBridge(world, broker), Truth(), world.folder / "tee"
    agent = Agent(world, broker.url, sets=SHORT, tee=tee)
    wait_referring(bridge)
    needs = bridge.needs
    wait_referring(bridge)
    assert bridge.needs == needs, "objects are sent unasked"
    bases = {kind: {number for _, k, number in bridge.bindings if k == kind} for kind in (2, 3)}
    assert len(bases[3]) >= 1 and len(bases[2]) >= 1
    agent.proc.kill()
    objects = len(bridge.objects)
    agent.proc.start()
    last = max(seq for _, seq in bridge.log)
    bridge.run(lambda: any(seq > last + 1 and refers(body) for (_, seq), body in bridge.log.items()))
    assert len(bridge.objects) <= objects + 1, "after a restart the buffer's own are used"
    samples = points_in(bridge, bridge.log)
    status = drained(agent)
    assert len(samples) >= int(status["delivered"])


def test_lost_key_messages_and_a_wiped_log_are_asked_for(world):
    broker = world.broker()
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rand = random.Random(seed)
    bridge, truth, tee = ModelBridge(world, broker), Truth(), world.folder / "tee"
    bridge.loses_key = lambda key: rand.random() < 0.5
    agent = Agent(world, broker.url, sets=SHORT, tee=tee)
    wait_referring(bridge)
    found = points_in(bridge, bridge.log)
    bridge.wipe()
    wait_referring(bridge)
    again = points_in(bridge, bridge.log)
    assert all(found.get(key, value) == value for key, value in again.items())
    found.update(again)
    bridge.objects = {name: content for name, content in bridge.objects.items() if rand.random() < 0.5}
    bridge.bindings = {key: name for key, name in bridge.bindings.items() if name in bridge.objects}
    bridge.max_seq = {install: max(seq for _, seq in bridge.log) for install in bridge.max_seq}
    bridge.log = {}
    wait_referring(bridge)
    bridge.loses_key = lambda key: False
    status = end(agent, bridge, truth, tee)
    assert bridge.needs >= 3
    found.update(points_in(bridge, bridge.log))
    assert_arrived(truth, found, status)


def test_a_bridge_that_knows_neither_gets_batches_without(world):
    broker = world.broker()
    bridge, truth, tee = ModelBridge(world, broker), Truth(), world.folder / "tee"
    bridge.no_refs = True
    agent = Agent(world, broker.url, sets=SHORT, tee=tee)
    bridge.run(lambda: bridge.refused, 60, "a batch that names a base was refused")
    last = max(seq for _, seq in bridge.log)
    bridge.run(lambda: sum(seq > last for _, seq in bridge.log) >= 10)
    refused = len(set(bridge.refused))
    bridge.run(lambda: len(bridge.log) >= last + 20)
    assert len(set(bridge.refused)) == refused, "named again on the same connection"
    encodings = [items_of_body(body)[3] for (_, seq), body in bridge.log.items() if seq > last + 3]
    assert encodings and 2 in encodings, "the encoding itself was not refused"
    status = end(agent, bridge, truth, tee)
    assert_arrived(truth, points_in(bridge, bridge.log), status)
    agent.proc.wait_log("event=encoding_refused.*refs=1")


def named_in_the_log(spine):
    """How many rows of the bridge's log name hints, and how many a base."""
    found = [0, 0]
    for path in (spine.bridge_folder / "log").glob("[0-9]*.db"):
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        for body, in db.execute("SELECT body FROM batch"):
            ext = items_of_body(body)[5]
            found = [found[0] + (2 in ext), found[1] + (1 in ext)]
        db.close()
    return found


def wait_named(spine, count=5):
    have = named_in_the_log(spine)
    wait_until(lambda: all(now >= before + count for now, before in zip(named_in_the_log(spine), have)), 60,
               lambda: f"{count} more than {have} batches name them: {named_in_the_log(spine)}", step=0.3)


def test_on_real_parts_nothing_is_lost_when_the_bridge_forgets_and_the_agent_is_killed(world):
    spine = Spine(world)
    agents = spine.run("this-machine", {"step": "100ms", "batch.interval": "200ms"})
    spine.wait_online()
    wait_named(spine)
    agents.kill()
    agents.start()
    wait_named(spine)
    spine.bridge.kill()  # what it has now stays: it decodes what comes after a restart
    spine.let_pass(2000)
    spine.bridge.start()
    wait_named(spine)
    spine.settle()
    spine.assert_nothing_is_lost()


def test_on_real_parts_a_wiped_bridge_is_given_everything_again(world):
    spine = Spine(world)
    agents = spine.run("this-machine", {"step": "100ms", "batch.interval": "200ms"})
    spine.wait_online()
    wait_named(spine)
    spine.bridge.kill()
    spine.let_pass(2000)  # a backlog that names objects of the log that is gone
    agents.kill()
    agents.start()
    spine.restart_bridge(wipe=True)
    spine.wait_online()
    wait_named(spine)
    spine.settle()
    spine.assert_nothing_is_lost(repeats=True)
