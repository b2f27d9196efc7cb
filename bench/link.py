#!/usr/bin/python3
"""What a sample costs on the wire, every IP byte of the connection counted.

Two network namespaces joined by a veth: the agent (release build) in one, mosquitto and the bridge in
the other, TLS 1.3 with client certificates between them. A counter of nftables on each TCP port counts
whole IP packets in both directions; their sum is checked against the counters of the veth itself. The
namespaces have no name and no way out: they end with this program, however it ends.

Each --batch is an agent of its own with a port of its own, all at the same time. The first full batch ends
the set-up (connect, TLS, schemas, hints, first values, first batches); the steady state is the
difference between two points behind it, each some seconds after a batch arrived.

    ./run bench link [--minutes N] [--step 10s] [--batch 60s]... [--collectd] [--out FILE]

--collectd: Debian's collectd, same machine, time and step, with its mqtt plugin (TLS as above, QoS 0) and
its network plugin (UDP, no encryption). A telegraf on the PATH takes part too. Needs root.
"""

import argparse
import contextlib
import ctypes
import http.client
import json
import os
import platform
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench" / "support"), str(ROOT / "tests" / "e2e")]
os.environ.setdefault("RUNNEL_BIN", str(ROOT / "build" / "bin"))

from link_count import (CLASSES, START, Mark, collectd_values, cost, encodings, interface_bytes,  # noqa: E402
                        line_values, log_count, nft_counters, packets, plain_values, split, ticks)
from runnel_test import Broker, World, device_user, make_pki  # noqa: E402

SERVER, CLIENT = "192.0.2.1", "192.0.2.2"  # TEST-NET-1
SERVER_MAC, CLIENT_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
FIRST_PORT = 8883
QUIET_S = 3  # after a batch: its acknowledgement and the TCP acknowledgements have passed


@dataclass
class Contestant:
    """Who takes part, by the port that it has for itself."""
    name: str
    port: int
    samples: object  # () -> those that arrived
    protocol: str = "tcp"
    batch_s: float = 0  # 0: sends as it samples, any moment is as good as another
    note: str = ""
    device: str = ""
    owns: object = None  # topic -> bool
    marks: list = field(default_factory=list)


# --- two namespaces and what joins them -----------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000


def _namespace_fd():
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _check(result):
    if result != 0:
        raise SystemExit(f"link: no network namespace (CAP_SYS_ADMIN is needed): {os.strerror(ctypes.get_errno())}")


