#!/usr/bin/python3
"""What the agent costs: threads, memory, CPU time, size of the program, what it writes.

Runs the real agent (release build) on this machine over TLS 1.3 with a client certificate, 10 s
step and 60 s batches, against a real mosquitto and the real bridge, and reads /proc of the agent.
CPU time is taken over the measured minutes only, start-up apart. Nothing is asserted but the sums;
the limits that the project has set itself are printed beside the figures.

    ./run bench footprint [--minutes N] [--step S --batch S] [--out FILE]

What a batch writes shows sooner with `--step 1 --batch 6`: as many steps a batch, ten times as often.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
os.environ.setdefault("RUNNEL_BIN", str(ROOT / "build" / "bin"))

from runnel_test import World, bin_path, device_user, make_pki  # noqa: E402
from spine import buffer  # noqa: E402

DEVICE = "footprint"
USUAL_PACE = (10, 60)
LIMITS = {"threads": 3, "anonymous_kb": 2560, "stripped_bytes": 300_000}
USUAL_LIMITS = {**LIMITS, "cpu_s_per_hour": 3.0}


def smaps(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {key: int(value) for key, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def io_bytes(pid):
    text = Path(f"/proc/{pid}/io").read_text()
    return int(re.search(r"^write_bytes: (\d+)", text, re.M).group(1))


def batches_of(folder):
    """How many batches (and schemas) the agent has made so far."""
    with tempfile.TemporaryDirectory() as copy, buffer.open_copy(folder, copy) as db:
        return (db.execute("SELECT seq FROM sqlite_sequence WHERE name='batch'").fetchone()[0],
                db.execute("SELECT schema_next FROM meta").fetchone()[0])


def stripped_size(program):
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["strip", "-o", out.name, program], check=True)
        return os.path.getsize(out.name)


def sets(options):
    return [part for key, value in options.items() for part in ("--set", f"{key}={value}")]


def start(world, options):
    pki = world.pki()
    broker = world.broker(pki=pki, acl="shipped")
    empty = world.folder / "empty.yaml"
    empty.write_text("{}\n")
    cert, key = pki.client("Bridge")
    bridge = world.program("runnel-bridge", "run", "-c", empty, *sets({
        "data": world.folder / "bridge", "http.listen": "", "mqtt.addresses": broker.bridge_url,
        "mqtt.ca_file": pki.ca, "mqtt.cert_file": cert, "mqtt.key_file": key}))
    bridge.wait_log("event=broker_connected", count=2)
    cert, key = pki.client(device_user(DEVICE))
    agent = world.program("runnel-agent", "run", "-c", empty, *sets({
        "device": DEVICE, "data": world.folder / "agent", "mqtt.addresses": broker.device_url,
        "mqtt.ca_file": pki.ca, "mqtt.cert_file": cert, "mqtt.key_file": key,
        "step": f"{options.step:g}s", "batch.interval": f"{options.batch:g}s"}))
    agent.wait_log("event=connected", 20)
    return agent


def measure(agent, folder, options):
    """After a warm-up of two batches, over the minutes that were asked for."""
    time.sleep(2 * options.batch + 10)
    batches, schemas = batches_of(folder)
    started, cpu, written = time.monotonic(), cpu_seconds(agent.pid), io_bytes(agent.pid)
    most = {"threads": 0, "anonymous_kb": 0, "rss_kb": 0, "pss_kb": 0}
    while time.monotonic() - started < options.minutes * 60:
        memory = smaps(agent.pid)
        now = {"threads": threads(agent.pid), "anonymous_kb": memory["Anonymous"],
               "rss_kb": memory["Rss"], "pss_kb": memory["Pss"]}
        most = {key: max(most[key], now[key]) for key in most}
        time.sleep(5)
    hours = (time.monotonic() - started) / 3600
    written = io_bytes(agent.pid) - written
    made = [now - before for now, before in zip(batches_of(folder), (batches, schemas))]
    return {**most, "cpu_s_per_hour": (cpu_seconds(agent.pid) - cpu) / hours, "batches": made[0],
            "schemas": made[1], "disk_mb_per_day": written / hours * 24 / 1e6,
            "disk_kb_per_batch": written / made[0] / 1e3}


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} x {model.group(1) if model else platform.machine()}, Linux {platform.release()}"


def limits_of(options):
    return USUAL_LIMITS if (options.step, options.batch) == USUAL_PACE else LIMITS


def report(figures, options):
    limits = limits_of(options)
    rows = [("threads", figures["threads"], limits["threads"]),
            ("anonymous memory, kB (most)", figures["anonymous_kb"], limits["anonymous_kb"]),
            ("resident memory, kB (most)", figures["rss_kb"], ""),
            ("proportional memory, kB (most)", figures["pss_kb"], ""),
            ("stripped program, bytes", figures["stripped_bytes"], limits["stripped_bytes"]),
            ("CPU seconds an hour", f"{figures['cpu_s_per_hour']:.2f}", limits.get("cpu_s_per_hour", "")),
            ("written to disk, kB a batch", f"{figures['disk_kb_per_batch']:.1f}", ""),
            ("written to disk, MB a day", f"{figures['disk_mb_per_day']:.1f}", "")]
    pace = "" if (options.step, options.batch) == USUAL_PACE else f" --step {options.step:g} --batch {options.batch:g}"
    lines = ["# Footprint of runnel-agent", "",
             f"`./run bench footprint --minutes {options.minutes:g}{pace}` on "
             f"{time.strftime('%Y-%m-%d', time.gmtime())}, {machine()}; TLS 1.3 with a client certificate, "
             f"{options.step:g} s step, {options.batch:g} s batches, this machine's vitals. "
             f"{figures['batches']} batches and {figures['schemas']} new schemas were made meanwhile.",
             "", "| what | measured | limit |", "|---|---:|---:|"]
    lines += [f"| {name} | {value} | {limit} |" for name, value, limit in rows]
    lines += ["", "`written to disk` counts whole 4 kB pages of the page cache (`write_bytes` of `/proc/PID/io`)."]
    lines += ["", options.note] if options.note else []
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(prog="./run bench footprint", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--step", type=float, default=10, help="seconds")
    parser.add_argument("--batch", type=float, default=60, help="seconds")
    parser.add_argument("--out", type=Path, help="write the report here too")
    parser.add_argument("--note", help="a paragraph for the report")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="runnel-bench-") as folder:
        world = World(folder, lambda: make_pki(Path(folder)))
        try:
            agent = start(world, options)
            print(f"measuring for {options.minutes:g} minutes after a warm-up of two batches", flush=True)
            figures = measure(agent, world.folder / "agent", options)
        finally:
            world.close()
    figures["stripped_bytes"] = stripped_size(bin_path("runnel-agent"))
    text = report(figures, options)
    print(text, end="")
    if options.out:
        options.out.write_text(text)
    over = [key for key, limit in limits_of(options).items() if figures[key] > limit]
    print("within the limits" if not over else f"over the limit: {', '.join(over)}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
