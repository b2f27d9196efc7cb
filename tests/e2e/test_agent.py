"""runnel-agent against a real broker and a model of the bridge that shares no code with ours."""

import hashlib
import io
import json
import shutil
import signal
import time

import cbor2
import pytest

from runnel_test import bin_path, device_user, free_port, wait_until
from spine import items_of_body, points_of_body, read_ledger

TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class ModelBridge:
    """Answers one device as docs/PROTOCOL.md says; `run` serves until a condition holds."""

    def __init__(self, world, broker, dev="dev1"):
        self.peer, self.broker = world.peer(broker, f"Bridge{id(self)}"), broker
        self.dev, self.log_id = dev, 4711
        self.log, self.births, self.statuses = {}, {}, []
        self.bindings, self.objects, self.tags = {}, {}, {}
        self.max_seq, self.samples = {}, 0
        self.durable, self.hello, self.acks = True, True, True
        self.plain_only, self.refused = False, []  # refuses encodings above 0
        self.refused_kinds = []  # of each refused batch: references or its encoding
        self.no_refs = False  # refuses hints and bases
        self.loses_key = lambda key: False
        self.duplicates = self.conflicts = 0
        self.needed = []  # kind of each object that was lacked, each time
        self.taken, self.max_epoch, self.ahead = 0, 0, 0
        self.peer.subscribe("rn/u/#", "rn/s/#")

    def _say(self, install, **parts):
        names = {"hello": 4, "received": 5, "durable": 6, "refused": 7, "need": 8, "conflict": 9}
        message = {1: install & 0xFFFFFFFF, 2: self.log_id, 3: int(time.time() * 1000)}
        message.update({names[k]: v for k, v in parts.items()})
        topic = self.down
        self.peer.client.publish(topic, cbor2.dumps(message, canonical=True), 0)

    def _status(self, status):
        self.statuses.append(status)
        if status[1] != 1:
            return
        install, epoch = status[2], status[3]
        self.births.setdefault(install, []).append(status)
        self.tags[install & 0xFFFFFFFF] = install
        if self.hello:
            hello = {1: install, 2: epoch, 4: max(epoch + self.ahead, self.max_epoch)}
            if self.max_seq.get(install):
                hello[3] = self.max_seq[install]
            self._say(install, hello=hello)

    def _key(self, key):
        if self.loses_key(key):
            return
        install, kind, number, name = key[1], key[2], key[3], key[4]
        assert self.bindings.setdefault((install, kind, number), name) == name, "bound to another object"
        if 5 in key:
            assert hashlib.sha256(key[5]).digest() == name
            self.objects[name] = key[5]
        elif name not in self.objects and kind > 1:
            self._say(install, need=[[kind, number, True]])

    def _object(self, install, kind, number):
        return self.objects.get(self.bindings.get((install, kind, number)))

    def points(self, install, body):
        """Of a batch that is in the log."""
        schema, *_, ext = items_of_body(body)
        named = {(kind, ext[key]): self._object(install, kind, ext[key])
                 for key, kind in ((1, 3), (2, 2)) if key in ext}
        return points_of_body(cbor2.loads(self._object(install, 1, schema)), body, self.dev, named)

    def _batch(self, payload):
        stream = io.BytesIO(payload)
        assert stream.read(1) == b"\x89"
        decoder = cbor2.CBORDecoder(stream)
        tag, seq, _low = decoder.decode(), decoder.decode(), decoder.decode()
        body = payload[stream.tell():]
        install = self.tags.get(tag)
        if install is None:
            return
        schema, _, _, encoding, _, ext = items_of_body(body)
        if not (self.no_refs and ext) and not (self.plain_only and encoding):
            names = [(1, schema), *((kind, ext[key]) for key, kind in ((1, 3), (2, 2)) if key in ext)]
            lacks = [[kind, number, (install, kind, number) in self.bindings]
                     for kind, number in names if self._object(install, kind, number) is None]
            if lacks:
                self.needed += [kind for kind, _, _ in lacks]
                self._say(install, need=lacks)
                return
        else:
            self.refused.append((install, seq))
            self.refused_kinds.append("references" if ext else encoding)
            self._say(install, refused=[[seq, 1, 3]])
            return
        old = self.log.get((install, seq))
        if old is not None and old != body:
            self.conflicts += 1
            self._say(install, conflict=[[seq, 1]])
            return
        self.duplicates += old is not None
        self.log[install, seq] = body
        self.max_seq[install] = max(self.max_seq.get(install, 0), seq)
        if not self.acks:
            return
        if self.durable:
            crc = crc32c(crc32c(body).to_bytes(4, "big"))
            self._say(install, durable=[[seq, 1, crc]])
        else:
            self._say(install, received=[[seq, 1]])

    def _take(self, message):
        kind, _shard, dev = message.topic.split("/")[1:4]
        if dev != self.dev or message.retain and kind == "u":
            return
        self.down = f"rn/d/{_shard}/{dev}/a"
        if kind == "s":
            self._status(cbor2.loads(message.payload))
        elif message.topic.endswith("/k"):
            self._key(cbor2.loads(message.payload))
        elif message.topic.endswith("/m"):
            self._batch(message.payload)

    def step(self):
        messages = self.peer.messages()
        for message in messages[self.taken:]:
            self._take(message)
        self.taken = len(messages)

    def run(self, condition, timeout=20, what="the condition"):
        def served():
            self.step()
            return condition()
        return wait_until(served, timeout, what)

    def stop(self, agent):
        """SIGTERM; serves the agent until it has ended, and takes all that it had sent."""
        agent.proc.signal(signal.SIGTERM)
        self.run(lambda: not agent.proc.running(), what="the agent ends")
        assert agent.proc.wait() == 0

        def closed():  # which the broker says when it has read everything
            said = self.broker.proc.lines(rf"\b{device_user(self.dev)}\b")
            return not said or "New client connected" not in said[-1]
        wait_until(closed, what="the broker knows")
        end, have = "rn/u/00/nobody/end", len(self.peer.messages())
        self.peer.publish(end)
        self.run(lambda: any(m.topic == end for m in self.peer.messages()[have:]), what="all that was sent")

    def wipe(self):
        self.log_id += 1
        self.log, self.bindings, self.objects, self.max_seq = {}, {}, {}, {}


