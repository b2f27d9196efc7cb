"""Captures of /proc (bench/data/README.md) as the 122 series of a host's vitals: the fields that
Telegraf's cpu, mem, swap, disk, diskio, net, system, processes and kernel inputs report by default,
with the schema, the cells and the rules that ours have.

A Series has `scaled` integers (value = scaled * mul / 10^decimals); `exact` are the percentages
before they are rounded to two decimals, for comparison with formats that send doubles.
"""
import gzip
import json
import pathlib

CPU = ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"]
STAT = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"]
BUSY = ["user", "system", "nice", "iowait", "irq", "softirq", "steal"]
MEM = {"active": "Active", "available": "MemAvailable", "buffered": "Buffers", "cached": "Cached",
       "commit_limit": "CommitLimit", "committed_as": "Committed_AS", "dirty": "Dirty",
       "free": "MemFree", "high_free": "HighFree", "high_total": "HighTotal",
       "huge_page_size": "Hugepagesize", "huge_pages_free": "HugePages_Free",
       "huge_pages_total": "HugePages_Total", "inactive": "Inactive", "low_free": "LowFree",
       "low_total": "LowTotal", "mapped": "Mapped", "page_tables": "PageTables", "shared": "Shmem",
       "slab": "Slab", "sreclaimable": "SReclaimable", "sunreclaim": "SUnreclaim",
       "swap_cached": "SwapCached", "swap_free": "SwapFree", "swap_total": "SwapTotal",
       "total": "MemTotal", "vmalloc_chunk": "VmallocChunk", "vmalloc_total": "VmallocTotal",
       "vmalloc_used": "VmallocUsed", "write_back": "Writeback", "write_back_tmp": "WritebackTmp"}
DISKIO = ["reads", "merged_reads", "read_bytes", "read_time", "writes", "merged_writes",
          "write_bytes", "write_time", "iops_in_progress", "io_time", "weighted_io_time"]
NET = {"bytes_recv": 0, "packets_recv": 1, "err_in": 2, "drop_in": 3, "bytes_sent": 8,
       "packets_sent": 9, "err_out": 10, "drop_out": 11}
STATES = {"blocked": "D", "dead": "X", "idle": "I", "paging": "W", "running": "R", "sleeping": "S",
          "stopped": "T", "zombies": "Z"}
GAUGE, COUNTER = 0, 1


class Series:
    def __init__(self, measurement, tags, field, scaled, decimals=0, mul=1, kind=GAUGE, exact=None):
        self.measurement, self.tags, self.field = measurement, tags, field
        self.scaled, self.decimals, self.mul, self.kind = scaled, decimals, mul, kind
        self.exact = exact
        self.key = (measurement, tags.get("cpu", ""), field)

    def value(self, i, full=False):
        if not self.decimals:
            return self.scaled[i] * self.mul
        return self.exact[i] if full and self.exact else self.scaled[i] / 10**self.decimals


def load(path):
    opener = gzip.open if str(path).endswith(".gz") else open
    rows = []
    with opener(pathlib.Path(path), "rt") as lines:
        for line in lines:
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue  # the last line of a capture that was stopped
    return rows


def every(rows, step):
    """The rows at whole multiples of step seconds; each second once."""
    out, last = [], None
    for row in rows:
        second = round(row["t"] / 1e9)
        if second % step == 0 and second != last:
            out.append(row)
            last = second
    return out


def percent(part, whole):
    return (2 * part * 10000 + whole) // (2 * whole) if whole else 0


def cpu_series(rows):
    names = sorted(n for n in rows[0]["stat"] if n.startswith("cpu") and n != "cpu")
    for name in names + ["cpu"]:
        scaled, exact = {f: [] for f in CPU}, {f: [] for f in CPU}
        for before, now in zip(rows, rows[1:]):
            ticks = [n - b for b, n in zip(before["stat"][name], now["stat"][name])]
            spent = dict(zip(STAT, ticks + [0] * 10))
            whole = sum(spent[f] for f in CPU[:8])
            for f in CPU:
                scaled[f].append(percent(spent[f], whole))
                exact[f].append(100.0 * spent[f] / whole if whole > 0 else 0.0)
        tag = "cpu-total" if name == "cpu" else name
        for f in CPU:
            yield Series("cpu", {"cpu": tag}, "usage_" + f, scaled[f], 2, exact=exact[f])


def ratio(measurement, tags, field, parts, wholes):
    exact = [100.0 * p / w if w else 0.0 for p, w in zip(parts, wholes)]
    return Series(measurement, tags, field, [percent(p, w) for p, w in zip(parts, wholes)], 2,
                  exact=exact)


