"""Batches that name hints and a base: the agent makes them, the bridge asks for what it lacks, and
whatever is lost on the way every value arrives as the collectors said it. The ModelBridge decodes with
the codec in tests/vectors, which is not Runnel's own."""

import random

from runnel_test import wait_until
from spine import Spine, items_of_body
from spine.books import Truth, assert_same
from spine.logbook import read_bodies
from test_agent import Agent, ModelBridge, drained

# Two ticks a batch: a base pays within a few seconds.
SHORT = ["step=100ms", "batch.interval=200ms"]


HINTS, BASE = 2, 3  # kinds of objects
KEY_OF = {HINTS: 2, BASE: 1}  # where a batch names one


def refers(body):
    return bool(items_of_body(body)[5])


def named(bridge, install, body):
    """Hashes of the hints and the base that a batch names."""
    ext = items_of_body(body)[5]
    return {bridge.bindings[install, kind, ext[key]] for kind, key in KEY_OF.items() if key in ext}


def wait_referring(bridge, more=10):
    have = sum(map(refers, bridge.log.values()))
    bridge.run(lambda: sum(map(refers, bridge.log.values())) >= have + more, 60, "batches that name a base")


def end(agent, bridge, truth, tee):
    """Everything that was committed is in the log, once and with its value."""
    bridge.stop(agent)
    truth.read_tee(tee)
    mark = agent.proc.mark()
    agent.proc.start()
    agent.proc.wait_log("event=agent_started", after=mark)
    bridge.run(agent.settled(), 60, "what was left is settled")
    bridge.stop(agent)
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
    bridge.run(lambda: {HINTS, BASE} <= {kind for _, kind, _ in bridge.bindings}, 60, "hints and a base")
    wait_referring(bridge)
    assert not {HINTS, BASE} & set(bridge.needed), "objects are sent unasked"
    agent.proc.kill()
    known, following = set(bridge.objects), int(agent.status()["next"])
    agent.proc.start()

    def uses_its_own():
        return any(seq > following and known & named(bridge, install, body)
                   for (install, seq), body in bridge.log.items())
    bridge.run(uses_its_own, 60, "after a restart the buffer's own are used")
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
    assert 1 in bridge.needed
    schemas = {name for (_, kind, _), name in bridge.bindings.items() if kind == 1}
    bridge.objects = {name: content for name, content in bridge.objects.items()
                      if name not in schemas and rand.random() < 0.5}
    bridge.bindings = {key: name for key, name in bridge.bindings.items() if name in bridge.objects}
    bridge.needed = []
    bridge.max_seq = {install: max(seq for _, seq in bridge.log) for install in bridge.max_seq}
    bridge.log = {}
    wait_referring(bridge)
    bridge.loses_key = lambda key: False
    status = end(agent, bridge, truth, tee)
    assert 1 in bridge.needed
    found.update(points_in(bridge, bridge.log))
    assert_arrived(truth, found, status)


def test_a_bridge_that_knows_neither_gets_batches_without(world):
    broker = world.broker()
    bridge, truth, tee = ModelBridge(world, broker), Truth(), world.folder / "tee"
    bridge.no_refs = True
    agent = Agent(world, broker.url, sets=SHORT, tee=tee)
    bridge.run(lambda: bridge.refused, 60, "a batch that names a base was refused")
    for _ in range(2):  # after the first the agent knows, after the second none is left that was packed before
        bridge.run(agent.settled(), 60, "settled")
    refused, last = set(bridge.refused), int(agent.status()["next"])
    bridge.run(lambda: sum(seq > last for _, seq in bridge.log) >= 20)
    assert set(bridge.refused) == refused, "named again on the same connection"
    bridge.run(lambda: any(seq > last and items_of_body(body)[3] == 2 for (_, seq), body in bridge.log.items()),
               what="a batch in the encoding that was not refused")
    status = end(agent, bridge, truth, tee)
    assert_arrived(truth, points_in(bridge, bridge.log), status)
    agent.proc.wait_log("event=encoding_refused.*refs=1")


def named_in_the_log(spine):
    """How many rows of the bridge's log name hints, and how many a base."""
    exts = [items_of_body(body)[5] for body in read_bodies(spine.bridge_folder)]
    return [sum(KEY_OF[kind] in ext for ext in exts) for kind in (HINTS, BASE)]


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