def command(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"link: {shlex.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Namespace:
    """A network namespace; it lives as long as this object or a process in it."""

    def __init__(self):
        home = _namespace_fd()
        try:
            _check(_libc.unshare(CLONE_NEWNET))
            self.fd = _namespace_fd()
            Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("1")  # no neighbour discovery
            command("ip", "link", "set", "lo", "up")
        finally:
            _check(_libc.setns(home, CLONE_NEWNET))
            os.close(home)

    @contextlib.contextmanager
    def inside(self):
        """What this thread starts or opens meanwhile is in the namespace, and stays there."""
        home = _namespace_fd()
        _check(_libc.setns(self.fd, CLONE_NEWNET))
        try:
            yield
        finally:
            _check(_libc.setns(home, CLONE_NEWNET))
            os.close(home)

    def close(self):
        os.close(self.fd)


def plug_in(interface, mac, address, peer_mac, peer):
    # One segment a packet, as on a wire: else one IP header would be counted for several.
    command("ip", "link", "set", interface, "address", mac, "gso_max_segs", "1", "up")
    command("ip", "address", "add", f"{address}/30", "dev", interface)
    command("ip", "neigh", "add", peer, "lladdr", peer_mac, "dev", interface, "nud", "permanent")


class Link:
    """server and client, a veth between them, and a counter for each port and direction."""

    def __init__(self):
        self.server, self.client = Namespace(), Namespace()
        with self.server.inside():
            command("ip", "link", "add", "link0", "type", "veth", "peer", "name", "link1",
                    "netns", f"/proc/{os.getpid()}/fd/{self.client.fd}")
            plug_in("link0", SERVER_MAC, SERVER, CLIENT_MAC, CLIENT)
        with self.client.inside():
            plug_in("link1", CLIENT_MAC, CLIENT, SERVER_MAC, SERVER)

    def count(self, contestants):
        rules = ["table inet link {"]
        for c in contestants:
            rules += [f"counter up{c.port} {{}}", f"counter down{c.port} {{}}"]
        rules.append("chain input { type filter hook input priority 0;")
        rules += [f"{c.protocol} dport {c.port} iif link0 counter name up{c.port}" for c in contestants]
        rules.append("}\nchain output { type filter hook output priority 0;")
        rules += [f"{c.protocol} sport {c.port} oif link0 counter name down{c.port}" for c in contestants]
        with self.server.inside():
            command("nft", "-f", "-", input="\n".join([*rules, "}", "}", ""]))

    def read(self):
        """({counter: (bytes, packets)}, (received, sent) of the interface)"""
        with self.server.inside():
            return (nft_counters(command("nft", "-j", "list", "counters")),
                    interface_bytes(Path("/proc/thread-self/net/dev").read_text(), "link0"))

    def close(self):
        self.client.close()
        self.server.close()


# --- who takes part -------------------------------------------------------------------------------


def seconds(text):
    return float(re.fullmatch(r"(\d+(?:\.\d+)?)s", text).group(1))


def sets(options):
    return [part for key, value in options.items() for part in ("--set", f"{key}={value}")]


def listener(pki, c):
    cert, key = pki.server(f"IP:{SERVER}")
    return [f"listener {c.port} {SERVER}", f"cafile {pki.ca}", f"certfile {cert}", f"keyfile {key}",
            "tls_version tlsv1.3", "require_certificate true", "use_identity_as_username true"]


class Bridge:
    """The real one; asked through its Unix socket, which knows no network namespaces."""

    def __init__(self, world, pki, broker):
        self.folder = world.folder / "bridge"
        empty = world.folder / "empty.yaml"
        empty.write_text("{}\n")
        cert, key = pki.client("Bridge")
        self.proc = world.program("runnel-bridge", "run", "-c", empty, *sets({
            "data": self.folder, "http.listen": "", "mqtt.addresses": broker.bridge_url,
            "mqtt.ca_file": pki.ca, "mqtt.cert_file": cert, "mqtt.key_file": key}))
        self.proc.wait_log("event=broker_connected", count=2)

    def stored(self, device):
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.folder / "bridge.sock"))
        with contextlib.closing(connection):
            connection.request("GET", "/api/v1/devices")
            devices = json.load(connection.getresponse())["devices"]
        return next((d["stored"] for d in devices if d["device"] == device), 0)


class UdpSink:
    """Takes what collectd's network plugin sends and counts the values in it."""

    def __init__(self, port):
        self.values = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((SERVER, port))
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while datagram := self.socket.recv(65536):
            self.values += collectd_values(datagram)

    def close(self):
        with contextlib.suppress(OSError):  # wakes the thread
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(1)
        self.socket.close()


COLLECTD = """
Interval {step}
FQDNLookup false
Hostname "link"
BaseDir "{folder}"
PIDFile "{folder}/collectd.pid"
PluginDir "{plugins}"
TypesDB "{types}"
LoadPlugin cpu
LoadPlugin df
LoadPlugin disk
LoadPlugin interface
LoadPlugin load
LoadPlugin memory
LoadPlugin processes
LoadPlugin swap
LoadPlugin uptime
LoadPlugin mqtt
<Plugin mqtt>
  <Publish "link">
    Host "{server}"
    Port {mqtt_port}
    ClientId "Collectd"
    CACert "{ca}"
    CertificateFile "{cert}"
    CertificateKeyFile "{key}"
    TLSProtocol "tlsv1.3"
  </Publish>
</Plugin>
LoadPlugin network
<Plugin network>
  Server "{server}" "{network_port}"
</Plugin>
"""


def start_collectd(world, pki, step_s, mqtt_port, network_port):
    program = Path(shutil.which("collectd")).resolve()
    root = program.parents[2]  # unpacked: build/servers/collectd-core; installed: /
    folder = world.folder / "collectd"
    folder.mkdir()
    cert, key = pki.client("Collectd")
    (folder / "collectd.conf").write_text(COLLECTD.format(
        step=step_s, folder=folder, plugins=root / "usr/lib/collectd",
        types=root / "usr/share/collectd/types.db", server=SERVER, mqtt_port=mqtt_port,
        network_port=network_port, ca=pki.ca, cert=cert, key=key))
    return world.proc("collectd", [program, "-f", "-C", folder / "collectd.conf"])