def mem_series(rows):
    mem = [row["mem"] for row in rows]
    for field, key in MEM.items():
        yield Series("mem", {}, field, [m.get(key, 0) for m in mem],
                     mul=1 if "pages_" in field and "huge" in field else 1024)
    total, free = [m["MemTotal"] for m in mem], [m["MemAvailable"] for m in mem]
    used = [t - f for t, f in zip(total, free)]
    yield Series("mem", {}, "used", used, mul=1024)
    yield ratio("mem", {}, "used_percent", used, total)
    yield ratio("mem", {}, "available_percent", free, total)


def disk_series(rows):
    tags = {"device": "vda", "fstype": "ext4", "mode": "rw", "path": "/"}
    fs = [row["fs"]["/"] for row in rows]
    block = fs[0][0]
    used = [x[1] - x[2] for x in fs]
    yield Series("disk", tags, "total", [x[1] for x in fs], mul=block)
    yield Series("disk", tags, "free", [x[3] for x in fs], mul=block)
    yield Series("disk", tags, "used", used, mul=block)
    yield ratio("disk", tags, "used_percent", used, [u + x[3] for u, x in zip(used, fs)])
    inodes = [x[4] - x[5] for x in fs]
    yield Series("disk", tags, "inodes_total", [x[4] for x in fs])
    yield Series("disk", tags, "inodes_free", [x[5] for x in fs])
    yield Series("disk", tags, "inodes_used", inodes)
    yield ratio("disk", tags, "inodes_used_percent", inodes, [x[4] for x in fs])


def counters(measurement, tags, rows, fields):
    """fields: {name: (function of a row, mul)}"""
    for name, (get, mul) in fields.items():
        yield Series(measurement, tags, name, [get(row) for row in rows], mul=mul, kind=COUNTER)


def io_series(rows):
    disk = max((d for d in rows[0]["dsk"] if not d.startswith(("zram", "loop", "dm"))),
               key=lambda d: rows[0]["dsk"][d][0])
    order = ["reads", "writes", "read_bytes", "write_bytes", "read_time", "write_time", "io_time",
             "weighted_io_time", "iops_in_progress", "merged_reads", "merged_writes"]
    for name in order:
        at = DISKIO.index(name)
        yield Series("diskio", {"name": disk}, name, [row["dsk"][disk][at] for row in rows],
                     mul=512 if name.endswith("bytes") else 1,
                     kind=GAUGE if name == "iops_in_progress" else COUNTER)
    net = max((n for n in rows[0]["net"] if n != "lo"), key=lambda n: rows[0]["net"][n][0])
    for name, at in NET.items():
        yield Series("net", {"interface": net}, name, [row["net"][net][at] for row in rows],
                     kind=COUNTER)


def system_series(rows):
    n = len(rows)
    for i, name in enumerate(("load1", "load5", "load15")):
        scaled = [int(row["load"].split()[i].replace(".", "")) for row in rows]
        yield Series("system", {}, name, scaled, 2)
    cpus = sum(name.startswith("cpu") for name in rows[0]["stat"]) - 1
    for name, value in (("n_cpus", cpus), ("n_users", 0), ("n_unique_users", 0)):
        yield Series("system", {}, name, [value] * n)
    yield Series("system", {}, "uptime", [int(row["up"].split(".")[0]) for row in rows], kind=COUNTER)
    for name, state in STATES.items():
        yield Series("processes", {}, name, [row["proc"].get(state, 0) for row in rows])
    yield Series("processes", {}, "unknown", [0] * n)
    yield Series("processes", {}, "total",
                 [sum(v for k, v in row["proc"].items() if k != "threads") for row in rows])
    yield Series("processes", {}, "total_threads", [row["proc"]["threads"] for row in rows])


def swap_kernel_series(rows):
    mem = [row["mem"] for row in rows]
    total, free = [m["SwapTotal"] for m in mem], [m["SwapFree"] for m in mem]
    used = [t - f for t, f in zip(total, free)]
    for name, values in (("total", total), ("free", free), ("used", used)):
        yield Series("swap", {}, name, values, mul=1024)
    yield ratio("swap", {}, "used_percent", used, total)
    yield from counters("swap", {}, rows, {"in": (lambda r: r["vm"]["pswpin"], 4096),
                                           "out": (lambda r: r["vm"]["pswpout"], 4096)})
    yield Series("kernel", {}, "boot_time", [row["stat"]["btime"][0] for row in rows])
    yield from counters("kernel", {}, rows, {
        "context_switches": (lambda r: r["stat"]["ctxt"][0], 1),
        "interrupts": (lambda r: r["stat"]["intr"][0], 1),
        "processes_forked": (lambda r: r["stat"]["processes"][0], 1),
        "disk_pages_in": (lambda r: r["vm"]["pgpgin"], 1),
        "disk_pages_out": (lambda r: r["vm"]["pgpgout"], 1)})
    yield Series("kernel", {}, "entropy_avail", [row["ent"] for row in rows])


