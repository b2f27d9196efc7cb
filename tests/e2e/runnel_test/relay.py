"""A TCP relay that misbehaves on demand: the network between two programs."""

import collections
import selectors
import socket
import threading
import time

from .net import HOST, listen, reset
from .wait import wait_until

CHUNK = 65536
BUFFERED_MAX = 1 << 20


class _Link:
    """One connection: when something last passed, and whether it is forgotten."""

    def __init__(self):
        self.last, self.forgotten = time.monotonic(), False


class _Pipe:
    """One direction of one connection: what was read and when it may be written."""

    def __init__(self, source, sink, link):
        self.source, self.sink, self.link = source, sink, link
        self.chunks = collections.deque()  # (due, bytes)
        self.size, self.ended = 0, False


class Relay:
    """Listens on `port`, forwards to target_port. Change its behaviour at any time:

    relay.silent()    forwards nothing more, sockets stay open: a dead NAT entry, a pulled cable
    relay.pass_()     forwards again (what waited goes on its way)
    relay.cut()       resets all connections; new ones are welcome
    relay.down()      resets all and refuses new ones, until relay.up()
    relay.delay = s   holds each byte back that long, in both directions
    relay.forget = s  forgets a connection that is idle for longer, in silence: a NAT
    """

    def __init__(self, target_port, target_host=HOST):
        self.target = (target_host, target_port)
        self.delay, self.forget = 0.0, None
        self.accepted, self.forwarded = 0, 0  # connections, bytes
        self._silent, self._refuse, self._cut = False, False, threading.Event()
        self._turns = 0
        self._server = listen()
        self._server.setblocking(False)
        self.port = self._server.getsockname()[1]
        self._pipes, self._stopping = [], False
        self._done_cut = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def silent(self):
        """Returns when nothing that comes from now on is forwarded any more."""
        self._silent = True
        turns = self._turns
        wait_until(lambda: self._turns > turns, 5, "the relay is silent")

    def pass_(self):
        self._silent = False

    def cut(self):
        self._done_cut.clear()
        self._cut.set()
        wait_until(self._done_cut.is_set, 5, "the relay cut its connections", step=0.001)

    def down(self):
        self._refuse = True
        self.cut()

    def up(self):
        self._refuse = False

    def connections(self):
        return len(self._pipes) // 2

    def close(self):
        self._stopping = True
        self._thread.join(5)

    # ---- its thread ----

    def _run(self):
        while not self._stopping:
            if self._cut.is_set():
                self._cut.clear()
                self._reset_all()
                self._done_cut.set()
            self._turns += 1
            self._turn()
        self._reset_all()
        self._server.close()

    def _reset_all(self):
        for pipe in self._pipes:
            reset(pipe.source)
        self._pipes = []

    def _turn(self):
        now = time.monotonic()
        with selectors.DefaultSelector() as selector:
            events = {}
            events[self._server] = selectors.EVENT_READ
            for pipe in [] if self._silent else self._pipes:
                if pipe.link.forgotten:
                    continue
                if not pipe.ended and pipe.size < BUFFERED_MAX:
                    events[pipe.source] = events.get(pipe.source, 0) | selectors.EVENT_READ
                if pipe.chunks and pipe.chunks[0][0] <= now:
                    events[pipe.sink] = events.get(pipe.sink, 0) | selectors.EVENT_WRITE
            for sock, mask in events.items():
                selector.register(sock, mask)
            for key, mask in selector.select(0.01):
                self._serve(key.fileobj, mask)

    def _serve(self, sock, mask):
        if sock is self._server:
            self._accept()
            return
        for pipe in list(self._pipes):
            try:
                if mask & selectors.EVENT_READ and pipe.source is sock:
                    self._read(pipe)
                if mask & selectors.EVENT_WRITE and pipe.sink is sock:
                    self._write(pipe)
            except BlockingIOError:
                pass
            except OSError:
                self._drop(pipe)

    def _accept(self):
        try:
            client, _ = self._server.accept()
        except OSError:  # it has gone already
            return
        self.accepted += 1
        if self._refuse:
            reset(client)
            return
        server = None
        try:
            server = socket.create_connection(self.target, 5)
            for sock in (client, server):
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            for sock in filter(None, (client, server)):
                reset(sock)
            return
        link = _Link()
        self._pipes += [_Pipe(client, server, link), _Pipe(server, client, link)]

    def _read(self, pipe):
        now = time.monotonic()
        if self.forget and now - pipe.link.last > self.forget:
            pipe.link.forgotten = True
            return
        pipe.link.last = now
        data = pipe.source.recv(CHUNK)
        if data:
            pipe.chunks.append((time.monotonic() + self.delay, data))
            pipe.size += len(data)
        else:
            pipe.ended = True
            if not pipe.chunks:
                self._drop(pipe)

    def _write(self, pipe):
        due, data = pipe.chunks.popleft()
        sent = pipe.sink.send(data)
        pipe.size -= sent
        self.forwarded += sent
        if sent < len(data):
            pipe.chunks.appendleft((due, data[sent:]))
        elif pipe.ended and not pipe.chunks:
            self._drop(pipe)

    def _drop(self, pipe):
        for other in [p for p in self._pipes if {p.source, p.sink} == {pipe.source, pipe.sink}]:
            self._pipes.remove(other)
        pipe.source.close()
        pipe.sink.close()