TELEGRAF = """
[agent]
  interval = "{step}s"
  flush_interval = "{step}s"
[[outputs.mqtt]]
  servers = ["ssl://{server}:{port}"]
  topic = "telegraf"
  layout = "batch"
  client_id = "Telegraf"
  tls_ca = "{ca}"
  tls_cert = "{cert}"
  tls_key = "{key}"
  data_format = "influx"
[[inputs.cpu]]
[[inputs.disk]]
[[inputs.diskio]]
[[inputs.kernel]]
[[inputs.mem]]
[[inputs.net]]
[[inputs.processes]]
[[inputs.swap]]
[[inputs.system]]
"""


def start_telegraf(world, pki, step_s, port):
    cert, key = pki.client("Telegraf")
    config = world.folder / "telegraf.conf"
    config.write_text(TELEGRAF.format(step=step_s, server=SERVER, port=port, ca=pki.ca, cert=cert, key=key))
    return world.proc("telegraf", ["telegraf", "--config", config])


def start_agent(world, pki, c, step, more):
    cert, key = pki.client(device_user(c.device))
    return world.program("runnel-agent", "run", "-c", world.folder / "empty.yaml", *sets({
        "device": c.device, "data": world.folder / c.device,
        "mqtt.addresses": f"mqtts://{SERVER}:{c.port}", "mqtt.ca_file": pki.ca,
        "mqtt.cert_file": cert, "mqtt.key_file": key, "step": step,
        "batch.interval": f"{c.batch_s:g}s", **more}), log=c.device)


class Course:
    """One run: everything started, nothing counted yet. What it owns ends with world."""

    def __init__(self, world, options):
        self.options = options
        self.link = world.own(Link())
        self.pki = world.pki()
        self.contestants = [Contestant("Runnel", FIRST_PORT + n, None, batch_s=seconds(batch),
                                       device=f"batch{batch}") for n, batch in enumerate(options.batch)]
        for c in self.contestants:
            c.samples = lambda device=c.device: self.bridge.stored(device)
            c.owns = lambda topic, part=device_user(c.device): f"/{part}" in topic
        port = FIRST_PORT + len(self.contestants)
        self.rivals = self._rivals(world, port)
        every = self.contestants + self.rivals
        self.link.count(every)
        with self.link.server.inside():
            lines = [line for c in every if c.protocol == "tcp" for line in listener(self.pki, c)]
            self.broker = Broker(world, pki=self.pki, options=["log_type debug", *lines])
            self.witness = world.peer(self.broker, "Witness")
            self.witness.subscribe("#")
            self.bridge = Bridge(world, self.pki, self.broker)
            for c in self.rivals:
                if c.protocol == "udp":
                    sink = world.own(UdpSink(c.port))
                    c.samples = lambda: sink.values
        with self.link.client.inside():
            self.programs = [self.broker.proc, self.bridge.proc, *self._start(world)]

    def _rivals(self, world, port):
        found = []
        if self.options.collectd:
            found += [Contestant("collectd mqtt", port, self._counted("collectd/", plain_values),
                                 note="TLS 1.3, QoS 0", owns=lambda topic: topic.startswith("collectd/")),
                      Contestant("collectd network", port + 1, None, "udp", note="UDP, no encryption")]
        if shutil.which("telegraf"):
            found.append(Contestant("telegraf mqtt", port + 2, self._counted("telegraf", line_values),
                                    note="TLS, QoS 0", owns=lambda topic: topic == "telegraf"))
        return found

    def _counted(self, prefix, values):
        return lambda: sum(values(m.payload) for m in self.witness.messages()
                           if m.topic.startswith(prefix))

    def _start(self, world):
        step_s = seconds(self.options.step)
        found = [start_agent(world, self.pki, c, self.options.step, dict(self.options.set))
                 for c in self.contestants]
        ports = {c.name: c.port for c in self.rivals}
        if "collectd mqtt" in ports:
            found.append(start_collectd(world, self.pki, step_s, ports["collectd mqtt"], ports["collectd network"]))
        if "telegraf mqtt" in ports:
            found.append(start_telegraf(world, self.pki, step_s, ports["telegraf mqtt"]))
        return found

    def set_up(self, c):
        """The first tick has no rates yet and may go alone, with a schema of its own: that is not yet all."""
        arrived = [START, replace(START, at=time.monotonic() - QUIET_S)]
        found = ticks(self.messages(c, arrived)) if c.device else {}
        return not c.device or len(found) > 1 or max(found.values(), default=0) > 1

    def check_alive(self):
        for proc in self.programs:
            if not proc.running():
                raise SystemExit(f"link: {proc.name} ended:\n{proc.tail()}")

    def mark(self, c):
        counters, _ = self.link.read()
        (up, up_packets), (down, down_packets) = counters[f"up{c.port}"], counters[f"down{c.port}"]
        c.marks.append(Mark(time.monotonic(), time.time(), up, down, up_packets, down_packets, c.samples()))

    def messages(self, c, marks=None):
        """(topic, payload) that the witness saw of it, between two marks."""
        start, end = (marks[0].at, marks[-1].at) if marks else (0, float("inf"))
        return [(m.topic, m.payload) for m in self.witness.messages()
                if start < m.timestamp <= end and c.owns and c.owns(m.topic)]


