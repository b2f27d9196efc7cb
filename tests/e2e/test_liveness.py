"""What the bridge shows of a device, the whole sequence of it: right each time, and no flap."""

import time

import pytest

from runnel_test import device_user, wait_until
from spine import Spine, StateLog

GRACE = 1.5
# Slow enough that a program that stands still for some seconds is not taken for a dead one: a device is late
# 11 s after its last batch, offline after 16 s, and who does not answer a ping is given time, too.
INTERVAL = 5
SLOW = {"step": "500ms", "batch.interval": f"{INTERVAL}s", "mqtt.keepalive": "60s"}
PATIENT_GRACE = 10
SILENCE = 3 * INTERVAL  # seconds after which a device that could have sent is offline


def slow_spine(world, grace):
    return Spine(world, bridge={"liveness.grace": f"{int(grace * 1000)}ms", "mqtt.keepalive": "60s"}, agent=SLOW)


@pytest.fixture
def spine(world):
    return slow_spine(world, GRACE)


@pytest.fixture
def patient(world):
    """With time enough to come back within the grace on a busy machine."""
    return slow_spine(world, PATIENT_GRACE)


def fleet_of(spine, count):
    """(agents, [states of each device]), all online."""
    mark = spine.bridge.mark()
    agents = spine.simulate(count)
    fleet = [StateLog(spine, device, mark) for device in agents.devices]
    for states in fleet:
        states.wait("online")
    return agents, fleet


def device_of(spine, prefix="dev", via=None):
    """An agent of one device, online; (agents, its states from here on)."""
    mark = spine.bridge.mark()
    agents = spine.simulate(1, prefix=prefix, via=via)
    states = StateLog(spine, agents.devices[0], mark)
    states.wait("online")
    return agents, states


def test_killed_is_offline_by_will_after_the_grace_and_back_with_its_return(spine):
    agents, states = device_of(spine)
    begin = time.monotonic()
    agents.kill()
    states.wait("offline(will)")
    assert GRACE - 0.1 <= time.monotonic() - begin
    agents.start()
    states.wait("online")
    assert states.seen() == ["online", "offline(will)", "online"]


def test_a_return_within_the_grace_is_not_shown_at_all(patient):
    spine = patient
    agents, states = device_of(spine)
    epoch = spine.device(states.device)["epoch"]
    agents.kill()
    agents.start()
    wait_until(lambda: spine.device(states.device)["epoch"] > epoch, 10, "a new epoch")
    spine.wait_live()
    time.sleep(PATIENT_GRACE + 0.5)  # what the old will would have done, it has done by now
    assert states.seen() == ["online"]


def test_stopped_is_offline_at_once(world):
    spine = slow_spine(world, 60)
    agents, states = device_of(spine)
    agents.stop()
    states.wait("offline(stopped)", 3)
    agents.start()
    states.wait("online")
    assert states.seen() == ["online", "offline(stopped)", "online"]


def test_a_silent_link_is_late_then_offline_by_silence_then_back(spine):
    relay = spine.world.relay(spine.broker.port)
    agents, states = device_of(spine, via=f"mqtt://127.0.0.1:{relay.port}")
    relay.silent()
    states.wait("offline(silence)")
    relay.pass_()
    states.wait("online")
    spine.wait_live()
    assert states.seen() == ["online", "late", "offline(silence)", "online"]


def test_takeover_by_the_same_id_and_return_is_not_shown(patient):
    spine = patient
    agents, states = device_of(spine)
    epoch = spine.device(states.device)["epoch"]
    thief = spine.world.peer(spine.broker, device_user(states.device))
    wait_until(lambda: thief.closed, 10, "the agent takes its place back")
    wait_until(lambda: spine.device(states.device)["epoch"] > epoch, 10, "a new epoch")
    time.sleep(PATIENT_GRACE + 0.5)
    spine.wait_live()
    assert states.seen() == ["online"]


def test_takeover_that_lasts_is_offline_by_will(spine):
    relay = spine.world.relay(spine.broker.port)
    agents, states = device_of(spine, via=f"mqtt://127.0.0.1:{relay.port}")
    relay.silent()
    spine.world.peer(spine.broker, device_user(states.device))
    states.wait("offline(will)")
    relay.cut()
    relay.pass_()
    states.wait("online")
    assert states.seen()[-2:] == ["offline(will)", "online"]
    assert set(states.seen()[:-2]) <= {"online", "late"}


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_without_its_broker_the_fleet_is_blind_and_back_without_a_flap(patient, how):
    spine = patient
    _, fleet = fleet_of(spine, 10)
    getattr(spine.broker, how)()  # stop: the broker publishes everybody's will
    for states in fleet:
        states.wait("blind(broker)")
    time.sleep(SILENCE + 1.5)  # longer than a will's grace and than silence would take
    spine.broker.start()
    for states in fleet:
        states.wait("online", 20)
    spine.wait_live()
    for states in fleet:  # who was back before the bridge is known by what the broker retained at first
        seen = [state for state in states.seen() if state != "unconfirmed"]
        assert seen == ["online", "blind(broker)", "online"], states.device


def test_a_broker_that_hangs_does_not_make_devices_offline(world):
    spine = Spine(world, bridge={"liveness.grace": f"{PATIENT_GRACE}s"},
                  agent={**SLOW, "mqtt.keepalive": "2s"})  # the bridge's is as short
    _, fleet = fleet_of(spine, 10)
    spine.broker.pause()
    for states in fleet:
        states.wait("blind(broker)", 20)
    spine.broker.resume()
    spine.wait_online()
    spine.wait_live()
    for states in fleet:
        # Unconfirmed: who was back before the bridge.
        assert set(states.seen()) <= {"online", "late", "blind(broker)", "unconfirmed"}, states.device


@pytest.mark.parametrize("wipe", [False, True])
def test_a_stale_retained_online_is_unconfirmed_then_offline(spine, wipe):
    relay = spine.world.relay(spine.broker.port)
    dead, dead_states = device_of(spine, prefix="dead", via=f"mqtt://127.0.0.1:{relay.port}")
    alive, alive_states = device_of(spine, prefix="alive")
    relay.silent()  # the broker will not hear that it dies
    dead.kill()
    spine.bridge.kill()
    for states in (dead_states, alive_states):
        states.from_here()
    spine.restart_bridge(wipe)
    dead_states.wait("offline(silence)")
    alive_states.wait("online")
    spine.agents.remove(dead)
    spine.wait_live()
    assert [s for s in dead_states.seen() if s != "blind(bridge)"] == ["unconfirmed", "offline(silence)"]
    assert [s for s in alive_states.seen() if s not in ("unconfirmed", "blind(bridge)")] == ["online"]


@pytest.mark.parametrize("keepalive", ["2s", "60s"])
def test_a_bridge_that_was_stopped_for_a_while_shows_no_flap(world, keepalive):
    """With the short one the broker gives it up meanwhile."""
    spine = Spine(world, bridge={"mqtt.keepalive": keepalive, "liveness.grace": f"{PATIENT_GRACE}s"}, agent=SLOW)
    _, fleet = fleet_of(spine, 5)
    spine.bridge.pause()
    time.sleep(SILENCE + 1.5)
    spine.bridge.resume()
    spine.wait_live()
    for states in fleet:
        assert not [s for s in states.seen() if s.startswith("offline")], states.seen()
    spine.wait_online()