def series_of(rows):
    """(times in s, series); the first row only serves differences."""
    times = [round(row["t"] / 1e9) for row in rows[1:]]
    out = list(cpu_series(rows))
    for part in (mem_series, disk_series, io_series, system_series, swap_kernel_series):
        out.extend(part(rows[1:]))
    return times, out


def rules_of(series):
    """[(target, num, den)] of keys: what collectors know about their own fields."""
    cores = sorted({s.key[1] for s in series if s.measurement == "cpu" and s.key[1] != "cpu-total"})
    total = "cpu-total"
    for f in BUSY + ["guest", "guest_nice"]:
        yield (("cpu", total, "usage_" + f), [0, 0, *[(("cpu", c, "usage_" + f), 1) for c in cores]],
               [len(cores), 0])
    for core in cores + [total]:
        yield (("cpu", core, "usage_idle"),
               [10000, 0, *[(("cpu", core, "usage_" + f), -1) for f in BUSY]], None)

    def share(m, field, part, *whole):
        weights = {}
        for name, weight in [(part, 20000)] + [(w, 1) for w in whole]:
            weights[name] = weights.get(name, 0) + weight
        return ((m, "", field), [0, 0, *[((m, "", k), w) for k, w in weights.items()]],
                [0, 0, *[((m, "", w), 2) for w in whole]])

    def plain(m, field, *terms, den=None, constant=0, time=0):
        return ((m, "", field), [constant, time, *[((t[0], "", t[1]), t[2]) for t in terms]],
                [den, 0] if den else None)

    yield plain("mem", "used", ("mem", "total", 1), ("mem", "available", -1))
    yield share("mem", "used_percent", "used", "total")
    yield share("mem", "available_percent", "available", "total")
    yield plain("mem", "slab", ("mem", "sreclaimable", 1), ("mem", "sunreclaim", 1))
    yield plain("mem", "free", ("mem", "available", 1))
    yield plain("mem", "inactive", ("mem", "free", -1))
    yield plain("disk", "used", ("disk", "total", 1), ("disk", "free", -1))
    yield share("disk", "used_percent", "used", "used", "free")
    yield plain("disk", "inodes_used", ("disk", "inodes_total", 1), ("disk", "inodes_free", -1))
    yield share("disk", "inodes_used_percent", "inodes_used", "inodes_total")
    yield plain("diskio", "weighted_io_time", ("diskio", "read_time", 1), ("diskio", "write_time", 1))
    yield plain("kernel", "disk_pages_in", ("diskio", "read_bytes", 1), den=2)
    yield plain("kernel", "disk_pages_out", ("diskio", "write_bytes", 1), den=2)
    yield plain("processes", "total", *[("processes", s, 1) for s in STATES])
    yield plain("system", "uptime", ("kernel", "boot_time", -1), time=1)
    yield plain("swap", "used", ("swap", "total", 1), ("swap", "free", -1))


def schema_of(series, step, rules=True):
    """The decoded CBOR of schemas/schema.cddl. Series of a measurement share their fields."""
    groups, order = [], {}
    for s in series:
        tags = [x for k in sorted(s.tags) for x in (k, s.tags[k])]
        if not groups or groups[-1][1] != s.measurement:
            groups.append({1: s.measurement, 3: [], 4: []})
        group = groups[-1]
        field = {1: s.field, 2: 2 if s.decimals else 0}
        field |= {3: s.kind} if s.kind else {}
        field |= {4: s.decimals} if s.decimals else {}
        field |= {6: s.mul} if s.mul > 1 else {}
        if tags not in group[4]:
            group[4].append(tags)
        if field not in group[3]:
            group[3].append(field)
    schema = {1: 1, 2: 10**9, 3: step, 4: groups}
    for i, s in enumerate(series):
        order[s.key] = i
    if rules:
        schema[5] = [numbered(rule, order) for rule in rules_of(series)]
    return schema


def numbered(rule, order):
    target, *sums = rule

    def linear(terms):
        pairs = sorted((order[key], factor) for key, factor in terms[2:])
        return terms[:2] + [x for pair in pairs for x in pair]

    return [order[target]] + [linear(terms) for terms in sums if terms]


def batches(times, series, first, last, n, step):
    """[(times, cells)] of n ticks each, from index first to before last; no gaps."""
    at = first
    while at + n <= last:
        part = times[at:at + n]
        assert part[-1] - part[0] == (n - 1) * step, "the capture has a gap"
        yield part, [s.scaled[at:at + n] for s in series]
        at += n