class Watch:
    """When a contestant is marked: some seconds after each batch, or every two steps where there are none."""

    def __init__(self, c, step_s):
        self.c, self.step_s = c, step_s
        self.seen, self.since = 0, 0

    def due(self, samples, now):
        if self.seen == 0 or (self.c.batch_s and samples != self.seen):
            self.seen, self.since = samples, now
        marked = self.c.marks[-1] if self.c.marks else None
        if marked and samples <= marked.samples or not samples:
            return False
        if self.c.batch_s:
            return now - self.since >= QUIET_S
        return now - (marked.at if marked else self.since) >= 2 * self.step_s


def watch(course):
    """Marks each contestant until all have --minutes behind their first mark."""
    every, step_s, minutes = course.contestants + course.rivals, seconds(course.options.step), course.options.minutes
    watches = [Watch(c, step_s) for c in every]
    limit = time.monotonic() + minutes * 60 + 3 * max(c.batch_s for c in every) + 60

    def done(c):
        return len(c.marks) > 1 and c.marks[-1].at - c.marks[0].at >= minutes * 60 - QUIET_S

    while not all(map(done, every)):
        if time.monotonic() > limit:
            raise SystemExit("link: these sent too little: " + ", ".join(c.name for c in every if not done(c)))
        course.check_alive()
        for w in watches:
            if w.due(w.c.samples(), time.monotonic()) and (w.c.marks or course.set_up(w.c)):
                course.mark(w.c)
                mark = w.c.marks[-1]
                if w.c.batch_s:
                    print(f"{time.strftime('%H:%M:%S')} {w.c.name} {w.c.batch_s:g} s: {mark.samples} samples, "
                          f"{mark.bytes} bytes", flush=True)
        time.sleep(0.5)


def check(course):
    """The two ways of counting agree, for everything that ever passed."""
    time.sleep(QUIET_S)
    for _ in range(20):
        counters, interface = course.link.read()
        sums = tuple(sum(size for name, (size, _) in counters.items() if name.startswith(way))
                     for way in ("up", "down"))
        if sums == interface:
            return f"Counters of the ports and of the veth agree: {sums[0]} bytes up, {sums[1]} down."
        time.sleep(0.5)
    return f"Counters of the ports {sums} and of the veth {interface} (up, down) DIFFER."


# --- the report -----------------------------------------------------------------------------------


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} x {model.group(1) if model else platform.machine()}, Linux {platform.release()}"


def encoding_text(course, c):
    found = encodings(course.messages(c, c.marks)) if c.device else {}
    return ", ".join(f"{enc} ({count})" for enc, count in sorted(found.items())) or c.note