class Agent:
    def __init__(self, world, url, name="agent", dev="dev1", data=None, sets=(), tee=None):
        self.world, self.data = world, data or world.folder / name
        self.options = ["--config", "/dev/null", "--data", str(self.data), "--device", dev]
        for option in (f"mqtt.addresses={url}", "step=200ms", "batch.interval=400ms",
                       "journal.interval=200ms", "uplink.ack_timeout_min=300ms",
                       "uplink.ack_by=300ms", "uplink.ack_timeout_max=2s",
                       "uplink.hello_timeout=500ms", "mqtt.first_reconnect=100ms",
                       "mqtt.backoff_min=100ms", "mqtt.backoff_max=500ms", *sets):
            self.options += ["--set", option]
        told = ["--tee", tee] if tee else []
        self.proc = world.program("runnel-agent", "run", *self.options, *told, log=name)

    def status(self):
        line = self.world.run([bin_path("runnel-agent"), "status", *self.options]).stdout
        return {k: v for k, v in (field.split("=", 1) for field in line.split())}

    def pending(self):
        return int(self.status()["pending"])

    def settled(self):
        """A condition: all that is in the buffer now is acknowledged for good, while load goes on."""
        goal = int(self.status()["next"])
        return lambda: int(self.status()["oldest"]) >= goal


def drained(agent):
    status = agent.status()
    total = sum(int(status[k]) for k in
                ("delivered", "pending", "evicted", "thinned", "refused", "lost"))
    assert int(status["produced"]) == total
    return status


def live_and_stop(world, broker, dev):
    """Once from the start to SIGTERM: (the last status, numbers of the batches that arrived)"""
    bridge = ModelBridge(world, broker, dev)
    agent = Agent(world, broker.url, name=dev, dev=dev,
                  sets=["uplink.ack_timeout_min=1m", "uplink.ack_timeout_max=5m"])
    bridge.run(lambda: len(bridge.log) >= 5)
    birth = bridge.statuses[0]
    assert birth[1] == 1 and birth[4] == 1 and birth[13] == "start"
    bridge.stop(agent)
    assert bridge.duplicates == 0 and bridge.conflicts == 0
    return bridge.statuses[-1], sorted(seq for _, seq in bridge.log)


