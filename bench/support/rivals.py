"""Other wire formats, as their own documents describe them, for the comparison in wire.py. Each takes
(times, series, first, last) and gives the payload of one batch of those ticks. Values are the same
as ours: percentages with two decimals; `full` gives the doubles that they were rounded from.
"""
import gzip
import json
import struct
import zlib

HOST = "edge-000123"


def groups(series):
    out = {}
    for s in series:
        out.setdefault((s.measurement, tuple(sorted([*s.tags.items(), ("host", HOST)]))), []).append(s)
    return out.items()


def number(value):
    if isinstance(value, int):
        return f"{value}i"
    return str(int(value)) if value == int(value) else repr(value)


def lines(times, series, first, last, full=False):
    """InfluxDB line protocol, a line for each measurement, tag set and tick."""
    out = []
    for i in range(first, last):
        for (measurement, tags), fields in groups(series):
            values = ",".join(f"{s.field}={number(s.value(i, full))}" for s in fields)
            out.append(f"{measurement}{''.join(f',{k}={v}' for k, v in tags)} {values} {times[i]}000000000\n")
    return "".join(out).encode()


def json_batch(times, series, first, last, full=False):
    """Telegraf's JSON, batch form."""
    metrics = [{"fields": {s.field: s.value(i, full) for s in fields}, "name": measurement,
                "tags": dict(tags), "timestamp": times[i]}
               for i in range(first, last) for (measurement, tags), fields in groups(series)]
    return json.dumps({"metrics": metrics}, separators=(",", ":")).encode()


def zipped(data):
    return gzip.compress(data, 9, mtime=0)


def deflated(data):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    return deflate.compress(data) + deflate.flush()


# ---- SenML CBOR (RFC 8428) ----------------------------------------------------------------------

def head(major, value):
    for extra, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 24:
            return bytes([major << 5 | value])
        if value < 1 << 8 * size:
            return bytes([major << 5 | extra]) + value.to_bytes(size, "big")
    raise ValueError(value)


def cbor_number(value):
    if value == int(value):
        value = int(value)
        return head(0, value) if value >= 0 else head(1, -1 - value)
    for code, form in ((0xf9, ">e"), (0xfa, ">f")):
        try:
            if struct.unpack(form, struct.pack(form, value))[0] == value:
                return bytes([code]) + struct.pack(form, value)
        except OverflowError:
            continue
    return b"\xfb" + struct.pack(">d", value)


def cbor_text(text):
    return head(3, len(text.encode())) + text.encode()


def name_of(s):
    return "/".join([s.measurement, *[v for k, v in sorted(s.tags.items())
                                      if k in ("cpu", "path", "name", "interface")], s.field])


def senml(times, series, first, last):
    records = []
    for i in range(first, last):
        for k, s in enumerate(series):
            pairs = []
            if k == 0:
                if i == first:
                    pairs.append(head(1, 1) + cbor_text(f"urn:dev:ops:{HOST}:"))  # bn
                pairs.append(head(1, 2) + head(0, times[i]))  # bt
            pairs.append(head(0, 0) + cbor_text(name_of(s)))
            pairs.append(head(0, 2) + cbor_number(s.value(i)))
            records.append(head(5, len(pairs)) + b"".join(pairs))
    return head(4, len(records)) + b"".join(records)


# ---- protobuf -----------------------------------------------------------------------------------

def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def message(field, payload):
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def sparkplug(times, series, first, last, by_exception=True):
    """Sparkplug B NDATA: alias, timestamp, datatype, value; by exception: what differs from the tick
    before, all of it in the data set's first."""
    out = bytearray(b"\x08" + varint(times[last - 1] * 1000))
    for i in range(first, last):
        for k, s in enumerate(series):
            value = s.value(i)
            if by_exception and i > 0 and s.value(i - 1) == value:
                continue
            metric = b"\x10" + varint(k + 1) + b"\x18" + varint(times[i] * 1000)
            if isinstance(value, int):
                metric += b"\x20\x04\x58" + varint(value & (1 << 64) - 1)
            else:
                metric += b"\x20\x0a\x69" + struct.pack("<d", value)
            out += message(2, metric)
    return bytes(out + b"\x18\x07")


def remote_write(times, series, first, last):
    """Prometheus remote write 1.0, before snappy."""
    out = b""
    for s in series:
        labels = sorted([("__name__", f"{s.measurement}_{s.field}"), ("host", HOST), *s.tags.items()])
        body = b"".join(message(1, message(1, k.encode()) + message(2, v.encode())) for k, v in labels)
        for i in range(first, last):
            body += message(2, b"\x09" + struct.pack("<d", float(s.value(i))) + b"\x10" +
                            varint(times[i] * 1000))
        out += message(1, body)
    return out


# ---- Gorilla (Pelkonen et al., VLDB 2015) -------------------------------------------------------

class Bits:
    def __init__(self):
        self.value, self.count = 0, 0

    def put(self, value, count):
        self.value, self.count = self.value << count | value, self.count + count

    def bytes(self):
        spare = -self.count % 8
        return (self.value << spare).to_bytes((self.count + spare) // 8, "big")


def gorilla_times(bits, times):
    bits.put(times[0], 64)
    before, pace = times[0], None
    for time in times[1:]:
        if pace is None:
            bits.put(time - before, 14)
        else:
            change = time - before - pace
            for low, high, code, width, size in ((0, 0, 0, 1, 0), (-63, 64, 2, 2, 7),
                                                 (-255, 256, 6, 3, 9), (-2047, 2048, 14, 4, 12),
                                                 (-2**31, 2**31 - 1, 15, 4, 32)):
                if low <= change <= high:
                    bits.put(code, width)
                    bits.put(change & (1 << size) - 1, size)
                    break
        before, pace = time, time - before


def gorilla_values(bits, values):
    words = [struct.unpack(">Q", struct.pack(">d", float(v)))[0] for v in values]
    bits.put(words[0], 64)
    window = None
    for before, word in zip(words, words[1:]):
        change = before ^ word
        if change == 0:
            bits.put(0, 1)
            continue
        lead, trail = min(31, 64 - change.bit_length()), (change & -change).bit_length() - 1
        if window and lead >= window[0] and trail >= window[1]:
            bits.put(2, 2)
        else:
            window = lead, trail
            bits.put(3, 2)
            bits.put(lead, 5)
            bits.put(64 - lead - trail & 63, 6)
        bits.put(change >> window[1], 64 - window[0] - window[1])


def gorilla(times, series, first, last):
    """One block: the times once, then a stream for each series, whose names are known."""
    bits = Bits()
    gorilla_times(bits, times[first:last])
    out = bits.bytes()
    for k, s in enumerate(series):
        bits = Bits()
        gorilla_values(bits, [s.value(i) for i in range(first, last)])
        data = bits.bytes()
        out += varint(k) + varint(len(data)) + data
    return out
