"""packaging/mosquitto as shipped, in a stock mosquitto: only paths and ports are put in."""

import contextlib
import re

import pytest

from runnel_test import ROOT, device_user, free_port, make_pki, wait_until
from runnel_test.net import accepts

NOT_AUTHORIZED, NOBODY_SUBSCRIBED = 0x87, 0x10


class Shipped:
    """The broker of packaging/mosquitto with two authorities, as its comments ask for."""

    def __init__(self, world):
        self.world = world
        self.devices = make_pki(world.folder / "devices", "Devices CA")
        self.bridges = make_pki(world.folder / "bridges", "Bridges CA")
        self.device_port, self.bridge_port = free_port(), free_port()
        self.write_config()
        self.proc = world.proc("mosquitto", ["mosquitto", "-c", world.folder / "mosquitto.conf"])
        wait_until(lambda: accepts(self.device_port) and accepts(self.bridge_port), 10,
                   lambda: f"mosquitto accepts connections:\n{self.proc.tail()}")

    def write_config(self):
        folder = self.world.folder
        acl = folder / "acl"
        acl.write_text((ROOT / "packaging" / "mosquitto" / "acl").read_text())
        acl.chmod(0o600)
        cert, key = self.devices.server()
        text = (ROOT / "packaging" / "mosquitto" / "runnel.conf").read_text()
        for old, new in [("/etc/mosquitto/runnel.acl", acl),
                         ("/etc/runnel/pki/devices-ca.pem", self.devices.ca),
                         ("/etc/runnel/pki/bridges-ca.pem", self.bridges.ca),
                         ("/etc/runnel/pki/broker.pem", cert), ("/etc/runnel/pki/broker.key", key),
                         ("\nlistener 8883\n", f"\nlistener {self.device_port} 127.0.0.1\n"),
                         ("\nlistener 8884 ", f"\nlistener {self.bridge_port} ")]:
            assert old in text, f"{old} is not in runnel.conf"
            text = text.replace(old, str(new))
        (folder / "mosquitto.conf").write_text(
            f"user root\nlog_dest stderr\npersistence_location {folder}/\n" + text)

    def peer(self, pki, name, port, client_id="any"):
        cert, key = pki.client(name)
        return self.world.peer(port, client_id, tls=(self.devices.ca, cert, key))

    def device(self, dev, client_id="any"):
        return self.peer(self.devices, device_user(dev), self.device_port, client_id)

    def bridge(self, name="Bridge"):
        return self.peer(self.bridges, name, self.bridge_port, name)


@pytest.fixture
def shipped(world):
    return Shipped(world)


def code_of_publish(peer, topic, payload="x", retain=False):
    """The reason code of the PUBACK, read from the bytes that came in."""
    codes, client = [], peer.client
    original = client._handle_pubackcomp

    def spy(command):
        packet = bytes(client._in_packet["packet"])
        codes.append(packet[2] if len(packet) > 2 else 0)
        return original(command)
    client._handle_pubackcomp = spy
    peer.publish(topic, payload, qos=1, retain=retain)
    client._handle_pubackcomp = original
    return codes[-1]


def test_a_device_publishes_its_data_and_the_bridge_reads_it(shipped):
    bridge, device = shipped.bridge(), shipped.device("dev1")
    user = device_user("dev1")
    bridge.subscribe("rn/u/#", "rn/s/#")
    topics = [f"rn/u/{user}/{kind}" for kind in "mleikr"] + [f"rn/s/{user}"]
    for topic in topics:
        assert code_of_publish(device, topic) == 0
    for topic in topics:
        bridge.wait_message(topic)


def test_a_device_reads_what_is_meant_for_it_and_nothing_else(shipped):
    bridge, one, two = shipped.bridge(), shipped.device("dev1"), shipped.device("dev2")
    for device in (one, two):
        device.subscribe("#", "rn/#", "rn/d/+/+/+", f"rn/d/{device_user('dev1')}/a",
                         f"rn/d/{device_user('dev2')}/a")
    for kind in "acq":
        for dev in ("dev1", "dev2"):
            bridge.publish(f"rn/d/{device_user(dev)}/{kind}", dev)
    bridge.publish("rn/b/Bridge", "here", retain=True)
    for device, name in ((one, b"dev1"), (two, b"dev2")):
        device.wait_message("rn/b/Bridge")
        device.wait_message(count=5)
        assert {m.payload for m in device.messages("rn/d/")} == {name}
        assert not device.messages("rn/u/") and not device.messages("rn/s/")


def test_a_device_cannot_publish_as_another_nor_to_an_odd_topic(shipped):
    bridge, device = shipped.bridge(), shipped.device("dev1")
    bridge.subscribe("#")
    mine, other = device_user("dev1"), device_user("dev2")
    odd = [f"rn/u/{other}/m", f"rn/s/{other}", f"rn/d/{other}/a", f"rn/d/{mine}/a", f"rn/d/{mine}/c",
           "rn/b/Bridge", f"rn/u/{mine}", f"rn/u/{mine}/", f"rn/u/{mine}/x", f"rn/u/{mine}/m/",
           f"rn/u/{mine}/m/../../{other}/m", f"rn/u/{mine}/../{other}/m", f"rn/u//{mine}/m",
           f"/rn/u/{mine}/m", f"RN/u/{mine}/m", f"rn/s/{mine}/m", "rn/u/dev1/m", "any/thing",
           f"rn/u/{mine}/mm"]
    for topic in odd:
        assert code_of_publish(device, topic, retain=True) == NOT_AUTHORIZED, topic
    assert code_of_publish(device, f"rn/u/{mine}/m") == 0
    bridge.wait_message(f"rn/u/{mine}/m")
    assert [m.topic for m in bridge.messages("rn/")] == [f"rn/u/{mine}/m"]


def test_the_certificate_decides_the_client_id(shipped):
    victim = shipped.device("dev2")
    thief = shipped.device("dev1", client_id=device_user("dev2"))
    for device, dev in ((thief, "dev1"), (victim, "dev2")):
        assert code_of_publish(device, f"rn/u/{device_user(dev)}/m") in (0, NOBODY_SUBSCRIBED)
    names = re.findall(r"as (\S+) \(p5", shipped.proc.log())
    assert names == [device_user("dev2"), device_user("dev1")]
    assert "already connected" not in shipped.proc.log()


def test_a_device_certificate_is_worth_nothing_on_the_bridges_listener(shipped):
    with pytest.raises(OSError):
        shipped.peer(shipped.devices, device_user("dev1"), shipped.bridge_port, device_user("dev2"))
    with pytest.raises(OSError):
        shipped.peer(shipped.bridges, "Bridge", shipped.device_port)
    with pytest.raises(OSError):
        shipped.world.peer(shipped.device_port, tls=(shipped.devices.ca, None, None))


def test_a_message_over_the_limit_ends_the_session_of_its_sender_alone(shipped):
    bridge, big, other = shipped.bridge(), shipped.device("dev1"), shipped.device("dev2")
    bridge.subscribe("rn/u/#")
    with contextlib.suppress(OSError):  # the broker may hang up in the midst of it
        big.client.publish(f"rn/u/{device_user('dev1')}/m", b"x" * 300000, 1)
    shipped.proc.wait_log(f"Client {device_user('dev1')} disconnected|{device_user('dev1')}.*too large")
    assert code_of_publish(other, f"rn/u/{device_user('dev2')}/m") == 0
    bridge.wait_message(f"rn/u/{device_user('dev2')}/m")
    assert not bridge.messages(f"rn/u/{device_user('dev1')}/m")
