"""The bridge by itself against real mosquitto: what it sees of the devices' lives, what troubles it
survives, how it starts and ends.
"""

import os
import signal
import socket
import time

import cbor2
import pytest

from bridge_fixture import DURABLE, RECEIVED, Bridge, Device, canonical, now_tick
from runnel_test import free_port, wait_until


@pytest.fixture
def bridge(world, broker):
    return Bridge(world, broker)


# ---- liveness, end to end -------------------------------------------------------------------------

def test_presence_of_the_bridge_is_shown_and_withdrawn(world, broker, bridge):
    peer = world.peer(broker, "Watcher")
    peer.subscribe("rn/b/Bridge")
    assert peer.wait_message("rn/b/Bridge", where=lambda m: cbor2.loads(m.payload)[1] is True)
    bridge.proc.terminate()
    assert peer.wait_message("rn/b/Bridge", where=lambda m: cbor2.loads(m.payload)[1] is False)


def test_the_will_of_a_killed_bridge_withdraws_its_presence(world, broker, bridge):
    peer = world.peer(broker, "Watcher")
    peer.subscribe("rn/b/Bridge")
    peer.wait_message("rn/b/Bridge", where=lambda m: cbor2.loads(m.payload)[1] is True)
    bridge.proc.kill()
    assert peer.wait_message("rn/b/Bridge", where=lambda m: cbor2.loads(m.payload)[1] is False)


def test_states_follow_the_device(world, broker, bridge):
    device = Device(world, broker, interval_ms=60000)
    device.ready()
    bridge.wait_state("dev1", "online")
    mark = bridge.proc.mark()
    device.peer.publish(device.status_topic, canonical({1: 0, 2: device.install, 3: 1, 4: 0}),
                        retain=True)
    bridge.wait_state("dev1", "offline", mark)
    mark = bridge.proc.mark()
    device.epoch = 2
    device.birth()
    bridge.wait_state("dev1", "online", mark)
    mark = bridge.proc.mark()
    device.status(presence=2)
    bridge.wait_state("dev1", "offline", mark)


def test_a_killed_device_is_offline_after_the_grace(world, broker, bridge):
    relay = world.relay(broker.port)
    device = Device(world, relay.port, with_will=True, interval_ms=60000)
    device.birth()
    bridge.wait_state("dev1", "online")
    relay.cut()
    bridge.wait_state("dev1", "offline reason=will")


def test_a_silent_link_is_late_then_offline_and_ends_with_data(world, broker, bridge):
    """Late after two intervals, offline after three: a bridge that stands still for longer than one of
    them would pass over the first. From 5 s on it knows that it did, and begins to wait anew."""
    relay = world.relay(broker.port)
    device = Device(world, relay.port, interval_ms=6000)
    device.birth()
    bridge.wait_state("dev1", "online")
    relay.silent()
    bridge.wait_state("dev1", "late")
    bridge.wait_state("dev1", "offline reason=silence")
    mark = bridge.proc.mark()
    relay.pass_()
    device.batch(1)
    bridge.wait_state("dev1", "online", mark)


def test_a_takeover_by_the_same_client_id_is_no_flap(world, broker):
    grace = 10  # between the will of one and the birth of the next the machine may stand still
    bridge = Bridge(world, broker, **{"liveness.grace": f"{grace}s"})
    first = Device(world, broker, client_id="same", with_will=True, interval_ms=60000)
    first.birth()
    bridge.wait_state("dev1", "online")
    for epoch in range(2, 6):
        Device(world, broker, client_id="same", with_will=True, epoch=epoch, interval_ms=60000).birth()
    time.sleep(grace + 1)  # what the wills would have done, they have done by now
    assert len(bridge.proc.lines("event=device_state")) == 1


def test_a_stale_retained_online_is_unconfirmed_then_offline(world, broker):
    device = Device(world, broker)
    device.status(interval_ms=1000)
    bridge = Bridge(world, broker)
    bridge.wait_state("dev1", "unconfirmed")
    bridge.wait_state("dev1", "offline")


