#!/usr/bin/python3
"""Writes schemas/vectors from the descriptions below. A published vector never changes: the test
compares what this script would write with what is there, so only ever add.

schemas/vectors/<message>-<case>.cbor, .diag   valid, and the only encoding of its content
schemas/vectors/batch-<schema>-<case>.json     times and cells of a batch under schema-<schema>
schemas/vectors/packed/                        the same batches in encodings 1 and 2; base and hints
schemas/vectors/tolerated/                     valid for a reader, but not as a writer writes it
schemas/vectors/bad/                           refused; INDEX: file, error, who can see it
"""
import hashlib
import json
import pathlib
import sys
import zlib

import cbor2

import columns
from diag import diag

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent.parent / "bench" / "support"))
import packed  # noqa: E402
import vitals  # noqa: E402

VECTORS = HERE.parent.parent / "schemas" / "vectors"


def dumps(value):
    return cbor2.dumps(value, canonical=True)


def literal(number):
    return {"double": float(number).hex()}


def sha(value):
    return hashlib.sha256(value if isinstance(value, bytes) else dumps(value)).digest()


INSTALL = 0x1122334455667788
TAG = INSTALL & 0xffffffff
LOG = 0x0a0b0c0d0e0f1011
NOW = 1795255200000  # 2026-11-21T10:00:00Z in ms
T0 = NOW // 1000
MAX = 2**63 - 1

SCHEMAS = {
    "minimal": {1: 1, 2: 10**9, 3: 10, 4: [{1: "load", 3: [{1: "load1", 2: 2, 4: 2}], 4: [[]]}]},
    "vitals": {1: 1, 2: 10**9, 3: 10, 4: [
        {1: "cpu", 3: [{1: "usage_user", 2: 2, 4: 2, 5: "%"}, {1: "usage_idle", 2: 2, 4: 2, 5: "%"}],
         4: [["cpu", "cpu-total"], ["cpu", "cpu0"]]},
        {1: "mem", 3: [{1: "used", 2: 1, 5: "By", 6: 1024}], 4: [[]]},
        {1: "disk", 2: 6, 3: [{1: "used", 2: 1, 3: 1, 5: "By"}],
         4: [["device", "sda1", "fstype", "ext4", "path", "/"]]}]},
    "types": {1: 1, 2: 10**6, 3: 1000, 4: [
        {1: "all", 3: [{1: "i", 2: 0, 3: 1}, {1: "u", 2: 1, 3: 1}, {1: "f", 2: 2, 4: 3},
                       {1: "b", 2: 3, 3: 2}, {1: "größe ✓", 2: 4, 3: 2}], 4: [["a", "1"]]}]},
    "rules": {1: 1, 2: 10**9, 3: 10, 4: [
        {1: "mem", 3: [{1: "total", 2: 1, 5: "By", 6: 1024}, {1: "available", 2: 1, 5: "By", 6: 1024},
                       {1: "used", 2: 1, 5: "By", 6: 1024}, {1: "used_percent", 2: 2, 4: 2, 5: "%"},
                       {1: "uptime", 2: 0, 3: 1, 5: "s"}], 4: [[]]}],
        5: [[2, [0, 0, 0, 1, 1, -1]], [3, [0, 0, 0, 1, 2, 20000], [0, 0, 0, 2]],
            [4, [-1795000000, 1]]]},
    "irregular": {1: 1, 2: 1, 3: 0, 4: [
        {1: "door", 2: 5, 3: [{1: "open", 2: 3}, {1: "who", 2: 4}], 4: [["n", "1"], ["n", "2"]]}]},
}

