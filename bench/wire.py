#!/usr/bin/python3
"""How many bytes a sample costs: our three encodings against other formats, on one capture.

The capture (bench/data) is 122 series of a host's vitals. Hints come from its first half, the base is
the first half's last row, the prior (bench/support/prior.py) saw the first half and another host; everything is
measured on the second half, and what we encode is decoded and compared. Payload is the MQTT payload; wire is with what
was measured around it on TLS 1.3: 226 bytes a batch with QoS 1 and its PUBACK for the others; 146 a batch
with QoS 0 and 148 a bridge's acknowledgement for ours, one for three batches below 120 s, else one each.

    ./run bench wire [--data FILE] [--out FILE]
"""
import argparse
import datetime
import lzma
import os
import pathlib
import platform
import sys
import time
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench" / "support"), str(ROOT / "tests" / "vectors")]
import brotli  # noqa: E402
import cbor2  # noqa: E402
import columns  # noqa: E402
import packed  # noqa: E402
import rivals  # noqa: E402
import snappy  # noqa: E402
import vitals  # noqa: E402
from driver import Driver  # noqa: E402

# (name, step in s, ticks)
LENGTHS = [("10 s", 10, 1), ("1 min", 10, 6), ("4 min", 10, 24), ("10 min", 10, 60),
           ("1 s x 60", 1, 60)]
QOS1, QOS0, ACK, SEGMENT, SEGMENT_BYTES = 226, 146, 148, 1448, 78
TIMES = 9  # that a batch is coded, of which the least counts
GOALS = {("1 min", "payload"): 0.71, ("4 min", "payload"): 0.62, ("1 s x 60", "payload"): 0.38,
         ("1 min", "wire"): 1.00, ("4 min", "wire"): 0.72}
RIVALS = [
    ("line protocol", rivals.lines),
    ("line protocol, gzip", lambda *a: rivals.zipped(rivals.lines(*a))),
    ("line protocol, gzip, full doubles", lambda *a: rivals.zipped(rivals.lines(*a, full=True))),
    ("JSON, gzip", lambda *a: rivals.zipped(rivals.json_batch(*a))),
    ("SenML CBOR, deflate", lambda *a: rivals.deflated(rivals.senml(*a))),
    ("Sparkplug B, aliases", lambda *a: rivals.sparkplug(*a, by_exception=False)),
    ("Sparkplug B, aliases, by exception", rivals.sparkplug),
    ("Prometheus remote write, snappy", lambda *a: snappy.compress(rivals.remote_write(*a))),
    ("Gorilla, shared times", rivals.gorilla),
]
OURS = {0: "Runnel 0, plain CBOR", 1: "Runnel 1, deflate", 2: "Runnel 2, range coder"}


def dumps(value):
    return cbor2.dumps(value, canonical=True)


def body_of(schema, times, cells):
    parts = columns.encode(schema, times, cells)
    return b"".join(map(dumps, (0, times[0], len(times), 0, parts, {})))


