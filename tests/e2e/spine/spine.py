"""Broker, bridge, agents and databases of one test: each can be killed, stopped and started again."""

import http.client
import json
import shutil
import signal
import time
import urllib.error
import urllib.request

from runnel_test import bin_path, device_user, free_port, wait_until
from .books import Truth, as_map, assert_same
from .buffer import read_buffer, read_ledger, read_sequence
from .databases import file_points, influx_points
from .logbook import dead_letters, read_log, verified

DB = "runnel"

# Everything fast, all by ordinary options.
FAST_AGENT = {
    "step": "200ms", "batch.interval": "400ms", "journal.interval": "60s", "status.interval": "1s",
    "mqtt.keepalive": "2s", "mqtt.connect_timeout": "2s", "mqtt.backoff_min": "50ms",
    "mqtt.backoff_max": "500ms", "mqtt.first_reconnect": "100ms", "uplink.ack_timeout_min": "300ms",
    "uplink.ack_timeout_max": "1s", "uplink.ack_by": "500ms", "uplink.hello_timeout": "300ms",
}
FAST_BRIDGE = {
    "mqtt.keepalive": "2s", "mqtt.connect_timeout": "2s", "mqtt.backoff_min": "50ms",
    "mqtt.backoff_max": "300ms", "mqtt.first_reconnect": "50ms", "hold": "300ms",
    "liveness.grace": "500ms", "liveness.reconnect": "1s", "log.segment_bytes": "128k",
}
FAST_SINK = {"retry_min": "50ms", "retry_max": "500ms", "hold_retry": "300ms", "gather": "20ms"}


def _sets(options):
    return [part for key, value in options.items() for part in ("--set", f"{key}={value}")]


class Agents:
    """One agent process: `run` (devices is one name) or `simulate` (a prefix and a number)."""

    def __init__(self, spine, name, command, folders, options):
        self.spine, self.name, self.folders, self.options = spine, name, folders, options
        self.tee = spine.world.folder / f"{name}.tee"
        self.truth = spine.truth
        self.command = command
        self.collecting = True
        self.mark = 0
        self.proc = spine.world.program("runnel-agent", *self._arguments(), log=name)

    def _arguments(self):
        quiet = {} if self.collecting else self._quiet()
        return [*self.command, "-c", self.spine.empty, *_sets({**self.options, **quiet}),
                "--tee", self.tee]

    def _quiet(self):
        names = ["sim"] if self.command[0] == "simulate" else self.spine.collectors()
        return {f"collect.{name}.enabled": "false" for name in names}

    @property
    def devices(self):
        return list(self.folders)

    def kill(self):
        """SIGKILL; what the buffers hold then counts as committed."""
        self.proc.kill()
        self._take_stock()

    def ask_to_stop(self):
        """SIGTERM, once it knows what to do then."""
        if self.proc.running():
            self.proc.wait_log("event=agent_started", after=self.mark, count=len(self.folders))
        self.proc.signal(signal.SIGTERM)

    def stop(self):
        """SIGTERM: within 2 s, the open window is committed."""
        self.ask_to_stop()
        self.wait_stopped()

    def wait_stopped(self):
        code = self.proc.wait(8)
        assert code == 0, f"{self.name} ended with {code}:\n{self.proc.tail()}"
        self._take_stock()

    def _take_stock(self):
        self.truth.read_tee(self.tee)
        for device, folder in self.folders.items():
            held = read_buffer(folder, device)
            if held:
                self.truth.read_held(device, held)

    def start(self, collecting=True):
        self.collecting = collecting
        self.mark = self.proc.mark()
        self.proc.command = [bin_path("runnel-agent"), *map(str, self._arguments())]
        self.proc.start()

    def pause(self):
        self.proc.pause()

    def resume(self):
        self.proc.resume()

    def ledgers(self):
        return {device: read_ledger(folder) for device, folder in self.folders.items()}

    def pending(self):
        return sum(ledger["pending"] for ledger in self.ledgers().values())


