#!/usr/bin/env python3
"""What the collectors must report for a captured tree, worked out from its raw files with Python's
floats, apart from the C code: line protocol without times, sorted, on standard output.

usage: expect.py TREE     TREE/t0/proc/stat is the first tick, TREE/t1/{proc,sys} the second;
                          TREE/statvfs lists "path frsize blocks bfree bavail files ffree".
       expect.py --live   the same figures of this machine, where they stand still between two looks
"""
import os
import re
import sys
from collections import OrderedDict

IGNORED_FS = {"tmpfs", "devtmpfs", "devfs", "iso9660", "overlay", "aufs", "squashfs", "autofs"}
# The kernel gives these no size. Seen through a chroot's mount table statvfs means another place.
PSEUDO_FS = {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "securityfs", "debugfs", "bpf", "tracefs", "pstore",
             "mqueue", "configfs", "fusectl", "nsfs", "autofs", "binfmt_misc", "efivarfs"}
NETWORK_FS = {"nfs", "nfs4", "cifs", "fuse.sshfs", "9p", "ceph", "smb3"}
CPU_FIELDS = "user nice system idle iowait irq softirq steal guest guest_nice".split()
MEM = dict(
    active="Active", available="MemAvailable", buffered="Buffers", commit_limit="CommitLimit",
    committed_as="Committed_AS", dirty="Dirty", free="MemFree", high_free="HighFree",
    high_total="HighTotal", huge_page_size="Hugepagesize", inactive="Inactive", low_free="LowFree",
    low_total="LowTotal", mapped="Mapped", page_tables="PageTables", shared="Shmem", slab="Slab",
    sreclaimable="SReclaimable", sunreclaim="SUnreclaim", swap_cached="SwapCached",
    swap_free="SwapFree", swap_total="SwapTotal", total="MemTotal", vmalloc_chunk="VmallocChunk",
    vmalloc_total="VmallocTotal", vmalloc_used="VmallocUsed", write_back="Writeback",
    write_back_tmp="WritebackTmp")


def text(*path):
    try:
        with open(os.path.join(*path), encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return None


def emit(measurement, tags, fields):
    parts = []
    for name, value in fields.items():
        parts.append(f"{name}={value}i" if isinstance(value, int) else f"{name}={value!r}")
    where = "".join(f",{key}={value}" for key, value in sorted(tags.items()))
    return f"{measurement}{where} " + ",".join(parts)


def percent(part, whole):
    return 100.0 * part / whole if whole else 0.0


def cpu_times(stat):
    times = OrderedDict()
    for line in (stat or "").splitlines():
        words = line.split()
        if words and re.fullmatch(r"cpu\d*", words[0]) and all(w.isdigit() for w in words[1:]):
            numbers = [int(word) for word in words[1:11]]
            times[words[0]] = dict(zip(CPU_FIELDS, numbers + [0] * (10 - len(numbers))))
    return times


def cpu(before, now):
    first = cpu_times(before)
    for name, b in cpu_times(now).items():
        a = first.get(name)
        if not a:
            continue
        d = {field: max(0, b[field] - a[field]) for field in CPU_FIELDS}
        whole = sum(d[field] for field in CPU_FIELDS[:8])
        if sum(b[f] for f in CPU_FIELDS[:8]) <= sum(a[f] for f in CPU_FIELDS[:8]):
            continue
        d["user"] = max(0, d["user"] - d["guest"])
        d["nice"] = max(0, d["nice"] - d["guest_nice"])
        fields = {"usage_" + field: min(100.0, percent(d[field], whole)) for field in CPU_FIELDS}
        yield emit("cpu", {"cpu": "cpu-total" if name == "cpu" else name}, fields)


def named(content):
    found = {}
    for line in (content or "").splitlines():
        words = line.replace(":", " ").split()
        if len(words) >= 2 and re.fullmatch(r"\d+", words[1]):
            found[words[0]] = int(words[1])
    return found


def mem_and_swap(meminfo, vmstat):
    kb = named(meminfo)
    fields = {name: kb.get(key, 0) * 1024 for name, key in MEM.items()}
    fields["huge_pages_free"] = kb.get("HugePages_Free", 0)
    fields["huge_pages_total"] = kb.get("HugePages_Total", 0)
    fields["cached"] = (kb.get("Cached", 0) + kb.get("SReclaimable", 0)) * 1024
    if "MemAvailable" not in kb:
        fields["available"] = fields["free"] + fields["cached"]
    fields["used"] = fields["total"] - fields["available"]
    fields["used_percent"] = percent(fields["used"], fields["total"])
    fields["available_percent"] = percent(fields["available"], fields["total"])
    yield emit("mem", {}, fields)
    swap = {"total": fields["swap_total"], "free": fields["swap_free"]}
    swap["used"] = swap["total"] - swap["free"]
    swap["used_percent"] = percent(swap["used"], swap["total"])
    pages = named(vmstat)
    for name, key in (("in", "pswpin"), ("out", "pswpout")):
        if key in pages:
            swap[name] = pages[key] * 4096
    yield emit("swap", {}, swap)


def kernel(stat, vmstat, entropy):
    counts, pages = named(stat), named(vmstat)
    fields = {}
    for name, key in (("boot_time", "btime"), ("context_switches", "ctxt"), ("interrupts", "intr"),
                      ("processes_forked", "processes")):
        if key in counts:
            fields[name] = counts[key]
    for name, key in (("disk_pages_in", "pgpgin"), ("disk_pages_out", "pgpgout")):
        if key in pages:
            fields[name] = pages[key]
    if entropy is not None:
        fields["entropy_avail"] = int(entropy)
    yield emit("kernel", {}, fields)


def unescape(word):
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), word)


