"""An MQTT client that shares no code with ours (paho for Python), as other end and as witness."""

import contextlib
import ssl
import threading

import cbor2
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from .wait import wait_until


class Peer:
    """Connected when the constructor returns (ConnectionError if that is refused); messages are kept
    in the order of their arrival. It does not reconnect: after a broker's restart make a new one."""

    def __init__(self, port, client_id="Peer", username=None, password=None, tls=None, will=None,
                 host="127.0.0.1"):
        """tls: (ca, cert, key), cert and key may be None; will: (topic, payload, qos, retain)"""
        self._lock = threading.Lock()
        self._messages, self._granted, self._acked = [], {}, {}
        self.connack, self.closed, self._stop = None, False, False
        self.client = mqtt.Client(client_id, protocol=mqtt.MQTTv5)
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda c, u, mid, codes, p: self._granted.__setitem__(mid, codes)
        # What a peer does with a PUBACK's reason code is not shown by on_publish of version 1.6.
        self.client.on_publish = lambda c, u, mid: self._acked.__setitem__(mid, True)
        if username:
            self.client.username_pw_set(username, password)
        if tls:
            ca, cert, key = tls
            self.client.tls_set(str(ca), cert and str(cert), key and str(key),
                                tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if will:
            self.client.will_set(*will)
        self.client.connect(host, port, keepalive=30, clean_start=True)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_until(lambda: self.connack is not None or self.closed, 10, "the broker answers the peer")
        if self.connack != 0:
            self._end()
            raise ConnectionRefusedError(f"CONNACK {self.connack}")

    def _run(self):
        try:
            while not self._stop and self.client.loop(0.1) == mqtt.MQTT_ERR_SUCCESS:
                pass
        except (OSError, AttributeError):  # the library lets errors of TLS through, and a disconnect()
            pass                           # on another thread takes the socket away while it reads
        self.closed = True

    def _end(self):
        self._stop = True
        self._thread.join(5)

    def _on_connect(self, client, userdata, flags, code, properties=None):
        self.connack = code.value if hasattr(code, "value") else int(code)

    def _on_message(self, client, userdata, message):
        with self._lock:
            self._messages.append(message)

    def subscribe(self, *filters, qos=1):
        """Returns the reason codes once the broker has answered; retained flags as published."""
        options = SubscribeOptions(qos=qos, retainAsPublished=True)
        codes = []
        for name in filters:
            _, mid = self.client.subscribe(name, options=options)
            codes += wait_until(lambda: self._granted.get(mid), 10, f"subscribed to {name}")
        return [code.value for code in codes]

    def publish(self, topic, payload=b"", qos=1, retain=False, expiry_s=None):
        """Returns when it was acknowledged (QoS 1) or sent (QoS 0)."""
        properties = None
        if expiry_s is not None:
            properties = Properties(PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = expiry_s
        info = self.client.publish(topic, payload, qos, retain, properties)
        wait_until(lambda: self._acked.get(info.mid), 10, f"published to {topic}")

    def publish_cbor(self, topic, value, qos=1, retain=False):
        self.publish(topic, cbor2.dumps(value), qos, retain)

    def messages(self, topic=None):
        """Those on this topic, or on every topic below one that ends with '/'."""
        with self._lock:
            kept = list(self._messages)
        return [m for m in kept if topic is None or m.topic == topic or
                (topic.endswith("/") and m.topic.startswith(topic))]

    def payloads(self, topic=None):
        return [m.payload for m in self.messages(topic)]

    def cbor(self, topic=None):
        return [cbor2.loads(payload) for payload in self.payloads(topic)]

    def clear(self):
        with self._lock:
            self._messages.clear()

    def wait_message(self, topic=None, count=1, timeout=10.0, where=lambda message: True):
        """The count-th message on the topic for which `where` holds."""
        def found():
            kept = [m for m in self.messages(topic) if where(m)]
            return kept[count - 1] if len(kept) >= count else None
        return wait_until(found, timeout, f"{count} message(s) on {topic or 'any topic'}")

    def close(self):
        """Sends DISCONNECT; where the connection is broken in the midst of a message it just ends."""
        with contextlib.suppress(OSError):
            self.client.disconnect()
        wait_until(lambda: self.closed or not self.client.want_write(), 2, "DISCONNECT is sent")
        self._end()

    def vanish(self):
        """Closes the connection without DISCONNECT: the broker publishes the will."""
        self._end()
        sock = self.client.socket()
        if sock:
            sock.close()