def segments(payload):
    """Bytes of further TCP segments, with half an acknowledgement each."""
    return (max(1, -(-(payload + 80) // SEGMENT)) - 1) * SEGMENT_BYTES


class Data:
    def __init__(self, path, step):
        self.step = step
        self.times, self.series = vitals.series_of(vitals.every(vitals.load(path), step))
        self.schema = vitals.schema_of(self.series, step)
        self.half = len(self.times) // 2

    def row(self, at):
        return body_of(self.schema, self.times[at:at + 1], [[s.scaled[at]] for s in self.series])

    def batches(self, first, last, n):
        return vitals.batches(self.times, self.series, first, last, n, self.step)


def measure_ours(driver, data, n):
    """{enc: (payload, ns to encode, ns to decode)}, means of a batch; sizes of base and hints."""
    driver.ask("schema", dumps(data.schema))
    driver.ask("base", driver.ask("base?", data.row(0))[1])
    for times, cells in data.batches(0, data.half, n):
        driver.ask("learn", body_of(data.schema, times, cells))
    hints, base = driver.ask("hints?", "-")[1], driver.ask("base?", data.row(data.half - 1))[1]
    driver.ask("base", base)
    driver.ask("hints", hints)
    out, head = {}, len(dumps([0xffffffff, 50000, 2]))  # a common head: tag, seq, low
    for enc in OURS:
        found = []
        for times, cells in data.batches(data.half, len(data.times), n):
            body, *ns = driver.code(enc, body_of(data.schema, times, cells), TIMES)
            found.append((head + len(body), *ns))
        out[enc] = [sum(column) / len(found) for column in zip(*found)]
    return out, (len(base) // 2, len(hints) // 2)


def wire_ours(payload, n, step):
    share = 1 / 3 if n * step < 120 else 1
    return payload + QOS0 + ACK * share + segments(payload)


def measure_rivals(data, n):
    for name, encode in RIVALS:
        sizes = [len(encode(data.times, data.series, at, at + n))
                 for at in range(data.half, len(data.times) - n + 1, n)]
        payload = sum(sizes) / len(sizes)
        yield name, payload, payload + QOS1 + segments(payload)


def bounds(data):
    """The second half's plain bytes, without any envelope, compressed as a whole."""
    plain = packed.Plain()
    times, cells = data.times[data.half:], [s.scaled[data.half:] for s in data.series]
    packed.Coder(data.schema, times, cells, plain=plain, coder=None).walk()
    samples = len(times) * len(cells)
    preset = lzma.PRESET_EXTREME | 9
    xz = lzma.compress(bytes(plain.out), format=lzma.FORMAT_XZ, check=lzma.CHECK_NONE, preset=preset)
    return {"xz -9e over the whole half": len(xz) / samples,
            "brotli -11 over the whole half":
                len(brotli.compress(bytes(plain.out), quality=11, lgwin=24)) / samples}


def least_ns(action, of):
    """The least of some times that an action takes, and what it gives."""
    spent = []
    for _ in range(TIMES):
        start = time.perf_counter_ns()
        found = action(of)
        spent.append(time.perf_counter_ns() - start)
    return min(spent), found


def zlib_speed(data, n):
    """ns a value that zlib -6 takes on the same batches as line protocol: (compress, decompress)."""
    texts = [rivals.lines(data.times, data.series, at, at + n)
             for at in range(data.half, len(data.times) - n + 1, n)]
    small = [least_ns(lambda text: zlib.compress(text, 6), text) for text in texts]
    back = [least_ns(zlib.decompress, packed_) for _, packed_ in small]
    samples = len(texts) * n * len(data.series)
    return sum(ns for ns, _ in small) / samples, sum(ns for ns, _ in back) / samples


def cpu_model():
    text = pathlib.Path("/proc/cpuinfo").read_text()
    return next((line.split(":")[1].strip() for line in text.splitlines()
                 if line.startswith("model name")), platform.machine())


def measure(path, driver):
    """(rows {name: {length: (payload, wire)}}, speeds, companions, bounds)"""
    data = {step: Data(path, step) for step in sorted({step for _, step, _ in LENGTHS})}
    rows, speeds, companions = {}, {}, {}
    for label, step, n in LENGTHS:
        samples = n * len(data[step].series)
        ours, companions[label] = measure_ours(driver, data[step], n)
        for enc, (payload, *ns) in ours.items():
            rows.setdefault(OURS[enc], {})[label] = (payload / samples,
                                                     wire_ours(payload, n, step) / samples)
            speeds[enc, label] = ns
        for name, payload, wire in measure_rivals(data[step], n):
            rows.setdefault(name, {})[label] = (payload / samples, wire / samples)
        speeds["zlib", label] = zlib_speed(data[step], n)
    whole = {}
    for label, step in (("10 min", 10), ("1 s x 60", 1)):
        for name, size in bounds(data[step]).items():
            whole.setdefault(name, {})[label] = size
    return rows, speeds, companions, whole, data[10]


def table(rows, which):
    labels = [label for label, _, _ in LENGTHS]
    out = ["| format | " + " | ".join(labels) + " |", "|---" * (len(labels) + 1) + "|"]
    for name, cells in rows.items():
        values = [cells.get(label) for label in labels]
        values = [value[which] if isinstance(value, tuple) else value for value in values]
        out.append(f"| {name} | " + " | ".join("" if v is None else f"{v:.3f}" for v in values) + " |")
    return out


def speed_table(speeds):
    out = ["| | " + " | ".join(label for label, _, _ in LENGTHS) + " |", "|---" * (len(LENGTHS) + 1) + "|"]
    names = {**OURS, "zlib": "zlib -6 over line protocol"}
    for key, name in names.items():
        cells = [f"{speeds[key, label][0]:.0f} / {speeds[key, label][1]:.0f}" for label, _, _ in LENGTHS]
        out.append(f"| {name} | " + " | ".join(cells) + " |")
    return out


def summary(rows):
    ours, gz = rows[OURS[2]], rows["line protocol, gzip"]
    parts = [f"{label} {ours[label][0]:.3f} payload, {ours[label][1]:.3f} wire" for label, _, _ in LENGTHS[1:]]
    missed = [f"{label} {kind}" for (label, kind), goal in GOALS.items()
              if ours[label][kind == "wire"] > goal]
    times = gz["1 min"][0] / ours["1 min"][0]
    return (f"wire: bytes a sample, encoding 2: {'; '.join(parts)}; {times:.1f} times less than gzipped line "
            f"protocol at 1 min; goals {'missed: ' + ', '.join(missed) if missed else 'met'}")


def report(path, rows, speeds, companions, whole, data):
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    base, hints = companions["4 min"]
    return "\n".join([
        "# Bytes a sample", "",
        f"`./run bench wire`, {datetime.date.today()}, {cpu_model()}, {os.cpu_count()} processors. Data: `{shown}`, "
        f"{len(data.series)} series, measured on its second half; hints and base from the first half, the prior from that and another host. Values are the "
        "same everywhere, percentages with two decimals (but in the row that says full doubles).", "",
        summary(rows), "",
        "## Payload", "", *table({**rows, **whole}, 0), "",
        "## On the wire", "",
        f"With {QOS1} bytes around a QoS 1 batch; {QOS0} around ours and {ACK} for an acknowledgement (of three batches "
        "below 120 s).", "", *table(rows, 1), "",
        "## Time", "",
        f"ns a sample to encode / to decode: each batch {TIMES} times of which the least counts, mean of the batches. "
        "Decoding is with what it takes to open the batch.", "",
        *speed_table(speeds), "",
        "## Apart from that", "",
        f"Schema {len(dumps(data.schema))} bytes, hints {hints}, base {base}: once a device's life, or as often as they are "
        "refreshed.", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / "bench/data/host2-1s.jsonl.gz")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results/wire.md")
    parser.add_argument("--driver", default=ROOT / "build/dev/bin/wire_driver")
    args = parser.parse_args()
    driver = Driver(args.driver)
    found = measure(args.data.resolve(), driver)
    driver.close()
    text = report(args.data.resolve(), *found)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(text)
    print(text)
    print(summary(found[0]))


if __name__ == "__main__":
    main()