def shown(value):
    return "".join("_" if ord(c) < 32 or ord(c) == 127 or 0xdc80 <= ord(c) <= 0xdcff else c
                   for c in value)


def disk(proc, sysfs, statvfs):
    table = text(proc, "1/mountinfo")
    if table is None:
        table = text(proc, "self/mountinfo")
    mounts = OrderedDict()
    for line in (table or "").splitlines():
        left, found, right = line.partition(" - ")
        left, right = left.split(), right.split()
        if not found or len(left) < 6 or len(right) < 2:
            continue
        path = unescape(left[4])
        mounts.pop(path, None)
        mounts[path] = (left, right)
    for path, (left, right) in mounts.items():
        fstype, source = right[0], unescape(right[1])
        if fstype in IGNORED_FS | NETWORK_FS | PSEUDO_FS:
            continue
        usage = statvfs(path)
        if not usage or usage[1] == 0:
            continue
        device = source if source.startswith("/") or left[3] == "/" else unescape(left[3])
        if device == "/dev/root" or device.startswith("/dev/mapper/"):
            link = os.path.join(sysfs, "dev/block", left[2])
            if os.path.islink(link):
                device = os.path.basename(os.readlink(link))
        device = (fstype if device in ("none", "") else device).replace("/dev/", "")
        options = left[5].split(","), (right[2].split(",") if len(right) > 2 else [])
        mode = "ro" if "ro" in options[0] + options[1] else "rw" if "rw" in options[0] else "unknown"
        tags = {"path": shown(path), "device": shown(device), "fstype": fstype, "mode": mode}
        label = text(sysfs, "block", device, "dm/name")
        if label:
            tags["label"] = label.strip()
        size, blocks, bfree, bavail, files, ffree = usage
        fields = {"total": blocks * size, "free": bavail * size, "used": (blocks - bfree) * size}
        fields["used_percent"] = percent(fields["used"], fields["used"] + fields["free"])
        fields["inodes_total"], fields["inodes_free"] = files, ffree
        fields["inodes_used"] = files - ffree
        fields["inodes_used_percent"] = percent(files - ffree, files)
        yield emit("disk", tags, fields)


def diskio(diskstats):
    names = ("reads merged_reads read_bytes read_time writes merged_writes write_bytes write_time "
             "iops_in_progress io_time weighted_io_time").split()
    for line in (diskstats or "").splitlines():
        words = line.split()
        if len(words) < 14 or not all(word.isdigit() for word in words[3:14]):
            continue
        values = [int(word) for word in words[3:14]]
        if not any(values):
            continue
        fields = dict(zip(names, values))
        fields["read_bytes"] *= 512
        fields["write_bytes"] *= 512
        yield emit("diskio", {"name": words[2]}, fields)


def net(proc, sysfs):
    for line in (text(proc, "net/dev") or "").splitlines()[2:]:
        name, found, rest = line.rpartition(":")
        name, words = name.strip(), rest.split()
        if not found or len(words) < 16 or not all(word.isdigit() for word in words):
            continue
        flags = text(sysfs, "class/net", name, "flags")
        flags = int(flags, 16) if flags else (8 if name == "lo" else 1)
        if flags & 8 or not flags & 1:
            continue
        n = [int(word) for word in words]
        speed = text(sysfs, "class/net", name, "speed")
        yield emit("net", {"interface": name}, {
            "bytes_recv": n[0], "packets_recv": n[1], "err_in": n[2], "drop_in": n[3],
            "bytes_sent": n[8], "packets_sent": n[9], "err_out": n[10], "drop_out": n[11],
            "speed": int(speed) if speed else -1})