def test_delivers_everything_in_order_and_stops_gracefully(world):
    """Once in four lives at least: it takes less than two seconds to stop, and what a machine that stands
    still meanwhile keeps it from saying is left to the next start."""
    broker, lives = world.broker(), []
    for number in range(4):
        stop, seqs = live_and_stop(world, broker, f"dev{number}")
        lives.append((stop, seqs))
        if stop[1] == 2 and seqs == list(range(1, len(seqs) + 1)):
            break
    else:
        raise AssertionError(lives)
    ledger = stop[11]
    assert stop[13] == "SIGTERM" and ledger[1] == ledger.get(2, 0) + ledger.get(3, 0)
    assert ledger[1] > 0


def test_an_outage_of_the_broker_loses_nothing(world):
    broker = world.broker()
    relay = world.relay(broker.port)
    bridge = ModelBridge(world, broker)
    agent = Agent(world, f"mqtt://127.0.0.1:{relay.port}")
    bridge.run(lambda: len(bridge.log) >= 3)
    relay.down()
    broker.kill()
    wait_until(lambda: int(agent.status()["batches"]) >= 6, 20)
    broker.start()
    again = ModelBridge(world, broker)  # before the agent comes: of its statuses the broker keeps the last only
    relay.up()
    again.log, again.max_seq = bridge.log, bridge.max_seq
    again.bindings, again.objects = bridge.bindings, bridge.objects
    goal = int(agent.status()["next"])
    again.run(lambda: all(any(seq == n for _, seq in again.log) for n in range(1, goal)))
    birth = next(status for status in again.statuses if status[1] == 1)
    assert birth[4] == 1 and birth[13].startswith("reconnect") and again.conflicts == 0


def test_a_killed_agent_goes_on_with_what_it_had(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker)
    bridge.acks = False
    agent = Agent(world, broker.url)
    bridge.run(lambda: bridge.log and int(agent.status()["batches"]) >= 3)
    agent.proc.kill()
    before = drained(agent)
    bridge.acks = True
    agent.proc.start()
    goal = int(before["next"])
    bridge.run(lambda: all(any(seq == n for _, seq in bridge.log) for n in range(1, goal)))
    bridge.run(lambda: int(agent.status()["delivered"]) >= int(before["produced"]))
    assert bridge.conflicts == 0 and len(bridge.births) == 1
    epochs = [status[3] for status in bridge.statuses if status[1] == 1]
    assert epochs == sorted(epochs) and epochs[-1] > epochs[0]
    drained(agent)


def test_received_deletes_nothing_and_a_wiped_log_gets_it_all_again(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker)
    bridge.durable = False
    agent = Agent(world, broker.url)
    bridge.run(lambda: len(bridge.log) >= 5)
    assert drained(agent)["delivered"] == "0"
    seen = max(seq for _, seq in bridge.log)
    bridge.wipe()
    bridge.durable = True
    bridge.run(lambda: all(any(seq == n for _, seq in bridge.log) for n in range(1, seen)))
    bridge.run(lambda: int(agent.status()["delivered"]) > 0)
    assert bridge.conflicts == 0


def test_a_restored_buffer_gets_a_new_install_and_merges_nothing(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker)
    agent = Agent(world, broker.url)
    bridge.run(lambda: len(bridge.log) >= 3)
    agent.proc.kill()
    copy = world.folder / "copy"
    shutil.copytree(agent.data, copy)
    following = int(agent.status()["next"])
    agent.proc.start()
    bridge.run(lambda: any(seq > following for _, seq in bridge.log))  # no copy can know of that
    agent.proc.kill()
    shutil.rmtree(agent.data)
    shutil.copytree(copy, agent.data)
    agent.proc.start()
    bridge.run(lambda: len(bridge.births) == 2 and len({i for i, _ in bridge.log}) == 2)
    assert bridge.conflicts == 0
    agent.proc.wait_log("event=install_renewed")


