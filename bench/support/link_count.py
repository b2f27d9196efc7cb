"""What bench/link.py counts with: marks, counters, messages and what they cost. No processes, no clock."""

import collections
import json
import re
import struct
from dataclasses import dataclass

import cbor2

ETHERNET_HEADER = 14
DAY_S, MONTH_DAYS = 86400, 30
CLASSES = {"m": "data up", "a": "acknowledgements down", "k": "keys up", "s": "statuses up",
           "c": "configurations down", "r": "reports up"}


@dataclass(frozen=True)
class Mark:
    """What had passed by a moment; bytes are IP bytes."""
    at: float  # monotonic
    wall: float
    up: int
    down: int
    up_packets: int
    down_packets: int
    samples: int

    @property
    def bytes(self):
        return self.up + self.down


START = Mark(0, 0, 0, 0, 0, 0, 0)


def packets(first, last):
    return last.up_packets + last.down_packets - first.up_packets - first.down_packets


def nft_counters(text):
    """{name: (bytes, packets)} of `nft -j list counters`."""
    rules = (item["counter"] for item in json.loads(text)["nftables"] if "counter" in item)
    return {rule["name"]: (rule["bytes"], rule["packets"]) for rule in rules}


def interface_bytes(text, name):
    """IP bytes (received, sent) of an interface in /proc/net/dev: no Ethernet headers."""
    values = [int(word) for word in re.search(rf"^\s*{name}:(.*)$", text, re.M).group(1).split()]
    return values[0] - ETHERNET_HEADER * values[1], values[8] - ETHERNET_HEADER * values[9]


def collectd_values(datagram):
    """Values in a datagram of collectd's binary protocol: parts of type 6, (type, length, count, ...)."""
    count, at = 0, 0
    while at + 6 <= len(datagram):
        kind, length = struct.unpack_from("!HH", datagram, at)
        if length < 4:
            break
        count += struct.unpack_from("!H", datagram, at + 4)[0] if kind == 6 else 0
        at += length
    return count


def plain_values(payload):
    """Values in a message of collectd's mqtt plugin: 'time:value[:value...]'."""
    return payload.count(b":")


def line_values(payload):
    """Fields in line protocol."""
    count = 0
    for line in payload.decode().splitlines():
        bare = re.sub(r'\\.|"(?:[^"\\]|\\.)*"', "_", line)
        count += bare.split(" ")[1].count("=") if " " in bare else 0
    return count


def topic_class(topic):
    """The class of a message of ours: the last level, 's' for a status."""
    levels = topic.split("/")
    return "s" if levels[1:2] == ["s"] else levels[-1]


def split(messages):
    """{class: (count, payload bytes)} of messages (topic, payload)."""
    found = collections.defaultdict(lambda: (0, 0))
    for topic, payload in messages:
        count, size = found[topic_class(topic)]
        found[topic_class(topic)] = count + 1, size + len(payload)
    return dict(found)


def batches(messages):
    return [cbor2.loads(payload) for topic, payload in messages if topic_class(topic) == "m"]


def encodings(messages):
    """{encoding: batches}"""
    return collections.Counter(batch[6] for batch in batches(messages))


def ticks(messages):
    """{sequence number: ticks} of batches; one that was asked for again counts once."""
    return {batch[1]: batch[5] for batch in batches(messages)}


def log_count(log, pattern, start, end):
    """Lines of mosquitto's log that match, between two wall clock times."""
    return sum(start <= int(at) < end for at in re.findall(rf"^(\d+): {pattern}", log, re.M))


@dataclass(frozen=True)
class Cost:
    seconds: float
    samples: int
    up: float  # bytes a sample, steady state
    down: float
    setup: int  # bytes until the first batch had arrived
    setup_extra: float  # of these, what the steady state would not have needed for the same samples
    setup_share: float  # bytes a sample, once in 24 h
    mb_month: float
    packets: int

    @property
    def steady(self):
        return self.up + self.down

    @property
    def total(self):
        return self.steady + self.setup_share


def cost(marks):
    first, last = marks[0], marks[-1]
    seconds, samples = last.at - first.at, last.samples - first.samples
    up, down = (last.up - first.up) / samples, (last.down - first.down) / samples
    extra = first.bytes - (up + down) * first.samples
    day = samples / seconds * DAY_S
    return Cost(seconds, samples, up, down, first.bytes, extra, extra / day,
                (up + down + extra / day) * day * MONTH_DAYS / 1e6,
                packets(first, last))