class Spine:
    """sinks: {name: {key: value}} beside a file sink that is always there; influx: also an InfluxDB.
    bridge, agent: options. broker: a plain one of its own, or one with credentials(user) of whoever
    connects: (url, authority, certificate, key)."""

    def __init__(self, world, influx=False, sinks=None, bridge=None, agent=None, broker=None):
        self.world, self.truth, self.agents = world, Truth(), []
        self.wiped = False  # the log does not hold everything
        self.agent_options = {**FAST_AGENT, **(agent or {})}
        self.empty = world.folder / "empty.yaml"
        self.empty.write_text("{}\n")
        self.broker = broker or world.broker(options=["max_inflight_messages 200",
                                                      "max_queued_messages 100000"])
        self.influx = self._make_influx() if influx else None
        self.sinks = {"file": {"type": "file", "path": world.folder / "lines"}, **(sinks or {})}
        if self.influx:
            self.sinks["influx"] = {"type": "influx", "url": self.influx.url, "database": DB,
                                    "timeout": "2s"}
        self.bridge_folder = world.folder / "bridge"
        self._start_bridge({**FAST_BRIDGE, **(bridge or {})})

    def _make_influx(self):
        from servers import Influx
        influx = Influx(self.world)
        influx.create(DB)
        return influx

    # ---- the bridge ----

    def _start_bridge(self, options):
        for _ in range(10):
            self.http_port = free_port()
            self.bridge = self.world.program("runnel-bridge", *self._bridge_arguments(options), log="bridge")
            try:
                self.wait_ready()
                return
            except AssertionError:
                if "in use" not in self.bridge.log():
                    raise
                self.bridge.kill()

    def _bridge_arguments(self, options):
        sinks = {f"sinks.{name}.{key}": value for name, keys in self.sinks.items()
                 for key, value in {**FAST_SINK, **keys}.items()}
        return ["run", "-c", self.empty, *_sets({
            "data": self.bridge_folder, "http.listen": f"127.0.0.1:{self.http_port}",
            **self._connection("Bridge"), **options, **sinks})]

    def _connection(self, user):
        if not hasattr(self.broker, "credentials"):
            return {"mqtt.addresses": self.broker.url}
        url, authority, cert, key = self.broker.credentials(user)
        return {"mqtt.addresses": url, "mqtt.ca_file": authority, "mqtt.cert_file": cert, "mqtt.key_file": key}

    def wait_ready(self, timeout=20.0):
        def ready():
            assert self.bridge.running(), f"the bridge ended:\n{self.bridge.tail()}"
            return self.get("/readyz") is not None
        wait_until(ready, timeout, lambda: f"the bridge is ready:\n{self.bridge.tail()}")

    def restart_bridge(self, wipe=False):
        """SIGKILL and start. wipe: without log, cursors and what it knew of the devices; the databases
        and files keep what they have."""
        self.bridge.kill()
        if wipe:
            self.read_log()
            self.wiped = True
            shutil.rmtree(self.bridge_folder)
        self.bridge.start()

    def get(self, path):
        """Decoded JSON; None if there is no good answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=20) as answer:
                return json.loads(answer.read())
        except (OSError, ValueError, http.client.HTTPException):
            return None

    def device(self, name):
        return self.get(f"/api/v1/devices/{name}")

    def states(self):
        answer = self.get("/api/v1/devices") or {"devices": []}
        return {device["device"]: device["state"] for device in answer["devices"]}

    def wait_online(self, devices=None, timeout=20.0):
        devices = devices or [device for agents in self.agents for device in agents.devices]
        wait_until(lambda: all(self.states().get(device) == "online" for device in devices), timeout,
                   lambda: f"all online: {self.states()}")

    # ---- agents ----

    def collectors(self):
        help_text = self.world.run([bin_path("runnel-agent"), "--help"]).stdout
        return [line.split(".")[1] for line in help_text.splitlines() if line.strip().startswith("collect.")
                and ".enabled " in line]

    def _agent_options(self, name, device, more, via):
        other = {"mqtt.addresses": via} if via else {}
        return {**self.agent_options, "data": self.world.folder / name,
                **self._connection(device_user(device)), **other, **(more or {})}

    def simulate(self, count, prefix="sim", options=None, via=None, name=None):
        """One process with devices <prefix>001.. (its own code, synthetic values)."""
        name = name or prefix
        folder = self.world.folder / name
        names = [f"{prefix}{number:03}" for number in range(1, count + 1)]
        command = ["simulate", "--devices", str(count), "--prefix", prefix]
        return self._add(Agents(self, name, command, {device: folder / device for device in names},
                                self._agent_options(name, names[0], options, via)))

    def run(self, device, options=None, via=None, name=None):
        """The real agent of this machine."""
        name = name or device
        options = self._agent_options(name, device, {"device": device, **(options or {})}, via)
        return self._add(Agents(self, name, ["run"], {device: self.world.folder / name}, options))

    def _add(self, agents):
        self.agents.append(agents)
        return agents

    # ---- the end ----

    def read_log(self):
        """Every row of the log, decoded; that one cannot be decoded, or was refused, is a failure."""
        upto = verified(self.bridge_folder)
        rows = list(read_log(self.bridge_folder))
        print(f"decoded {len(rows)} batches, {sum(2 in row.ext for row in rows)} name hints, "
              f"{sum(1 in row.ext for row in rows)} a base")
        assert not dead_letters(self.bridge_folder), dead_letters(self.bridge_folder)
        assert upto <= (rows[-1].position if rows else 0)
        return rows

    def assert_log_is_true(self, whole=True, repeats=False):
        """What the log holds was committed, with these values; if it is whole, that is everything."""
        points = [point for row in self.read_log() for point in row.points]
        points = dict(points) if repeats else as_map(points, "the log")
        known = self.truth.values
        assert_same(known if whole else {key: known[key] for key in points if key in known}, points, "the log")

    def cursors(self):
        """{name: (position, head of the log)}; None while the bridge does not say."""
        summary = self.get("/api/v1/summary")
        return summary and {cursor["name"]: (cursor["position"], cursor["position"] + cursor["behind"])
                            for cursor in summary["cursors"]}

    def behind(self):
        """How far each cursor is behind the log; None while the bridge does not say."""
        cursors = self.cursors()
        return cursors and {name: head - position for name, (position, head) in cursors.items()}

    def wait_caught_up(self, *names, timeout=60.0):
        """What the log has now reaches these cursors (without names: all), while load goes on."""
        goal = max(head for _, head in wait_until(self.cursors, what="the bridge answers").values())
        wait_until(lambda: (c := self.cursors()) and all(c[name][0] >= goal for name in names or c), timeout,
                   lambda: f"{names or 'all'} at {goal}: {self.cursors()}", step=0.1)

    def pending(self):
        return sum(agents.pending() for agents in self.agents)

    def wait_settled(self, timeout=20.0):
        """What every agent has committed now is acknowledged for good, while load goes on."""
        goals = {folder: read_sequence(folder)[1] for agents in self.agents for folder in agents.folders.values()}

        def waiting():
            return {folder.name: read_sequence(folder)[0] for folder, goal in goals.items()
                    if read_sequence(folder)[0] < goal}
        wait_until(lambda: not waiting(), timeout, lambda: f"settled up to {goals}: {waiting()}", step=0.1)

    def settle(self, timeout=60.0):
        """Collects nothing any more and waits until everything is where it belongs."""
        for agents in self.agents:
            if agents.proc.running():
                agents.stop()
        for agents in self.agents:
            agents.start(collecting=False)
        wait_until(lambda: self.pending() == 0, timeout,
                   lambda: f"buffers drained: {[a.ledgers() for a in self.agents]}", step=0.1)
        wait_until(lambda: (b := self.behind()) and not any(b.values()), timeout,
                   lambda: f"cursors at the head: {self.behind()}", step=0.1)

    def assert_books_balance(self):
        """Each agent's ledger agrees with what was seen to be committed, and nothing is missing in it."""
        assert not self.truth.twice, f"committed with two values: {self.truth.twice[:3]}"
        for agents in self.agents:
            for device, ledger in agents.ledgers().items():
                assert ledger["produced"] == self.truth.count[device], (device, ledger)
                assert ledger["delivered"] == ledger["produced"], (device, ledger)

    def assert_everything_arrived(self, repeats=False, files=True):
        """repeats: a restored buffer may send the same again under another name; a file keeps both.
        files: whether the file sink has to have everything, too."""
        assert not self.truth.twice, f"committed with two values: {self.truth.twice[:3]}"
        assert self.truth.values, "nothing was committed at all"
        if files:
            lines = file_points(self.world.folder, "lines")
            assert_same(self.truth.values, dict(lines) if repeats else as_map(lines, "the file sink"),
                        "the file sink")
        self.assert_log_is_true(whole=not self.wiped, repeats=repeats)
        if self.influx:
            assert_same(self.truth.values, influx_points(self.influx, DB), "InfluxDB")

    def assert_nothing_is_lost(self, **how):
        self.assert_books_balance()
        self.assert_everything_arrived(**how)

    # ---- load ----

    def produced(self):
        return sum(ledger["produced"] for agents in self.agents for ledger in agents.ledgers().values())

    def let_pass(self, samples=400, timeout=60.0):
        """Waits until the agents have committed so many more."""
        begin = self.produced()
        wait_until(lambda: self.produced() >= begin + samples, timeout,
                   lambda: f"{samples} more than {begin} committed: {self.produced()}", step=0.1)

    def wait_live(self, timeout=40.0):
        """The live line is back: every device is online, and of each InfluxDB (else the file) has
        something that was sampled after this call."""
        since = time.time_ns()
        devices = {device for agents in self.agents for device in agents.devices}

        def fresh():
            if self.influx:
                try:
                    series = self.influx.query("SELECT last(/^(temperature|used)$/) FROM sim, mem "
                                               f"WHERE time > {since} GROUP BY host", DB)
                except (OSError, AssertionError):
                    return set()
                return {entry["tags"]["host"] for entry in series}
            return {dict(key[1])["host"] for key, _ in file_points(self.world.folder, "lines")
                    if key[3] > since}
        wait_until(lambda: devices <= fresh(), timeout,
                   lambda: f"fresh data of {sorted(devices - fresh())}; {self.states()} {self.behind()}",
                   step=0.1)
        self.wait_online(timeout=timeout)