# A text that is longer than most, with little and much in common with itself.
LONG = "".join(f"{i}: pump {i * i % 7} says {'no' * (i % 5)}; " for i in range(160))
# name -> (seq, low, times, columns)
BATCHES = {
    "minimal-one": (1, 0, [T0], [[57]]),
    "minimal-flat": (2, 1, columns.times_of(SCHEMAS["minimal"], T0, 6), [[57] * 6]),
    "minimal-empty": (3, 2, [T0], [[None]]),
    "minimal-rise": (MAX, 300, columns.times_of(SCHEMAS["minimal"], T0, 3), [[57, 64, 40]]),
    "minimal-worked": (7, 2, columns.times_of(SCHEMAS["minimal"], T0, 6),
                       [[57, 64, None, 40, 40, literal(0.125)]]),
    "vitals-full": (17, 0, columns.times_of(SCHEMAS["vitals"], T0, 6),
                    [[1234, 1250, 1250, 900, 901, 7000], [8766, 8750, 8750, 9100, 9099, 3000],
                     [1000, 1200, 1100, 900, 901, 7000], [9000] * 6,
                     [4000000, 4000010, 3999000, 4000000, 4000000, 4100000],
                     [123456789] + [None] * 5]),
    "vitals-gaps": (18, 1, columns.times_of(SCHEMAS["vitals"], T0 + 30, 6),
                    [[1234, None, 1250, 900, None, 7000], [None] * 6, [None, None, 5, 5, 5, None],
                     [None, 7, None, None, None, 8], [4000000] * 6, [None] * 6]),
    "rules-full": (21, 0, columns.times_of(SCHEMAS["rules"], T0, 6),
                   [[24684092] * 6, [23815196, 23815100, 23815196, 23815000, 23000000, 23800001],
                    [868896, 868992, 868896, 869092, 1684092, 884091], [352, 352, 352, 352, 682, 358],
                    [255200 + 10 * i for i in range(6)]]),
    "rules-gaps": (22, 0, columns.times_of(SCHEMAS["rules"], T0, 6),
                   [[24684092, None, 24684092, 0, 24684092, 24684092],
                    [23815196, 23815100, None, 23815000, 23000000, 23800001],
                    [868896, 868992, None, 869092, 1684092, None],
                    [352, literal(3.5200001), 352, 352, None, 358],
                    [None, 255210, 255220, 7, 17, None]]),
    "types-extremes": (19, 2, columns.times_of(SCHEMAS["types"], NOW, 5),
                       [[-2**63, 2**63 - 1, 0, -1, -2**63],
                        [2**64 - 1, 0, 2**63, 2**63 - 1, 2**64 - 1],
                        [literal(1e300), 1500, literal(-0.0), literal(1.5), 1501],
                        [0, 1, 1, 0, None],
                        ["a", "a", "", "b,c=d\n", "b,c=d\n"]]),
    "types-literals": (20, 0, columns.times_of(SCHEMAS["types"], NOW, 4),
                       [[5] * 4, [2**63] * 4, [literal(2**-24), literal(2048), literal(2**-149),
                                               literal(0.1)], [1] * 4, ["ä"] * 4]),
    "types-repeats": (22, 0, columns.times_of(SCHEMAS["types"], NOW, 12),
                      [[1000 - 25 * (i * i % 7) for i in range(12)],
                       [2**63 + 4096 * i * i for i in range(12)],
                       [literal(1 / (3 + i % 3)) for i in range(9)] + [500, literal(1 / 3), literal(-0.1)],
                       [i % 2 for i in range(12)],
                       ["door open", "door closed", "door open", "pump 7: 31 °C", "pump 8: 31 °C",
                        "pump 8: 31 °C", "door open", None, "pump 7: 31 °C", "pump pump pump pump",
                        "door ajar", "door ajar"]]),
    "irregular-times": (21, 0, [NOW * 10**6, NOW * 10**6, NOW * 10**6 + 5, NOW * 10**6 + 10**12],
                        [[1, 0, 1, 0], ["ann", "ann", None, "bob"], [None] * 4,
                         [None, None, "eve", "eve"]]),
    "types-long": (24, 0, columns.times_of(SCHEMAS["types"], NOW, 6),
                   [[7] * 6, [2**64 - 1] * 6, [250] * 6, [1] * 6,
                    [LONG[:255], LONG[:256], "short", LONG[:256], LONG, "ü" * 700]]),
}

CONFIG = {1: "pump-07", 2: 12, 3: NOW + 86400000,
          4: {"mqtt.keepalive": "60s", "interval": "30s", "collect.disk.ignore": "[tmpfs, overlay]"}}
PROTECTED = dumps({1: -8})
HASH = sha(b"configuration")
LEDGER = {1: 1000, 2: 900, 3: 70, 4: 20, 5: 5, 6: 4, 7: 1}

