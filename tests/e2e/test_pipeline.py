"""The main job on real parts: the agent of this machine, mosquitto with certificates and exact rules,
the bridge, InfluxDB, VictoriaMetrics and files at once. What is in the databases is what the
collectors said: value for value, timestamp for timestamp."""

import pytest

from runnel_test import ROOT, free_port, make_pki, wait_until
from runnel_test.net import accepts
from servers import Victoria
from spine import DB, Spine, as_victoria, items_of_body, victoria_points
from spine.logbook import read_bodies

DEVICE = "this-machine"


class ShippedBroker:
    """mosquitto with packaging/mosquitto as shipped; only paths and ports are put in."""

    def __init__(self, world):
        self.devices = make_pki(world.folder / "devices", "Devices CA")
        self.bridges = make_pki(world.folder / "bridges", "Bridges CA")
        self.device_port, self.bridge_port = free_port(), free_port()
        cert, key = self.devices.server()
        acl = world.folder / "acl"
        acl.write_text((ROOT / "packaging" / "mosquitto" / "acl").read_text())
        acl.chmod(0o600)
        text = (ROOT / "packaging" / "mosquitto" / "runnel.conf").read_text()
        for old, new in [("/etc/mosquitto/runnel.acl", acl),
                         ("/etc/runnel/pki/devices-ca.pem", self.devices.ca),
                         ("/etc/runnel/pki/bridges-ca.pem", self.bridges.ca),
                         ("/etc/runnel/pki/broker.pem", cert), ("/etc/runnel/pki/broker.key", key),
                         ("\nlistener 8883\n", f"\nlistener {self.device_port} 127.0.0.1\n"),
                         ("\nlistener 8884 ", f"\nlistener {self.bridge_port} ")]:
            assert old in text, f"{old} is not in runnel.conf"
            text = text.replace(old, str(new))
        conf = world.folder / "mosquitto.conf"
        conf.write_text(f"user root\nlog_dest stderr\npersistence_location {world.folder}/\n" + text)
        self.proc = world.proc("mosquitto", ["mosquitto", "-c", conf])
        wait_until(lambda: accepts(self.device_port) and accepts(self.bridge_port), 10,
                   lambda: f"mosquitto accepts connections:\n{self.proc.tail()}")

    def credentials(self, user):
        """(url, authority of the broker's certificate, certificate, key): bridges have a listener and an
        authority of their own."""
        port, pki = (self.bridge_port, self.bridges) if user[0].isupper() else (self.device_port, self.devices)
        return f"mqtts://127.0.0.1:{port}", self.devices.ca, *pki.client(user)


def assert_victoria_has(expected, victoria):
    wanted = as_victoria(expected, DB)
    wait_until(lambda: wanted.keys() <= victoria_points(victoria).keys(), 20,  # it shows nothing at once
               lambda: f"all to be there: lacks {sorted(wanted.keys() - victoria_points(victoria).keys())[:5]}", step=0.5)
    found = victoria_points(victoria)
    assert found.keys() == wanted.keys(), f"foreign: {sorted(found.keys() - wanted.keys())[:5]}"
    for key, values in found.items():
        # It keeps decimal mantissas of a whole block: integers over 2^53 and the last bit suffer.
        assert all(abs(value - wanted[key]) <= 1e-12 * abs(wanted[key]) for value in values), key


def test_the_databases_hold_what_the_collectors_said(world):
    victoria = Victoria(world)
    spine = Spine(world, influx=True, broker=ShippedBroker(world),
                  sinks={"victoria": {"type": "influx", "url": victoria.url, "database": DB, "settle": "1s"}})
    spine.run(DEVICE, {"step": "500ms", "batch.interval": "1s"})
    spine.simulate(1)
    spine.wait_online()
    spine.wait_live()
    spine.let_pass(2000)
    spine.bridge.pause()  # the buffers fill: what they hold is read by a decoder of our own as well
    spine.let_pass(2000)
    for agents in spine.agents:
        agents.stop()
    spine.bridge.resume()
    assert spine.truth.decoded >= 2000
    spine.settle()
    spine.assert_nothing_is_lost()
    measurements = {key[0] for key in spine.truth.values}
    assert {"cpu", "mem", "swap", "disk", "net", "system", "processes", "kernel", "runnel_agent"} <= measurements
    types = {value[0] for value in spine.truth.values.values()}
    assert {"float", "int"} <= types
    assert len(spine.truth.values) > 2000
    assert_victoria_has(spine.truth.values, victoria)


def encodings_in_the_log(spine):
    return {items_of_body(body)[3] for body in read_bodies(spine.bridge_folder)}


@pytest.mark.parametrize("encoding", [0, 1, 2])
def test_every_value_comes_through_each_encoding(world, encoding):
    spine = Spine(world, influx=True, agent={"batch.encodings": f"[{encoding}]"})
    spine.run(DEVICE, {"batch.interval": "2s"})
    spine.simulate(2)
    spine.wait_online()
    spine.wait_live()
    spine.bridge.pause()
    spine.let_pass(1000)
    for agents in spine.agents:
        agents.stop()  # what the buffers hold is read by a decoder of our own as well
    spine.bridge.resume()
    assert spine.truth.decoded > 0
    spine.settle()
    spine.assert_nothing_is_lost()
    assert encodings_in_the_log(spine) == {encoding}