def test_a_refused_encoding_is_encoded_anew_and_no_sample_is_lost_or_counted_twice(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker)
    bridge.plain_only, bridge.hello = True, False
    agent = Agent(world, broker.url)
    bridge.run(lambda: len(bridge.statuses) >= 3)
    bridge.run(lambda: agent.pending() > 1500)  # a backlog, packed before anybody refused it
    bridge.hello = True
    for _ in range(3):  # with a base, without one, in another encoding: under new numbers each time
        bridge.run(agent.settled(), 60, "the backlog is settled")
    assert len(set(bridge.refused)) >= 3
    # An encoding may be tried for the first time at any later batch, but none twice: after the first
    # settling the agent knows of these, after the second no batch is left that was packed before.
    known = set(bridge.refused_kinds)
    for _ in range(2):
        bridge.run(agent.settled(), 60, "settled, and no batch is left from before")
    have, mark = len(bridge.log), len(bridge.refused_kinds)
    bridge.run(lambda: len(bridge.log) >= have + 3)
    again = known & set(bridge.refused_kinds[mark:])
    assert not again, f"an encoding that was refused is used again: {again}"
    broker.kill()
    broker.start()
    before, bridge = bridge, ModelBridge(world, broker)
    bridge.plain_only, bridge.log, bridge.max_seq = True, before.log, before.max_seq
    bridge.bindings, bridge.objects = before.bindings, before.objects
    bridge.run(lambda: bridge.refused, what="tried again on the next connection")
    bridge.run(agent.settled(), 60, "settled again")
    bridge.stop(agent)
    status = drained(agent)
    assert status["refused"] == status["lost"] == status["evicted"] == "0"
    assert bridge.conflicts == 0 and not set(bridge.refused) & set(bridge.log)
    samples = [point for (install, _), body in bridge.log.items() for point in bridge.points(install, body)]
    # The answer to the last ones may have come too late.
    assert int(status["delivered"]) <= len(samples) == len(dict(samples)) <= int(status["produced"])
    agent.proc.wait_log("event=encoding_refused")


def test_an_unknown_schema_is_sent_on_need(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker)
    Agent(world, broker.url)
    bridge.run(lambda: len(bridge.log) >= 2)
    assert 1 in bridge.needed and len(bridge.objects) >= 1


def test_no_data_without_a_hello_and_the_birth_is_repeated(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker)
    bridge.hello = False
    Agent(world, broker.url)
    bridge.run(lambda: len(bridge.statuses) >= 3)
    assert not bridge.peer.messages("rn/u/") or all(
        not m.topic.endswith("/m") for m in bridge.peer.messages())
    bridge.hello = True
    bridge.run(lambda: bridge.log)


def test_a_higher_epoch_at_the_bridge_lifts_ours(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker)
    bridge.max_epoch = 1000
    Agent(world, broker.url)
    bridge.run(lambda: bridge.log)
    assert max(status[3] for status in bridge.statuses if status[1] == 1) > 1000


def test_an_epoch_that_would_use_up_the_numbers_is_not_taken_over(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker)
    bridge.max_epoch = 2**63 - 70
    agent = Agent(world, broker.url)
    bridge.run(lambda: bridge.log)
    assert bridge.statuses[-1][3] < 1000
    assert agent.proc.log().count("event=epoch_refused") == 1


def test_a_bridge_that_always_knows_a_higher_epoch_does_not_make_the_agent_connect_for_ever(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker)
    bridge.ahead = 1
    agent = Agent(world, broker.url)
    bridge.run(lambda: len(bridge.log) >= 2)
    assert agent.proc.log().count("event=connected") == 2


def test_the_keepalive_is_learned_where_idle_connections_are_forgotten(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker)
    relay = world.relay(broker.port)
    relay.forget = 4
    sets = ["batch.interval=5s", "mqtt.connect_timeout=1s", "mqtt.keepalive_min=1s"]
    agent = Agent(world, f"mqtt://127.0.0.1:{relay.port}", sets=sets)
    bridge.run(lambda: "event=keepalive_learned" in agent.proc.log(), 90)
    lost = agent.proc.log().count("event=disconnected")
    assert lost >= 3
    # Pings keep it in mind: else each batch, every 5 s, would find it forgotten. Connections may be lost
    # to a machine that stands still for as long as the network remembers.
    since, have = time.monotonic(), len(bridge.log)

    def lasts():
        nonlocal lost, since, have
        if agent.proc.log().count("event=disconnected") > lost:
            lost, since, have = agent.proc.log().count("event=disconnected"), time.monotonic(), len(bridge.log)
        return time.monotonic() - since >= 21 and len(bridge.log) >= have + 4
    bridge.run(lasts, 60, "a connection that lasts for four batches")


