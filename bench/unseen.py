#!/usr/bin/python3
"""Bytes a sample on data that nothing was trained or tuned on, against deflate.

Three sorts: captures of a busy host (bench/data/README.md), public data that Debian's packages carry (fetched with
apt-get download, unpacked below build/unseen, not installed), and generated data of other kinds, each with
the seed 7 (bench/support/kinds.py). A host's hints and base are learned on its capture's first half, as an
agent learns them; all others go through `runnel encode`, as a user's would.

Deflate is given its best: *columns* are the very plain bytes of encoding 1, in the same envelope with the same check
sum, deflated with zlib -6 and a window of 32 kB; *lines* is line protocol, gzip -6, batch by batch.

    ./run bench unseen [--offline] [--out FILE]      --offline: without the public data
"""
import argparse
import datetime
import gzip
import io
import json
import os
import pathlib
import random
import subprocess
import sys
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "bench" / "support"), str(ROOT / "tests" / "vectors")]
import cbor2  # noqa: E402
import kinds  # noqa: E402
import rivals  # noqa: E402
import wire  # noqa: E402
from driver import Driver  # noqa: E402

SEED = 7
CAPTURES = ["host4-1s.jsonl.gz", "host5-1s.jsonl.gz"]
CLAIMS = {"1 min": 0.71, "4 min": 0.62, "1 s x 60": 0.38}
BATCHES = (60, 240)  # seconds
UNPACKED = ROOT / "build" / "unseen"


# ---- any points, through runnel encode -----------------------------------------------------------

def batches_of(points, seconds):
    """As runnel encode cuts them, but for its limit of cells."""
    out, first = [], None
    for point in points:
        if first is None or point[3] - first >= seconds * 10**9:
            first = point[3]
            out.append([])
        out[-1].append(point)
    return out


def encode(program, lines, seconds, enc):
    """(what --stats says, the messages)"""
    done = subprocess.run([program, "encode", "--batch", f"{seconds}s", "--enc", enc, "--stats"], input=lines,
                          capture_output=True, check=True)
    return json.loads(done.stderr.decode().splitlines()[-1]), done.stdout


def deflated(plain):
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
    return len(squeeze.compress(plain) + squeeze.flush())


def deflated_columns(messages):
    """Bytes of the same batches if zlib -6 had made their columns."""
    source, total = io.BytesIO(messages), 0
    decoder = cbor2.CBORDecoder(source)
    while source.tell() < len(messages):
        message = decoder.decode()
        if not isinstance(message, list):
            continue  # a schema, base or hints
        total += len(cbor2.dumps(message, canonical=True))
        if message[6] == 1:
            total += deflated(zlib.decompress(message[7][4:], -15)) + 4 - len(message[7])
    return total


def measure(program, points, seconds):
    """{column: bytes a sample}, and how many samples and batches."""
    lines = "".join(map(kinds.line_of, points)).encode()
    row = {}
    for enc in ("0", "1", "2", "auto"):
        stats, messages = encode(program, lines, seconds, enc)
        assert not stats["refused_lines"] and not stats["refused_values"]
        row[enc] = stats["payload_bytes"] / stats["samples"]
        row["keys"] = stats["schema_bytes"] / stats["samples"]
        if enc == "1":
            row["columns"] = deflated_columns(messages) / stats["samples"]
    row["lines"] = sum(len(gzip.compress("".join(map(kinds.line_of, batch)).encode(), 6))
                       for batch in batches_of(points, seconds)) / stats["samples"]
    restored = subprocess.run([program, "decode", "--line-protocol"], input=messages, capture_output=True, check=True)
    assert len(restored.stdout.splitlines()) == len(points), "decoded to another number of points"
    assert encode(program, restored.stdout, seconds, "auto")[1] == messages, "decoded to other points"
    return row, stats