MESSAGES = {
    "key-binding": {1: INSTALL, 2: 1, 3: 0, 4: sha(SCHEMAS["minimal"])},
    "key-object": {1: INSTALL, 2: 1, 3: 65535, 4: sha(SCHEMAS["minimal"]),
                   5: dumps(SCHEMAS["minimal"])},
    "status-birth": {1: 1, 2: INSTALL, 3: 5, 4: 1, 5: NOW, 6: 60000, 7: 18, 8: 77, 9: 12, 10: HASH,
                     11: LEDGER, 12: "0.1.0", 13: "start", 14: 61000},
    "status-update": {1: 1, 2: INSTALL, 3: 5, 4: 2, 5: NOW, 6: 240000, 7: 18, 17: 30000},
    "status-will": {1: 0, 2: INSTALL, 3: 5, 4: 0},
    "status-stop": {1: 2, 2: INSTALL, 3: 5, 4: 9, 5: NOW, 7: 19, 11: {}, 13: "SIGTERM"},
    "status-largest": {1: 1, 2: MAX, 3: MAX, 4: MAX, 5: MAX, 6: MAX, 7: MAX, 8: MAX, 9: MAX,
                       10: b"\xff" * 32, 11: {i: MAX for i in range(1, 8)}, 12: "v" * 64,
                       13: "r" * 255, 14: MAX},
    "ack-empty": {1: TAG, 2: LOG, 3: NOW},
    "ack-hello": {1: TAG, 2: LOG, 3: NOW, 4: {1: INSTALL, 2: 5, 3: 17, 4: 5, 5: 12, 6: HASH, 7: 21,
                                             8: True, 9: 77}, 10: 1},
    "ack-hello-unknown": {1: TAG, 2: LOG, 3: NOW, 4: {1: INSTALL, 2: 1}},
    "ack-all": {1: TAG, 2: LOG, 3: NOW, 5: [[18, 3], [25, 1]], 6: [[1, 17, 0xdeadbeef]],
                7: [[24, 1, 2]], 8: [[1, 0, False], [1, 3, True]], 9: [[30, 2]], 10: 16, 11: 5000,
                12: 4},
    "ack-full": {1: 0, 2: 1, 3: 0, 5: [[2 * i + 1, 1] for i in range(64)],
                 6: [[MAX, 1, 2**32 - 1]], 12: 0},
    "config-three": CONFIG,
    "config-empty": {1: "a", 2: 1, 4: {}},
    "signed-ed25519": [PROTECTED, {}, dumps(CONFIG), bytes(range(64))],
    "signed-unsigned": [PROTECTED, {}, dumps(CONFIG), b""],
    "report-confirmed": {1: INSTALL, 2: 3, 3: 12, 4: HASH, 5: 12, 6: HASH, 7: 2},
    "report-rejected": {1: INSTALL, 2: 4, 3: 12, 4: HASH, 5: 13, 6: sha(b"other"), 7: 3,
                        8: "mqtt.keepalive", 9: "61x: expected a duration"},
    "report-none": {1: INSTALL, 2: 1, 7: 0},
    "hints-three": {1: bytes([0, 12, 64]), 2: bytes([0, 8, 127])},
    "base-three": {1: [0, -5, MAX]},
    "bridge-status-online": {1: True, 2: LOG, 3: NOW},
    "bridge-status-will": {1: False, 2: LOG, 3: NOW, 4: 2},
}




def real():
    """Four minutes of a host's vitals, under the rules that collectors declare."""
    rows = vitals.every(vitals.load(HERE.parent.parent / "bench/data/host2-1s.jsonl.gz"), 10)
    times, series = vitals.series_of(rows[-30:])
    SCHEMAS["host"] = vitals.schema_of(series, 10)
    times, cells = list(vitals.batches(times, series, 0, len(times), 24, 10))[0]
    BATCHES["host-minutes"] = (23, 0, times, cells)


real()


def batch(name, seq=1, low=0, schema=3, ext=None):
    """The batch of one of BATCHES, as a value."""
    if name in BATCHES:
        seq, low, times, cells = BATCHES[name]
    key = name.split("-")[0]
    times, cells = BATCHES[name][2:]
    return [TAG, seq, low, schema, times[0], len(times), 0,
            columns.encode(SCHEMAS[key], times, cells), (ext or {}) | text_max(cells)]


def text_max(cells):
    """What ext says about the longest text."""
    longest = max(columns.texts_of(cells), default=0)
    return {3: longest} if longest > columns.TEXT_SHORT else {}


def valid_vectors():
    """{name: value}"""
    out = {f"schema-{name}": value for name, value in SCHEMAS.items()}
    out.update({f"batch-{name}": batch(name) for name in BATCHES})
    out.update(MESSAGES)
    return out


def habits(key):
    """A base and hints for a schema: nothing special, but not nothing."""
    count = len(packed.columns_of(SCHEMAS[key]))
    name = next(name for name in BATCHES if name.startswith(key + "-"))
    cells = BATCHES[name][3]
    base = [packed.signed(next((c for c in cells[i] if isinstance(c, int)), 0) - i % 3)
            for i in range(count)]
    return base, [(i * 7 % 20, i * 5 % 24) for i in range(count)]


def packed_vectors():
    """{name: bytes}"""
    out = {}
    for key in SCHEMAS:
        base, hints = habits(key)
        out[f"base-{key}"] = dumps({1: base})
        out[f"hints-{key}"] = dumps({1: bytes(h[0] for h in hints), 2: bytes(h[1] for h in hints)})
        for name in BATCHES:
            if name.split("-")[0] != key:
                continue
            plain = batch(name)
            for enc in (1, 2):
                content = packed.encode(enc, SCHEMAS[key], *BATCHES[name][2:])
                out[f"batch-{name}-{enc}"] = dumps(plain[:6] + [enc, content, plain[8]])
                content = packed.encode(enc, SCHEMAS[key], *BATCHES[name][2:], base=base,
                                        base_object=out[f"base-{key}"],
                                        hints=hints if enc == 2 else None)
                ext = {1: 7, 2: 9} if enc == 2 else {1: 7}
                out[f"batch-{name}-{enc}-with"] = dumps(plain[:6] + [enc, content, ext | plain[8]])
    return out