def system(proc, sysfs, root):
    loads = text(proc, "loadavg").split()
    fields = {"load1": float(loads[0]), "load5": float(loads[1]), "load15": float(loads[2])}
    cpus = [name for name in cpu_times(text(proc, "stat")) if name != "cpu"]
    if cpus:
        fields["n_cpus"] = len(cpus)
    base = os.path.join(sysfs, "devices/system/cpu")
    siblings = set()
    for entry in os.listdir(base) if os.path.isdir(base) else []:
        found = text(base, entry, "topology/core_cpus_list") or \
            text(base, entry, "topology/thread_siblings_list")
        if found:
            siblings.add(found.strip())
    if siblings:
        fields["n_physical_cpus"] = len(siblings)
    if os.path.exists(os.path.join(root, "var/run/utmp")):
        raise SystemExit("this script does not read utmp")
    uptime = text(proc, "uptime")
    if uptime:
        fields["uptime"] = int(float(uptime.split()[0]))
    yield emit("system", {}, fields)


def processes(proc):
    names = {"D": "blocked", "X": "dead", "I": "idle", "W": "paging", "P": "parked", "R": "running",
             "S": "sleeping", "T": "stopped", "t": "stopped", "Z": "zombies"}
    fields = dict.fromkeys(set(names.values()) | {"unknown", "total", "total_threads"}, 0)
    for pid in os.listdir(proc):
        line = text(proc, pid, "stat") if pid.isdigit() else None
        words = line[line.rindex(")") + 1:].split() if line and ")" in line else []
        if len(words) < 18:
            continue
        fields[names.get(words[0], "unknown")] += 1
        fields["total"] += 1
        fields["total_threads"] += int(words[17])
    yield emit("processes", {}, fields)


def temp(sysfs):
    found = []
    base = os.path.join(sysfs, "class/hwmon")
    for hwmon in sorted(os.listdir(base)) if os.path.isdir(base) else []:
        folder = os.path.join(base, hwmon)
        for file in sorted(os.listdir(folder)):
            match = re.fullmatch(r"temp(\d+)_input", file)
            if not match:
                continue
            label = text(folder, f"temp{match.group(1)}_label")
            name = (text(folder, "name") or "").strip()
            if label:
                name += "_" + label.strip().lower().replace(" ", "_")
            device = os.path.basename(os.readlink(os.path.join(folder, "device")))
            found.append((name, device, text(folder, file)))
    base = os.path.join(sysfs, "class/thermal")
    for zone in sorted(os.listdir(base)) if not found and os.path.isdir(base) else []:
        if zone.startswith("thermal_zone"):
            found.append((text(base, zone, "type").strip(), zone, text(base, zone, "temp")))
    names = [name for name, _, _ in found]
    for name, device, value in found:
        if re.fullmatch(r"\s*-?\d+\s*", value or ""):
            tags = {"sensor": name}
            if names.count(name) > 1:
                tags["device"] = device
            yield emit("temp", tags, {"temp": int(value) / 1000.0})


def statvfs_of_list(tree):
    usage = {}
    for line in (text(tree, "statvfs") or "").splitlines():
        path, *numbers = line.split()
        usage[unescape(path)] = [int(number) for number in numbers]
    return usage.get


def statvfs_of_machine(path):
    try:
        s = os.statvfs(path)
    except OSError:
        return None
    return s.f_frsize, s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree


def of_tree(tree):
    proc, sysfs = os.path.join(tree, "t1/proc"), os.path.join(tree, "t1/sys")
    vmstat, stat = text(proc, "vmstat"), text(proc, "stat")
    yield from cpu(text(tree, "t0/proc/stat"), stat)
    yield from mem_and_swap(text(proc, "meminfo"), vmstat)
    yield from disk(proc, sysfs, statvfs_of_list(tree))
    yield from diskio(text(proc, "diskstats"))
    yield from net(proc, sysfs)
    yield from system(proc, sysfs, os.path.join(tree, "t1"))
    yield from processes(proc)
    yield from kernel(stat, vmstat, text(proc, "sys/kernel/random/entropy_avail"))
    yield from temp(sysfs)


def of_machine():
    yield from mem_and_swap(text("/proc/meminfo"), text("/proc/vmstat"))
    yield from disk("/proc", "/sys", statvfs_of_machine)
    yield from diskio(text("/proc/diskstats"))
    yield from net("/proc", "/sys")
    yield from kernel(text("/proc/stat"), text("/proc/vmstat"),
                      text("/proc/sys/kernel/random/entropy_avail"))
    yield from system("/proc", "/sys", "/nonexistent")


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="surrogateescape")
    lines = of_machine() if sys.argv[1] == "--live" else of_tree(sys.argv[1])
    print("\n".join(sorted(lines)))