def test_a_silent_link_is_left_long_before_the_keepalive(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker)
    relay = world.relay(broker.port)
    agent = Agent(world, f"mqtt://127.0.0.1:{relay.port}", sets=["mqtt.connect_timeout=2s"])
    bridge.run(lambda: len(bridge.log) >= 2)
    relay.silent()
    agent.proc.wait_log("event=disconnected.*silent", 20)
    relay.pass_()
    have = len(bridge.log)
    bridge.run(lambda: len(bridge.log) > have + 3)
    assert bridge.conflicts == 0


def test_sighup_changes_the_period_and_a_broken_file_changes_nothing(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker)
    config = world.folder / "agent.yaml"
    config.write_text("collect:\n  cpu: {period: 200ms}\n")
    agent = Agent(world, broker.url)
    agent.options[1] = str(config)
    agent.proc.terminate()
    agent.proc = world.program("runnel-agent", "run", *agent.options, log="second")
    bridge.run(lambda: bridge.log)
    config.write_text("collect:\n  cpu: {enabled: false}\n")
    agent.proc.signal(signal.SIGHUP)
    agent.proc.wait_log("event=config_reloaded")
    config.write_text("collect:\n  nonsense: 1\n")
    agent.proc.signal(signal.SIGHUP)
    agent.proc.wait_log("event=config_rejected")
    have = len(bridge.log)
    bridge.run(lambda: len(bridge.log) > have + 1)


def test_a_disk_that_refuses_is_told_and_data_flows_from_memory(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker)
    agent = Agent(world, broker.url, data="/proc/nowhere")
    agent.proc.wait_log("event=buffer_in_memory")
    bridge.run(lambda: len(bridge.log) >= 3)
    assert len(agent.proc.lines("event=buffer_in_memory")) == 1


def test_two_agents_do_not_share_a_folder(world):
    broker = world.broker()
    agent = Agent(world, broker.url)
    agent.proc.wait_log("event=connected")
    second = world.program("runnel-agent", "run", *agent.options, log="second")
    assert second.wait() == 4
    assert "another agent uses the folder" in second.log()


def test_simulated_devices_have_their_own_buffers(world):
    broker = world.broker()
    bridge = ModelBridge(world, broker, dev="sim002")
    world.program("runnel-agent", "simulate", "--devices", "3", "--config", "/dev/null",
                  "--data", world.folder / "sim", "--set", f"mqtt.addresses={broker.url}",
                  "--set", "step=200ms", "--set", "batch.interval=400ms")
    bridge.run(lambda: len(bridge.log) >= 3)
    for number in (1, 2, 3):
        wait_until(lambda: read_ledger(world.folder / "sim" / f"sim00{number}")["produced"] > 0)


def test_collect_once_prints_in_every_form(world):
    base = [bin_path("runnel-agent"), "collect", "--once", "--config", "/dev/null", "--device", "d"]
    lines = world.run([*base, "--line-protocol"]).stdout.splitlines()
    assert any(line.startswith("mem,host=d ") for line in lines)
    assert any(line.startswith("cpu,cpu=cpu-total,host=d ") for line in lines)
    points = [json.loads(line) for line in world.run([*base, "--json"]).stdout.splitlines()]
    assert {"mem", "cpu", "system"} <= {point["measurement"] for point in points}


@pytest.mark.parametrize("sets, words", [
    (["step=10"], "step"),
    (["nonsense=1"], "nonsense"),
    (["device=Not Allowed"], "device"),
    (["step=10s", "collect.cpu.period=15s"], "collect.cpu.period"),
])
def test_a_wrong_configuration_says_the_key_and_exits_with_3(world, sets, words):
    command = [bin_path("runnel-agent"), "check", "--config", "/dev/null"]
    for option in sets:
        command += ["--set", option]
    done = world.run(command, check=False)
    assert done.returncode == 3 and words in done.stderr


def test_check_connect_says_whether_the_broker_is_there(world):
    broker = world.broker()
    base = [bin_path("runnel-agent"), "check", "--connect", "--config", "/dev/null", "--set"]
    assert world.run([*base, f"mqtt.addresses={broker.url}"]).returncode == 0
    nowhere = f"mqtt.addresses=mqtt://127.0.0.1:{free_port()}"
    assert world.run([*base, nowhere], check=False).returncode == 5