def tolerated_vectors():
    """{name: bytes}"""
    one = dumps(batch("minimal-one"))
    return {
        "batch-minimal-extension": dumps(batch("minimal-one", ext={16: 30000, 99: ["x", {1: 2}]})),
        "batch-minimal-text-max": dumps(batch("minimal-one", ext={3: 255})),
        "batch-minimal-all-valid": dumps(batch("minimal-one")[:7] + [[b"\x01", b"\x00", [57]], {}]),
        "batch-minimal-long-heads": one.replace(b"\x18\x39", b"\x1b" + bytes(7) + b"\x39"),
        "status-unknown-keys": dumps({1: 1, 2: INSTALL, 3: 5, 4: 1, 40: {"a": [1.5, None]},
                                      1000: b"x"}),
        "status-explicit-default": dumps({1: 1, 2: INSTALL, 3: 5, 4: 1, 5: 0}),
        "ack-unknown-keys": dumps({1: TAG, 2: LOG, 3: NOW, 50: [[[[[[1]]]]]]}),
        "signed-tagged": dumps(cbor2.CBORTag(18, MESSAGES["signed-ed25519"])),
        "signed-headers": dumps([PROTECTED, {4: b"key"}, dumps(CONFIG), bytes(64)]),
        "bridge-status-unknown-keys": dumps({1: True, 2: LOG, 9: "x"}),
    }


def with_columns(name, parts):
    value = batch(name)
    value[7] = parts
    return value


def changed(value, key, new):
    out = dict(value)
    out[key] = new
    return out


def without(value, key):
    return {k: v for k, v in value.items() if k != key}


def terms_over():
    """Ten columns, 45 terms in rules: over 4 a column."""
    sums = [[c, [0, 0] + [x for o in range(c) for x in (o, 1)]] for c in range(1, 10)]
    return {1: 1, 2: 1, 3: 1, 4: [{1: "m", 3: [{1: f"f{i}", 2: 0} for i in range(10)], 4: [[]]}],
            5: sums}


