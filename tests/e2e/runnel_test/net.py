"""Loopback ports and small TCP helpers."""

import os
import random
import socket
import struct

HOST = "127.0.0.1"
_random = random.Random(os.getpid() ^ int.from_bytes(os.urandom(4), "little"))
_reserved = []


def _reserve(port):
    """False if another test runner has it. A name in the abstract namespace goes with its process.

    A killed server's port is free for a while: without this another test's server could take it, and
    be called by the devices of the first.
    """
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0runnel-test-port-{port}")
    except OSError:
        name.close()
        return False
    _reserved.append(name)
    return True


def free_port():
    """A loopback port that nobody listens on, outside the range that the kernel gives to clients; no
    other test gets it as long as this process lives.

    Another program may take it before its user does, so whoever starts a server retries (Broker does).
    """
    for _ in range(1000):
        port = _random.randrange(20000, 32000)
        if not _reserve(port):
            continue
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


def listen():
    """A listening socket on a free loopback port."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((HOST, 0))
    server.listen(128)
    return server


def accepts(port, timeout=0.2):
    """True if something listens there."""
    try:
        socket.create_connection((HOST, port), timeout).close()
        return True
    except OSError:
        return False


def reset(sock):
    """Closes with RST instead of FIN."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    sock.close()
