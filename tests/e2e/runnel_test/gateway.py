"""An HTTP proxy (CONNECT) and a WebSocket gateway, both in front of an ordinary broker.

mosquitto's own WebSocket listener ignores the address it is given and listens everywhere, which no
test should do; this one is small, independent and stays on loopback.
"""

import base64
import hashlib
import socket
import ssl
import struct
import threading

from .net import HOST, listen

WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


def _read_head(sock):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte or len(head) > 8192:
            raise OSError("no HTTP request")
        head += byte
    return head.decode("latin-1")


def _copy(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for sock in (source, sink):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class _Server:
    """A thread a connection is enough for tests."""

    def __init__(self):
        self._server = listen()
        self.port = self._server.getsockname()[1]
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._sockets.append(client)
            threading.Thread(target=self._guard, args=(client,), daemon=True).start()

    def _guard(self, client):
        try:
            self.serve(client)
        except (OSError, ValueError):
            client.close()

    def _join(self, client, server):
        self._sockets.append(server)
        threading.Thread(target=_copy, args=(server, client), daemon=True).start()
        _copy(client, server)

    def close(self):
        self._server.close()
        for sock in self._sockets:
            sock.close()


class HttpProxy(_Server):
    """requests: what was asked for ("CONNECT host:port"). allow=False: answers 403."""

    def __init__(self, allow=True):
        self.allow, self.requests = allow, []
        super().__init__()

    def serve(self, client):
        line = _read_head(client).split("\r\n")[0]
        self.requests.append(" ".join(line.split()[:2]))
        method, target, _ = line.split()
        host, port = target.rsplit(":", 1)
        if method != "CONNECT" or not self.allow:
            client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            client.close()
            return
        server = socket.create_connection((host, int(port)), 5)
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self._join(client, server)


class WebSocketGateway(_Server):
    """ws:// (with a Pki: wss://) to a broker's TCP port. paths: what was asked for."""

    def __init__(self, target_port, pki=None):
        self.target_port, self.paths, self._tls = target_port, [], None
        if pki:
            cert, key = pki.server()
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(cert, key)
        super().__init__()

    def serve(self, client):
        if self._tls:
            client = self._tls.wrap_socket(client, server_side=True)
        head = _read_head(client).split("\r\n")
        self.paths.append(head[0].split()[1])
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        raw = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
        key = next(value for name, value in raw.items() if name.lower() == "sec-websocket-key")
        if fields.get("upgrade") != "websocket" or "mqtt" not in fields["sec-websocket-protocol"]:
            raise ValueError("not a WebSocket request for MQTT")
        accept = base64.b64encode(hashlib.sha1((key + WEBSOCKET_GUID).encode()).digest()).decode()
        client.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Protocol: mqtt\r\n"
                        f"Sec-WebSocket-Accept: {accept}\r\n\r\n").encode())
        server = socket.create_connection((HOST, self.target_port), 5)
        self._sockets.append(server)
        threading.Thread(target=self._to_client, args=(server, client), daemon=True).start()
        self._to_server(client, server)

    @staticmethod
    def _to_client(server, client):
        try:
            while data := server.recv(60000):
                size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack(">H", len(data))
                client.sendall(b"\x82" + size + data)
        except OSError:
            pass
        client.close()

    @staticmethod
    def _to_server(client, server):
        stream = client.makefile("rb")
        while len(head := stream.read(2)) == 2:
            size = head[1] & 0x7f
            if size == 126:
                size, = struct.unpack(">H", stream.read(2))
            elif size == 127:
                size, = struct.unpack(">Q", stream.read(8))
            mask = stream.read(4) if head[1] & 0x80 else b"\0\0\0\0"
            data = stream.read(size)
            opcode = head[0] & 0x0f
            if opcode == 8:
                break
            if opcode in (0, 1, 2):
                server.sendall(bytes(b ^ mask[i % 4] for i, b in enumerate(data)))
        server.close()