def bad_vectors():
    """{name: (bytes, error, who)}: who is 'cddl' if the CDDL shows it, else 'reader'."""
    tiny, rules = SCHEMAS["minimal"], SCHEMAS["rules"]
    group, field = tiny[4][0], tiny[4][0][3][0]
    one, flat = batch("minimal-one"), batch("minimal-flat")
    status, ack, birth = MESSAGES["status-will"], MESSAGES["ack-empty"], MESSAGES["status-birth"]
    types = "types-extremes"
    cells = columns.encode(SCHEMAS["types"], *BATCHES[types][2:])

    def packed_one(enc, change):
        content = packed.encode(enc, tiny, *BATCHES["minimal-one"][2:])
        return one[:6] + [enc, change(content), {}]

    def packed_raw(name, plain):
        deflate = zlib.compressobj(9, zlib.DEFLATED, -12, 5)
        content = deflate.compress(plain) + deflate.flush()
        return batch(name)[:6] + [1, packed.crc32c(plain).to_bytes(4, "big") + content, {}]

    def item(index, new):
        return one[:index] + [new] + one[index + 1:]

    def a_field(**members):
        new = dict(field)
        new.update({int(k[1:]): v for k, v in members.items()})
        return {**tiny, 4: [{**group, 3: [new]}]}

    def a_group(key, new):
        return {**tiny, 4: [changed(group, key, new)]}

    def value(index, new, ext=None):
        items = list(cells[2])
        items[index] = new
        return with_columns(types, [cells[0], cells[1], items])[:8] + [ext or {}]

    def texts_over():
        """3,276 times a text of 1,300 bytes: 4,258,800."""
        parts = [None, b"\0", [1, 1, 1, 1, "x" * 1300]]
        return batch(types)[:5] + [3276, 0, parts, {3: 1300}]

    nested = b"\x81" * 8 + b"\x00"
    values = {
        "schema-empty-map": ({}, "EFORMAT", "cddl"),
        "schema-version-2": (changed(tiny, 1, 2), "EUNSUPPORTED", "cddl"),
        "schema-rules": (changed(tiny, 5, [1]), "EFORMAT", "cddl"),
        "schema-no-rules": (changed(tiny, 5, []), "EFORMAT", "cddl"),
        "schema-rule-of-itself": (changed(tiny, 5, [[0, [0, 0, 0, 1]]]), "EFORMAT", "reader"),
        "schema-rule-of-none": (changed(tiny, 5, [[1, [0, 0]]]), "EFORMAT", "reader"),
        "schema-rule-twice": (changed(tiny, 5, [[0, [0, 0]], [0, [1, 0]]]), "EFORMAT", "reader"),
        "schema-rule-over-0": (changed(tiny, 5, [[0, [0, 0], [0, 0]]]), "EFORMAT", "reader"),
        "schema-rule-over-1": (changed(tiny, 5, [[0, [0, 0], [1, 0]]]), "EFORMAT", "reader"),
        "schema-rule-odd": (changed(tiny, 5, [[0, [0, 0, 0]]]), "EFORMAT", "cddl"),
        "schema-rule-empty": (changed(tiny, 5, [[0, []]]), "EFORMAT", "cddl"),
        "schema-rule-later": (changed(rules, 5, [rules[5][1], rules[5][0]]), "EFORMAT", "reader"),
        "schema-rule-unsorted": (changed(rules, 5, [[2, [0, 0, 1, 1, 0, 1]]]), "EFORMAT", "reader"),
        "schema-rule-terms": (terms_over(), "ELIMIT", "reader"),
        "batch-minimal-packed-array": (item(6, 2), "EFORMAT", "reader"),
        "batch-minimal-packed-empty": (item(6, 2)[:7] + [b"", {}], "EFORMAT", "reader"),
        "batch-minimal-packed-crc": (packed_one(2, lambda d: b"\0" + d[1:]), "EFORMAT", "reader"),
        "batch-minimal-packed-long": (packed_one(2, lambda d: d + bytes(8)), "EFORMAT", "reader"),
        "batch-minimal-deflate-crc": (packed_one(1, lambda d: b"\0" + d[1:]), "EFORMAT", "reader"),
        "batch-minimal-deflate-long": (packed_one(1, lambda d: d + b"\0"), "EFORMAT", "reader"),
        "batch-minimal-deflate-cut": (packed_one(1, lambda d: d[:-1]), "EFORMAT", "reader"),
        "batch-minimal-deflate-shape": (packed_raw("minimal-one", b"\x08\x72"), "EFORMAT", "reader"),
        "batch-minimal-deflate-unit-1": (packed_raw("minimal-flat", b"\x0c\x01\x72" + bytes(8)),
                                         "EFORMAT", "reader"),
        "batch-minimal-deflate-wide-unit": (
            packed_raw("minimal-flat", b"\x0c\x80\x80\x80\x80\x10\x72" + bytes(8)), "EFORMAT", "reader"),
        "batch-minimal-deflate-unit-of-one": (packed_raw("minimal-one", b"\x0c\x02\x72"), "EFORMAT", "reader"),
        "batch-minimal-deflate-spare": (packed_raw("minimal-flat", b"\x01\xff\x72"), "EFORMAT",
                                        "reader"),
        "batch-minimal-deflate-wide": (packed_raw("minimal-one", b"\0" + b"\xff" * 9 + b"\x02"),
                                       "EFORMAT", "reader"),
        "batch-minimal-deflate-longer": (packed_raw("minimal-one", b"\0\xf2\0"), "EFORMAT", "reader"),
        "batch-minimal-deflate-more": (packed_raw("minimal-one", b"\0\x72\0"), "EFORMAT", "reader"),
        "batch-minimal-deflate-nan": (packed_raw("minimal-one", b"\2\1" + b"\0" * 6 + b"\xf8\x7f"),
                                      "EFORMAT", "reader"),
        "batch-irregular-deflate-back": (packed_raw("irregular-times", b"\1"), "EFORMAT", "reader"),
        "hints-one-kind": ({1: b"\x00"}, "EFORMAT", "cddl"),
        "hints-uneven": ({1: b"\x00", 2: b"\x00\x00"}, "EFORMAT", "reader"),
        "hints-65-bits": ({1: b"\x41", 2: b"\x00"}, "ELIMIT", "reader"),
        "hints-text": ({1: "a", 2: "b"}, "EFORMAT", "cddl"),
        "base-empty": ({1: []}, "EFORMAT", "cddl"),
        "base-missing": ({2: [1]}, "EFORMAT", "cddl"),
        "base-float": ({1: [1.5]}, "EFORMAT", "cddl"),
        "schema-unit-7": (changed(tiny, 2, 7), "EFORMAT", "cddl"),
        "schema-no-groups": (changed(tiny, 4, []), "ELIMIT", "cddl"),
        "schema-no-fields": (a_group(3, []), "EFORMAT", "cddl"),
        "schema-no-series": (a_group(4, []), "EFORMAT", "cddl"),
        "schema-default-every": (a_group(2, 1), "EFORMAT", "cddl"),
        "schema-default-kind": (a_field(k3=0), "EFORMAT", "cddl"),
        "schema-default-mul": (a_field(k6=1), "EFORMAT", "cddl"),
        "schema-type-5": (a_field(k2=5), "EUNSUPPORTED", "cddl"),
        "schema-decimals-16": (a_field(k4=16), "ELIMIT", "cddl"),
        "schema-empty-name": (a_field(k1=""), "EFORMAT", "cddl"),
        "schema-long-name": (a_field(k1="x" * 256), "ELIMIT", "cddl"),
        "schema-odd-tags": (a_group(4, [["a"]]), "EFORMAT", "cddl"),
        "schema-unsorted-tags": (a_group(4, [["b", "1", "a", "1"]]), "EFORMAT", "reader"),
        "schema-same-tag-twice": (a_group(4, [["a", "1", "a", "2"]]), "EFORMAT", "reader"),
        "schema-newline-in-tag": (a_group(4, [["a", "x\ny"]]), "EFORMAT", "reader"),
        "schema-same-series-twice": (a_group(4, [["a", "1"], ["a", "1"]]), "EFORMAT", "reader"),
        "schema-17-tags": (a_group(4, [[x for i in range(17) for x in (f"k{i:02}", "v")]]), "ELIMIT",
                           "reader"),
        "schema-2049-columns": (a_group(4, [["a", str(i)] for i in range(2049)]), "ELIMIT",
                                "reader"),
        "batch-minimal-no-ticks": (item(5, 0), "EFORMAT", "cddl"),
        "batch-minimal-too-many-ticks": (item(5, 16385), "ELIMIT", "cddl"),
        "batch-minimal-seq-0": (item(1, 0), "EFORMAT", "cddl"),
        "batch-minimal-seq-2-63": (item(1, 2**63), "ELIMIT", "cddl"),
        "batch-minimal-low-over-seq": (item(2, 2), "EFORMAT", "reader"),
        "batch-minimal-wide-tag": (item(0, 2**32), "ELIMIT", "cddl"),
        "batch-minimal-schema-65536": (item(3, 65536), "ELIMIT", "cddl"),
        "batch-minimal-before-1970": (item(4, -10), "EFORMAT", "cddl"),
        "batch-minimal-off-step": (item(4, T0 + 1), "EFORMAT", "reader"),
        "batch-minimal-end-of-time": (item(4, 2**63 - 8), "EFORMAT", "reader"),
        "batch-minimal-encoding-9": (item(6, 9), "EUNSUPPORTED", "reader"),
        "batch-minimal-base": (item(8, {1: 4}), "EUNSUPPORTED", "reader"),
        "batch-minimal-ext-text-key": (item(8, {"a": 4}), "EFORMAT", "cddl"),
        "batch-minimal-eight-items": (one[:8], "EFORMAT", "cddl"),
        "batch-minimal-ten-items": (one + [0], "EFORMAT", "cddl"),
        "batch-minimal-two-parts": (item(7, [None, b"\0"]), "EFORMAT", "cddl"),
        "batch-minimal-times-though-step": (item(7, [None, b"\0", [57], []]), "EFORMAT", "reader"),
        "batch-minimal-valid-number": (item(7, [1, b"\0", [57]]), "EFORMAT", "cddl"),
        "batch-minimal-valid-empty": (item(7, [b"", b"\0", [57]]), "EFORMAT", "reader"),
        "batch-minimal-valid-long": (item(7, [b"\1\0", b"\0", [57]]), "EFORMAT", "reader"),
        "batch-minimal-valid-spare-bit": (item(7, [b"\3", b"\0", [57]]), "EFORMAT", "reader"),
        "batch-minimal-varying-missing": (item(7, [None, b"", [57]]), "EFORMAT", "reader"),
        "batch-minimal-varying-spare-bit": (item(7, [None, b"\2", [57]]), "EFORMAT", "reader"),
        "batch-minimal-no-values": (item(7, [None, b"\0", []]), "EFORMAT", "reader"),
        "batch-minimal-value-over": (item(7, [None, b"\0", [57, 57]]), "EFORMAT", "reader"),
        "batch-minimal-few-deltas": (flat[:7] + [[None, b"\1", [57, 0, 0, 0, 0]], {}], "EFORMAT",
                                     "reader"),
        "batch-minimal-infinite": (item(7, [None, b"\0", [float("inf")]]), "EFORMAT", "reader"),
        "batch-minimal-nan": (item(7, [None, b"\0", [float("nan")]]), "EFORMAT", "reader"),
        "batch-minimal-text-in-float": (item(7, [None, b"\0", ["57"]]), "EFORMAT", "reader"),
        "batch-minimal-bool-item": (item(7, [None, b"\0", [True]]), "EFORMAT", "cddl"),
        "batch-minimal-wide-integer": (item(7, [None, b"\0", [2**63]]), "EFORMAT", "reader"),
        "batch-minimal-array-item": (item(7, [None, b"\0", [[]]]), "EFORMAT", "cddl"),
        "batch-types-bool-2": (value(15, 2), "EFORMAT", "reader"),
        "batch-types-bool-minus-1": (value(15, -1), "EFORMAT", "reader"),
        "batch-types-null-first": (value(19, None), "EFORMAT", "reader"),
        "batch-types-null-in-int": (value(1, None), "EFORMAT", "reader"),
        "batch-types-float-in-int": (value(0, 1.5), "EFORMAT", "reader"),
        "batch-types-integer-in-text": (value(20, 1), "EFORMAT", "reader"),
        "batch-types-long-text": (value(20, "x" * 256), "ELIMIT", "cddl"),
        "batch-types-text-max-65536": (value(20, "x", {3: 65536}), "ELIMIT", "cddl"),
        "batch-types-text-over-max": (value(20, "x" * 257, {3: 256}), "ELIMIT", "reader"),
        "batch-types-too-much-text": (texts_over(), "ELIMIT", "reader"),
        "batch-vitals-product-over": (with_columns("vitals-full", [None, b"\0", [1, 1, 1, 1, 2**63,
                                                                               1]]), "EFORMAT",
                                      "reader"),
        "batch-irregular-few-times": (with_columns("irregular-times", [b"\0\0", b"\0", [], [0, 0]]),
                                      "EFORMAT", "reader"),
        "batch-irregular-no-times": (with_columns("irregular-times", [b"\0\0", b"\0", []]),
                                     "EFORMAT", "reader"),
        "batch-irregular-time-back": (with_columns("irregular-times", [b"\0\0", b"\0", [],
                                                                       [0, -1, 5]]), "EFORMAT",
                                      "cddl"),
        "batch-irregular-time-over": (with_columns("irregular-times", [b"\0\0", b"\0", [],
                                                                       [0, 1, 2**63 - 1]]),
                                      "ELIMIT", "reader"),
        "key-kind-9": (changed(MESSAGES["key-binding"], 2, 9), "EUNSUPPORTED", "cddl"),
        "key-kind-0": (changed(MESSAGES["key-binding"], 2, 0), "EUNSUPPORTED", "cddl"),
        "key-short-hash": (changed(MESSAGES["key-binding"], 4, bytes(31)), "EFORMAT", "cddl"),
        "key-no-hash": (without(MESSAGES["key-binding"], 4), "EFORMAT", "cddl"),
        "key-empty-object": (changed(MESSAGES["key-binding"], 5, b""), "EFORMAT", "cddl"),
        "key-large-object": (changed(MESSAGES["key-binding"], 5, bytes(16385)), "ELIMIT", "cddl"),
        "status-presence-3": (changed(status, 1, 3), "EUNSUPPORTED", "cddl"),
        "status-no-epoch": (without(status, 3), "EFORMAT", "cddl"),
        "status-epoch-2-63": (changed(status, 3, 2**63), "ELIMIT", "cddl"),
        "status-long-reason": (changed(status, 13, "x" * 256), "ELIMIT", "cddl"),
        "status-reason-bytes": (changed(status, 13, b"x"), "EFORMAT", "cddl"),
        "status-array": ([1], "EFORMAT", "cddl"),
        "status-negative-key": (changed(status, -1, 1), "EFORMAT", "cddl"),
        "status-text-key": (changed(status, "a", 1), "EFORMAT", "cddl"),
        "status-ledger-number": (changed(birth, 11, 5), "EFORMAT", "cddl"),
        "ack-no-log": (without(ack, 2), "EFORMAT", "cddl"),
        "ack-wide-tag": (changed(ack, 1, 2**32), "ELIMIT", "cddl"),
        "ack-empty-list": (changed(ack, 5, []), "EFORMAT", "cddl"),
        "ack-65-ranges": (changed(ack, 5, [[i + 1, 1] for i in range(65)]), "ELIMIT", "cddl"),
        "ack-range-from-0": (changed(ack, 5, [[0, 1]]), "EFORMAT", "cddl"),
        "ack-range-of-none": (changed(ack, 5, [[1, 0]]), "EFORMAT", "cddl"),
        "ack-range-over-the-end": (changed(ack, 5, [[MAX, 2]]), "EFORMAT", "reader"),
        "ack-range-of-three": (changed(ack, 5, [[1, 1, 1]]), "EFORMAT", "cddl"),
        "ack-ranges-overlap": (changed(ack, 6, [[1, 9, 5], [9, 1, 5]]), "EFORMAT", "reader"),
        "ack-ranges-descend": (changed(ack, 5, [[9, 1], [1, 2]]), "EFORMAT", "reader"),
        "ack-durable-without-crc": (changed(ack, 6, [[1, 1]]), "EFORMAT", "cddl"),
        "ack-need-kind-7": (changed(ack, 8, [[7, 1, True]]), "EUNSUPPORTED", "cddl"),
        "ack-need-number": (changed(ack, 8, [[1, 1, 1]]), "EFORMAT", "cddl"),
        "ack-hello-without-epoch": (changed(ack, 4, {1: 1}), "EFORMAT", "cddl"),
        "config-bad-device": (changed(CONFIG, 1, "Pump 07"), "EFORMAT", "cddl"),
        "config-revision-0": (changed(CONFIG, 2, 0), "EFORMAT", "cddl"),
        "config-number-value": (changed(CONFIG, 4, {"interval": 30}), "EFORMAT", "cddl"),
        "config-empty-key": (changed(CONFIG, 4, {"": "x"}), "EFORMAT", "cddl"),
        "config-257-keys": (changed(CONFIG, 4, {f"k{i:03}": "" for i in range(257)}), "ELIMIT",
                            "reader"),
        "signed-three-items": ([PROTECTED, {}, b"x"], "EFORMAT", "cddl"),
        "signed-other-algorithm": ([dumps({1: -7}), {}, b"x", b""], "EUNSUPPORTED", "cddl"),
        "signed-short-signature": ([PROTECTED, {}, b"x", bytes(63)], "EFORMAT", "cddl"),
        "signed-long-signature": ([PROTECTED, {}, b"x", bytes(65)], "ELIMIT", "cddl"),
        "signed-tag-17": (cbor2.CBORTag(17, MESSAGES["signed-unsigned"]), "EFORMAT", "cddl"),
        "report-state-6": (changed(MESSAGES["report-none"], 7, 6), "EUNSUPPORTED", "cddl"),
        "report-no-state": (without(MESSAGES["report-none"], 7), "EFORMAT", "cddl"),
        "bridge-status-online-1": ({1: 1, 2: LOG}, "EFORMAT", "cddl"),
        "bridge-status-no-log": ({1: True}, "EFORMAT", "cddl"),
    }
    out = {name: (dumps(v), error, who) for name, (v, error, who) in values.items()}
    will, tiny_bytes, config = dumps(status), dumps(tiny), dumps(CONFIG)
    raw = {
        "status-nothing": b"",
        "status-cut": will[:-1],
        "status-left-over": will + b"\x00",
        "status-key-twice": b"\xa5" + will[1:] + b"\x04\x00",
        "status-keys-descend": b"\xa5" + will[1:] + b"\x03\x00",
        "status-indefinite-map": b"\xbf" + will[1:] + b"\xff",
        "status-indefinite-text": b"\xa5" + will[1:] + b"\x0d\x7f\x61a\xff",
        "status-tagged": b"\xd8\x37" + will,
        "status-undefined": b"\xa5" + will[1:] + b"\x18\x28\xf7",
        "status-simple-value": b"\xa5" + will[1:] + b"\x18\x28\xf8\x20",
        "status-tag-inside": b"\xa5" + will[1:] + b"\x18\x28\xc1\x00",
        "status-nested-9": b"\xa5" + will[1:] + b"\x18\x28" + nested,
        "status-map-of-4-billion": b"\xba\xff\xff\xff\xff" + will[1:],
        "status-array-lies": b"\xa5" + will[1:] + b"\x18\x28\x9b" + b"\xff" * 8,
        "status-text-lies": b"\xa5" + will[1:] + b"\x0d\x7b" + b"\xff" * 8 + b"a",
        "status-bad-utf8": b"\xa5" + will[1:] + b"\x0d\x62\xc3\x28",
        "schema-long-head": tiny_bytes.replace(b"\x01\x01\x02", b"\x01\x18\x01\x02", 1),
        "schema-long-length": tiny_bytes.replace(b"\x64load", b"\x78\x04load", 1),
        "config-keys-unsorted": config.replace(b"\x68interval\x6330s", b"", 1)
        .replace(b"\x04\xa3", b"\x04\xa3", 1).replace(b"\x6360s", b"\x6360s\x68interval\x6330s", 1),
        "config-key-twice": dumps({1: "a", 2: 1, 4: {}})[:-1] + b"\xa2\x61x\x60\x61x\x60",
        "signed-left-over": dumps(MESSAGES["signed-unsigned"]) + b"\x00",
    }
    out.update({name: (data, "EFORMAT", "reader") for name, data in raw.items()})
    return out


