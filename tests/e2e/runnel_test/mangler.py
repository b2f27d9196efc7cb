"""A network and a broker that lose, hold back and repeat single MQTT messages, from a seed."""

import collections
import heapq
import random
import socket
import threading
import time

from .net import HOST, listen, reset

PUBLISH, PUBACK = 3, 4


def _take(stream, count):
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _packet(stream):
    """(first byte, rest without the length)"""
    first, size, shift = _take(stream, 1)[0], 0, 0
    while True:
        byte = _take(stream, 1)[0]
        size |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            return first, _take(stream, size)


def _framed(first, rest):
    size, head = len(rest), bytearray([first])
    while True:
        head.append(size & 0x7f | (0x80 if size > 0x7f else 0))
        size >>= 7
        if not size:
            return bytes(head) + rest


def _topic(rest):
    return rest[2:2 + int.from_bytes(rest[:2], "big")].decode()


def _at_most_once(first, rest):
    """The message with QoS 0, and the PUBACK that its sender waits for (empty if it had QoS 0)."""
    if not first & 6:
        return _framed(first, rest), b""
    at = 2 + int.from_bytes(rest[:2], "big")
    return _framed(first & 0xf1, rest[:at] + rest[at + 2:]), _framed(PUBACK << 4, rest[at:at + 2])


class Mangler:
    """Between one agent and a broker; plain MQTT 5, one connection at a time. Batches, key messages and
    acknowledgements are lost, held back (others overtake them) or come once more later, also on a later
    connection; everything else passes. The seed decides which; of a sort, two in a row pass at most.

    mangler.target_port = p   new connections go there (call cut())
    mangler.cut()             resets the connection
    mangler.honest = True     from now on everything passes, once and in order
    """

    def __init__(self, target_port, seed, loses=0.15, holds=0.2, repeats=0.2):
        self.target_port, self.honest = target_port, False
        self.odds = loses, holds, repeats
        self.counts = collections.Counter()
        self._in_a_row = collections.Counter()  # of each sort, those that passed
        self._rand, self._lock = random.Random(seed), threading.Condition()
        self._sinks = {}  # direction -> where it goes now
        self._late, self._number = [], 0  # heap of (due, number, direction, bytes)
        self._closing = False
        self._server = listen()
        self.port = self._server.getsockname()[1]
        for work in (self._accept, self._deliver_late):
            threading.Thread(target=work, daemon=True).start()

    def cut(self):
        with self._lock:
            sinks, self._sinks = self._sinks, {}
        for sock in sinks.values():
            self._shut(sock)

    def close(self):
        with self._lock:
            self._closing = True
            self._lock.notify()
        self._server.close()
        self.cut()

    # ---- its threads ----

    @staticmethod
    def _shut(sock):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _accept(self):
        while not self._closing:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = None
            try:
                server = socket.create_connection((HOST, self.target_port), 5)
                for sock in (client, server):
                    sock.settimeout(None)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                for sock in filter(None, (client, server)):
                    reset(sock)
                continue
            self.cut()
            with self._lock:
                self._sinks = {"up": server, "down": client}
            for way, source, sink in (("up", client, server), ("down", server, client)):
                threading.Thread(target=self._pass, args=(way, source, sink), daemon=True).start()

    def _pass(self, way, source, sink):
        stream = source.makefile("rb")
        try:
            while True:
                first, rest = _packet(stream)
                if first >> 4 == PUBLISH and self._may_mangle(way, _topic(rest)):
                    self._mangle(way, first, rest, source, sink)
                else:
                    self._send(sink, _framed(first, rest))
        except (EOFError, OSError, ValueError):
            pass
        for sock in (source, sink):
            self._shut(sock)

    def _may_mangle(self, way, topic):
        if self.honest:
            return False
        return "/u/" in topic and topic[-2:] in ("/m", "/k") if way == "up" else topic.endswith("/a")

    def _send(self, sink, data):
        with self._lock:
            sink.sendall(data)

    def _mangle(self, way, first, rest, source, sink):
        what = _topic(rest)[-1]
        copy, answer = _at_most_once(first, rest)
        loses, holds, repeats = self.odds
        with self._lock:
            chance, wait = self._rand.random(), self._rand.expovariate(1)
        if any(self.odds) and self._in_a_row[what] == 2:
            chance *= sum(self.odds)
        fate = ("lost" if chance < loses else "held" if chance < loses + holds else
                "repeated" if chance < loses + holds + repeats else "passed")
        self.counts[fate, what] += 1
        self._in_a_row[what] = self._in_a_row[what] + 1 if fate == "passed" else 0
        if fate in ("passed", "repeated"):
            self._send(sink, _framed(first, rest))
        elif answer:
            self._send(source, answer)
        if fate == "held":
            self._later(wait * 0.3, way, copy)
        elif fate == "repeated":
            self._later(wait * 2, way, copy)

    def _later(self, delay, way, data):
        with self._lock:
            self._number += 1
            heapq.heappush(self._late, (time.monotonic() + delay, self._number, way, data))
            self._lock.notify()

    def _deliver_late(self):
        with self._lock:
            while not self._closing:
                due = self._late[0][0] - time.monotonic() if self._late else 1
                if due > 0:
                    self._lock.wait(due)
                    continue
                _, _, way, data = heapq.heappop(self._late)
                if way in self._sinks and not self.honest:
                    try:
                        self._sinks[way].sendall(data)
                    except OSError:
                        pass