def fetch():
    """Unpacks the packages of public data; they are not installed."""
    for package in kinds.PACKAGES:
        target = UNPACKED / package
        if (target / kinds.PACKAGES[package]).is_dir():
            continue
        UNPACKED.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-qq", package], cwd=UNPACKED, check=True)
        deb = next(UNPACKED.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", deb, target], check=True)
        deb.unlink()


def sets(offline):
    """(sort, name, what it is, points)"""
    if not offline:
        fetch()
        for entry in kinds.PUBLIC:
            yield "public", entry[0], entry[1], kinds.public(UNPACKED, entry)
    for path in CAPTURES[:1]:
        what = "a host's vitals as Telegraf writes them: percentages as full doubles"
        yield "host", "telegraf-doubles", what, doubles_of(path)
    for kind in kinds.GENERATED:
        yield ("generated", kind.__name__.replace("_", "-"), kind.__doc__.strip().rstrip(".").replace("\n    ", " "),
               list(kind(random.Random(SEED))))


def doubles_of(name):
    """Every value as vitals.py would give it to Telegraf; 10 s, the first 20 minutes."""
    data = wire.Data(ROOT / "bench" / "data" / name, 10)
    for i, t in enumerate(data.times[:120]):
        groups = {}
        for s in data.series:
            groups.setdefault((s.measurement, tuple(sorted(s.tags.items()))), {})[s.field] = s.value(i, full=True)
        for (measurement, tags), fields in groups.items():
            yield measurement, dict(tags), fields, t * 10**9


# ---- hosts: schemas with rules, as the agent has them ----------------------------------------------

def deflated_host(driver, data, n):
    """Encoding 1's columns with zlib -6: bytes a batch, on the second half."""
    sizes = []
    for times, cells in data.batches(data.half, len(data.times), n):
        body, *_ = driver.code(1, wire.body_of(data.schema, times, cells), 1)
        source = io.BytesIO(body)
        decoder = cbor2.CBORDecoder(source)
        columns = [decoder.decode() for _ in range(6)][4]
        head = len(wire.dumps([0xffffffff, 50000, 2]))
        sizes.append(head + len(body) - len(columns) + 4 + deflated(zlib.decompress(columns[4:], -15)))
    return sum(sizes) / len(sizes)


def hosts(driver):
    for name in CAPTURES:
        path = ROOT / "bench" / "data" / name
        for label, step, n in wire.LENGTHS[1:]:
            data = wire.Data(path, step)
            if len(data.times) - data.half < n:
                continue
            ours, _ = wire.measure_ours(driver, data, n)
            samples = n * len(data.series)
            row = {str(enc): payload / samples for enc, (payload, *_) in ours.items()}
            row["auto"] = min(row.values())
            row["columns"] = deflated_host(driver, data, n) / samples
            row["lines"] = sum(len(rivals.zipped(rivals.lines(data.times, data.series, at, at + n)))
                               for at in range(data.half, len(data.times) - n + 1, n)
                               ) / samples / ((len(data.times) - data.half) // n)
            yield name.split(".")[0], label, row


# ---- the report ------------------------------------------------------------------------------------

COLUMNS = ("0", "1", "2", "auto", "columns", "lines")
HEAD = "| 0 | 1 | 2 | auto | deflate, columns | deflate, lines | auto / best deflate |"


def cells_of(row):
    best = min(row["columns"], row["lines"])
    ratio = row["auto"] / best
    return " | ".join(f"{row[c]:.3f}" for c in COLUMNS) + f" | {ratio:.2f} |"


def worse(row):
    return row["auto"] > min(row["columns"], row["lines"])


def report(program, driver, offline):
    over, count, hosts_over = [], 0, []
    out = ["## A busy host", "", "122 series, schema with rules; claimed are 0.71, 0.62 and 0.38.", "",
           "| capture | batches " + HEAD, "|---" * 9 + "|"]
    for name, label, row in hosts(driver):
        out.append(f"| {name} | {label} | {cells_of(row)}")
        count += 1
        if worse(row):
            over.append(f"{name} {label}")
        if row["2"] > 1.1 * CLAIMS.get(label, 9):
            hosts_over.append(f"{name} {label}")
    rows = {}
    for sort, name, what, points in sets(offline):
        points = list(points)
        for seconds in BATCHES:
            row, stats = measure(program, points, seconds)
            rows.setdefault(seconds, []).append(
                f"| {name} | {stats['samples']} in {stats['batches']} | {cells_of(row)} {row['keys']:.3f} |")
            count += 1
            if worse(row):
                over.append(f"{name} {seconds} s")
        rows.setdefault("what", []).append(f"| {name} | {sort} | {what} |")
        print(rows[BATCHES[0]][-1], rows[BATCHES[1]][-1], sep="\n", flush=True)
    for seconds in BATCHES:
        out += ["", f"## Other data, batches of {seconds} s", "",
                "| data | samples in batches " + HEAD + " apart: schemas, hints, bases |",
                "|---" * 10 + "|", *rows[seconds]]
    out += ["", "## What they are", "", "| data | sort | what |", "|---|---|---|", *rows["what"], ""]
    line = (f"unseen: auto is worse than deflate in {len(over)} of {count} cases"
            f"{': ' + ', '.join(over) if over else ''}; hosts over the claim by 10 %: {', '.join(hosts_over) or 'none'}")
    return line, out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results/unseen.md")
    args = parser.parse_args()
    program = pathlib.Path(os.environ.get("RUNNEL_BIN", ROOT / "build/dev/bin")) / "runnel"
    driver = Driver(ROOT / "build/dev/bin/wire_driver")
    line, body = report(program, driver, args.offline)
    driver.close()
    head = ["# Bytes a sample on unseen data", "",
            f"`./run bench unseen`, {datetime.date.today()}, {wire.cpu_model()}, {os.cpu_count()} processors. Payload of "
            "batches in bytes a sample; schemas, hints and bases, which are sent once, apart. Nothing here was trained "
            "on; the prior is from other captures (`bench/data/README.md`). `deflate, columns`: zlib -6, 32 kB window, "
            "over the plain bytes of encoding 1 (its units included), with the same envelope and check sum. `deflate, "
            "lines`: gzip -6 over line protocol. `auto`: the smallest of 0, 1 and 2, batch by batch.", "", line, ""]
    args.out.write_text("\n".join(head + body))
    print(line)


if __name__ == "__main__":
    main()