def files():
    """{path under schemas/vectors: bytes}, all of them."""
    out = {}
    for name, value in valid_vectors().items():
        out[f"{name}.cbor"] = dumps(value)
        out[f"{name}.diag"] = (diag(cbor2.loads(dumps(value))) + "\n").encode()
    for name, (_, _, times, cells) in BATCHES.items():
        text = json.dumps({"times": times, "columns": cells}, ensure_ascii=False)
        out[f"batch-{name}.json"] = (text + "\n").encode()
    for name, data in packed_vectors().items():
        out[f"packed/{name}.cbor"] = data
    for name, data in tolerated_vectors().items():
        out[f"tolerated/{name}.cbor"] = data
        out[f"tolerated/{name}.diag"] = (diag(cbor2.loads(data)) + "\n").encode()
    index = []
    for name, (data, error, who) in sorted(bad_vectors().items()):
        out[f"bad/{name}.cbor"] = data
        index.append(f"{name} {error} {who}\n")
    out["bad/INDEX"] = "".join(index).encode()
    return out


def main():
    for path, data in files().items():
        target = VECTORS / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and target.read_bytes() != data and path != "bad/INDEX":
            sys.exit(f"{path} is published and would change")
        target.write_bytes(data)


if __name__ == "__main__":
    main()