def cost_table(course):
    lines = ["| who | batch | encoding (batches) | minutes | samples | up | down | steady, B/sample | set-up, bytes "
             "| set-up over 24 h, B/sample | all, B/sample | MB a month | packets |",
             "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for c in course.contestants + course.rivals:
        k = cost(c.marks)
        batch = f"{c.batch_s:g} s" if c.batch_s else ""
        lines.append(f"| {c.name} | {batch} | {encoding_text(course, c)} | {k.seconds / 60:.1f} | {k.samples} "
                     f"| {k.up:.3f} | {k.down:.3f} | **{k.steady:.3f}** | {k.setup} | {k.setup_share:.4f} "
                     f"| **{k.total:.3f}** | {k.mb_month:.2f} | {k.packets} |")
    return lines


def split_rows(course, c, first, last):
    """(what, messages, payload bytes) between two marks, and what is left of the bytes."""
    found, log = split(course.messages(c, [first, last])), course.broker.proc.log()
    rows = [(text, *found[kind]) for kind, text in CLASSES.items() if kind in found]
    user = re.escape(device_user(c.device))
    for what, pattern in (("pings", rf"Received PINGREQ from {user}$"),
                          ("connections", rf"New client connected from \S+ as {user} ")):
        rows.append((what, log_count(log, pattern, first.wall, last.wall), 0))
    rest = last.bytes - first.bytes - sum(size for _, _, size in rows)
    text = f"headers and handshakes: IP, TCP, TLS, MQTT; {packets(first, last)} packets"
    return [*rows, (text, "", rest)]


def split_table(course, c, first, last):
    samples = last.samples - first.samples
    return ["| what | messages | payload bytes | B/sample |", "|---|---:|---:|---:|",
            *(f"| {what} | {count} | {size} | {size / samples:.3f} |"
              for what, count, size in split_rows(course, c, first, last))]


def split_tables(course):
    lines = []
    for c in course.contestants:
        lines += ["", f"## Batches of {c.batch_s:g} s", "", "Steady state:", "",
                  *split_table(course, c, c.marks[0], c.marks[-1]), "",
                  f"Set-up, the first {c.marks[0].samples} samples included:", "",
                  *split_table(course, c, START, c.marks[0])]
    return lines


def report(course, agreement):
    words = shlex.join(["./run", "bench", "link", *sys.argv[1:]]).split(" --out ")[0]
    note = [course.options.note, ""] if course.options.note else []
    return "\n".join([
        "# Bytes on the link", "",
        f"`{words}` on {time.strftime('%Y-%m-%d', time.gmtime())}, {machine()}.", "",
        f"Step {course.options.step}, this machine's vitals. Every IP byte of the connection in both directions, "
        "headers included; TLS 1.3 with client certificates, EC P-256. Set-up: all bytes until the first full "
        "batch had arrived; over 24 h: what of it the steady state would not have needed, once a day.", "",
        *note, *cost_table(course), *split_tables(course), "", agreement, ""])


def arguments():
    parser = argparse.ArgumentParser(prog="./run bench link", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=30, help="of steady state (30)")
    parser.add_argument("--step", default="10s")
    parser.add_argument("--batch", action="append", help="may be repeated (60s)")
    parser.add_argument("--collectd", action="store_true", help="collectd beside it")
    parser.add_argument("--set", action="append", default=[], type=lambda text: tuple(text.split("=", 1)),
                        metavar="KEY=VALUE", help="a setting of the agents")
    parser.add_argument("--out", type=Path, help="write the report here too")
    parser.add_argument("--note", help="a paragraph for the report; give it after --out")
    options = parser.parse_args()
    options.batch = options.batch or ["60s"]
    return options


def main():
    options = arguments()
    if os.geteuid() != 0:
        raise SystemExit("link: network namespaces and counters need root: sudo ./run bench link")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="runnel-link-") as folder:
        world = World(folder, lambda: make_pki(Path(folder) / "pki"))
        try:
            course = Course(world, options)
            print(f"counting for {options.minutes:g} minutes after the first batch", flush=True)
            watch(course)
            agreement = check(course)
            text = report(course, agreement)
        finally:
            world.close()
    print(text, end="")
    if options.out:
        options.out.write_text(text)
    return 1 if "DIFFER" in agreement else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