def test_the_state_survives_a_restart_of_the_bridge(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    device.status(presence=2)
    bridge.wait_state("dev1", "offline")
    mark = bridge.proc.mark()
    bridge.restart()
    bridge.wait_state("dev1", "offline", mark)
    assert not [line for line in bridge.proc.lines("event=device_state") if "unconfirmed" in line]


def test_a_killed_broker_makes_nobody_offline(world, broker, bridge):
    device = Device(world, broker)
    device.status(interval_ms=20000)
    bridge.wait_state("dev1", "online")
    mark = bridge.proc.mark()
    broker.kill()
    bridge.wait_state("dev1", "blind", mark)
    broker.start()
    bridge.wait_connected(after=mark)
    again = Device(world, broker)
    again.epoch = 2
    mark = bridge.proc.mark()
    again.birth()
    bridge.wait_state("dev1", "online", mark)
    assert not bridge.proc.lines("device=dev1 state=offline")


def test_two_agents_with_one_name_are_named(world, broker, bridge):
    one, two = Device(world, broker, "dev1", 111), Device(world, broker, "dev1", 222)
    for epoch in range(1, 5):
        one.epoch = two.epoch = epoch
        one.status()
        two.status()
    line = bridge.proc.wait_log("event=device_duplicate device=dev1 .*").group(0)
    assert f"{111:016x}" in line and f"{222:016x}" in line
    one.epoch = 9
    assert one.birth()[8] is True


# ---- trouble of its own ---------------------------------------------------------------------------

def test_a_paused_bridge_goes_on_where_it_stopped(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    bridge.proc.pause()
    for seq in range(1, 11):
        device.batch(seq, seq - 1)
    bridge.proc.resume()
    device.wait_told(DURABLE, range(1, 11))


def test_a_full_log_holds_the_devices_and_goes_on_when_there_is_room(world, broker):
    sink_port = free_port()
    bridge = Bridge(world, broker, **{"log.segment_bytes": "64k", "log.cursor_bytes": "128k",
                                      "log.history_bytes": "0", "hold": "200ms",
                                      "sinks.db.type": "influx", "ack_after": "db",
                                      "sinks.db.database": "runnel",
                                      "sinks.db.url": f"http://127.0.0.1:{sink_port}"})
    device = Device(world, broker)
    device.ready()
    filler = canonical([None, b"\x03", [10 ** 18 - i * 10 ** 14 for i in range(2 * 200)]])

    def send(seq):
        content = b"".join(canonical(p) for p in (1, now_tick() - 2000, 200, 0)) + filler + b"\xa0"
        device.batch(seq, seq - 1, content)

    def held():
        return [ack for ack in device.acks(11) if 0 < ack[11] <= 200]

    seq = 0
    while not held():
        assert seq < 5000, "the log never filled"
        for _ in range(10):
            seq += 1
            send(seq)
        wait_until(lambda: held() or seq in device.told(RECEIVED), 30, lambda: f"an answer {seq} {sorted(device.told(RECEIVED))[-3:]} {device.acks()[-3:]}")
    bridge.proc.wait_log("event=log_full")
    stored = len(bridge.rows())
    server = http_sink(world, sink_port)
    wait_until(lambda: bridge.proc.lines("event=log_has_room"), 60, "room again")
    device.peer.clear()
    send(seq + 1)
    device.wait_told(DURABLE, {seq + 1}, timeout=30)
    assert stored > 10
    server.shutdown()


def http_sink(world, port):
    """An InfluxDB that takes everything."""
    import http.server
    import threading

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_a_damaged_segment_is_put_aside_and_named(world, broker, bridge):
    device = Device(world, broker)
    device.ready()
    for seq in range(1, 101):
        device.batch(seq, seq - 1)
    device.wait_told(DURABLE, range(1, 101))
    bridge.proc.terminate()
    path = next((bridge.data / "log").glob("*.db"))
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(os.urandom(4096))
    mark = bridge.proc.mark()
    bridge.proc.start()
    bridge.proc.wait_log("event=log_segment_damaged", after=mark)
    bridge.wait_connected(after=mark)
    assert list((bridge.data / "log").glob("*.damaged"))
    device.peer.clear()
    device.batch(101, 100)
    device.wait_told(DURABLE, {101})


def test_two_bridges_do_not_share_a_folder(world, broker, bridge):
    second = world.program("runnel-bridge", "run", "--set", f"data={bridge.data}", "--set",
                           f"mqtt.addresses=mqtt://127.0.0.1:{broker.port}", log="second")
    assert second.wait() == 4
    assert "another bridge uses the data folder" in second.log()


def test_sigterm_ends_within_two_seconds_also_without_a_broker(world):
    """The least of up to five counts: the machine may be busy."""
    seconds = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        while len(seconds) < 5 and min(seconds, default=3) >= 3:
            bridge = world.program("runnel-bridge", "run", "--set", f"data={world.folder}/b", "--set",
                                   f"mqtt.addresses=mqtt://127.0.0.1:{silent.getsockname()[1]}",
                                   "--set", "http.listen=", log=f"bridge{len(seconds)}")
            bridge.wait_log("event=bridge_started")
            begin = time.monotonic()
            bridge.signal(signal.SIGTERM)
            assert bridge.wait() == 0
            seconds.append(time.monotonic() - begin)
    assert min(seconds) < 3, seconds


def test_systemd_is_told_about_readiness_and_life(world, broker):
    path = world.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(40)
        bridge = world.program("runnel-bridge", "run", "--set", f"data={world.folder}/b", "--set",
                               f"mqtt.addresses=mqtt://127.0.0.1:{broker.port}", "--set",
                               "http.listen=",
                               env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": 1000000})
        assert notify.recv(100) == b"READY=1"
        assert notify.recv(100) == b"WATCHDOG=1"
        bridge.signal(signal.SIGTERM)
        while notify.recv(100) != b"STOPPING=1":
            pass
        assert bridge.wait() == 0


@pytest.mark.parametrize("arguments, status, words", [
    (["check", "--set", "nonsense=1"], 3, "nonsense"),
    (["check", "--set", "ack_after=db"], 3, "ack_after"),
    (["check", "--set", "sinks.x.type=oracle"], 3, "expected one of"),
    (["check", "--set", "name=lower"], 3, "name: expected"),
    (["check", "-c", "/does/not/exist.yaml"], 3, "exist.yaml"),
    (["fly"], 2, "no such command"),
    (["run", "--fast"], 2, "unknown option"),
    (["check", "--connect", "--set", "mqtt.addresses=mqtt://127.0.0.1:1"], 5, "cannot connect"),
])
def test_what_is_wrong_is_said_with_an_exit_status(world, arguments, status, words):
    from runnel_test import bin_path
    done = world.run([bin_path("runnel-bridge"), *arguments], check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert words in done.stdout + done.stderr
