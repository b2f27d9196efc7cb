"""What the end-to-end tests share: programs, brokers, certificates, relays and independent peers.

A test takes the fixture `world` and asks it for what it needs; everything lives in the test's own
folder, listens on loopback ports of its own and ends with the test, also when the test fails:

    def test_something(world):
        broker = world.broker()
        peer = world.peer(broker)
        agent = world.proc("agent", [bin_path("runnel-agent"), "run"])
        agent.wait_log("event=connected")
"""

from .broker import Broker, device_user, shard
from .gateway import HttpProxy, WebSocketGateway
from .net import free_port
from .peer import Peer
from .pki import Pki, make_pki
from .proc import ROOT, Proc, bin_path
from .relay import Relay
from .wait import wait_until
from .world import World

__all__ = ["Broker", "HttpProxy", "Peer", "Pki", "Proc", "Relay", "ROOT", "WebSocketGateway", "World",
           "bin_path", "device_user", "free_port", "make_pki", "shard", "wait_until"]
