"""Real databases and one that answers as it is told, each private to a test.

InfluxDB and VictoriaMetrics come unpacked from their Debian packages: $RUNNEL_SERVERS or
build/servers, or an installed one on the PATH. They listen on loopback ports of their own.
"""

import base64
import gzip
import http.server
import json
import os
import shutil
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from runnel_test import ROOT, Proc, free_port, wait_until
from runnel_test.net import accepts

START_S = 30


def server_path(name):
    folders = [Path(os.environ["RUNNEL_SERVERS"])] if "RUNNEL_SERVERS" in os.environ else []
    folders.append(ROOT / "build" / "servers")
    for folder in folders:
        for found in [folder / "bin" / name, *folder.glob(f"*/usr/bin/{name}")]:
            if found.exists():
                return str(found)
    found = shutil.which(name)
    assert found, f"{name} is neither under build/servers nor on the PATH: ./run test gets it"
    return found


def request(url, body=None, headers=None, method=None, timeout=30):
    """(status, text); errors of HTTP are answers too."""
    asked = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class _Server:
    """A program with one HTTP port; the port stays the same over restarts."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.folder = world.folder / name
        self.folder.mkdir()
        for _ in range(10):
            self.port = free_port()
            self.proc = Proc(name, self.command(), world.folder)
            world.own(self.proc)
            if self._came_up():
                return
            self.proc.kill()
        raise AssertionError(f"{name} did not start:\n{self.proc.tail()}")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def _came_up(self):
        try:
            wait_until(lambda: not self.proc.running() or self.ready(), START_S, self.name)
        except AssertionError:
            return False
        return self.proc.running()

    def kill(self):
        self.proc.kill()

    def start(self):
        # Its old connections may linger for a moment.
        def up():
            if not self.proc.running():
                self.proc.start()
            return self.ready()
        wait_until(up, START_S, f"{self.name} to come back", step=0.1)

    def pause(self):
        self.proc.pause()

    def resume(self):
        self.proc.resume()


class Influx(_Server):
    """InfluxDB 1.6.7."""

    def __init__(self, world, name="influxdb", auth=False, max_body=25000000):
        self.auth, self.max_body = auth, max_body
        self.credentials = None
        super().__init__(world, name)

    def command(self):
        self.rpc_port = free_port()
        config = self.folder / "influxdb.conf"
        config.write_text(f"""
reporting-disabled = true
bind-address = "127.0.0.1:{self.rpc_port}"
[meta]
  dir = "{self.folder}/meta"
[data]
  dir = "{self.folder}/data"
  wal-dir = "{self.folder}/wal"
  query-log-enabled = false
[http]
  bind-address = "127.0.0.1:{self.port}"
  log-enabled = false
  auth-enabled = {"true" if self.auth else "false"}
  max-body-size = {self.max_body}
[monitor]
  store-enabled = false
""")
        return [server_path("influxd"), "run", "-config", config]

    def start(self):
        self._cut_torn_ends()
        super().start()

    def _cut_torn_ends(self):
        """What a kill in the midst of a write leaves at the end of a WAL. Version 1.6 cuts it itself, but
        goes on behind where it was: a second kill then loses all that was acknowledged since the first,
        because its next start reads no further than the gap."""
        for path in (self.folder / "wal").glob("*/*/*/_*.wal"):
            content, end = path.read_bytes(), 0
            while end + 5 <= len(content):  # a type, the length in 4 bytes, and so many bytes
                following = end + 5 + int.from_bytes(content[end + 1:end + 5], "big")
                if following > len(content):
                    break
                end = following
            if end < len(content):
                os.truncate(path, end)

    def ready(self):
        try:
            return request(self.url + "/ping", timeout=2)[0] == 204
        except OSError:
            return False

    def query(self, text, db="", check=True):
        headers = {}
        if self.credentials:
            token = base64.b64encode(":".join(self.credentials).encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        parameters = {"q": text, "db": db, "epoch": "ns"}
        status, body = request(f"{self.url}/query?{urllib.parse.urlencode(parameters)}", body=b"",
                               headers=headers)
        if check:
            assert status == 200, body
        # The negative zero is a float, whatever JSON's readers make of it.
        answer = json.loads(body, parse_int=lambda s: -0.0 if s == "-0" else int(s))["results"][0]
        assert not check or "error" not in answer, body
        return answer.get("series", [])

    def create(self, db, retention=None):
        policy = f" WITH DURATION {retention} SHARD DURATION 1h" if retention else ""
        self.query(f'CREATE DATABASE "{db}"{policy}')

    def points(self, db, measurement):
        """[{"time": ns, tag or field: value, ...}], in order of time."""
        found = []
        quoted = measurement.replace("\\", "\\\\").replace('"', '\\"')
        for series in self.query(f'SELECT * FROM "{quoted}"', db):
            found += [dict(zip(series["columns"], row)) for row in series["values"]]
        return found

    def count(self, db, measurement, field):
        found = self.query(f'SELECT count("{field}") FROM "{measurement}"', db)
        return found[0]["values"][0][1] if found else 0

    def measurements(self, db):
        found = self.query("SHOW MEASUREMENTS", db)
        return sorted(row[0] for row in found[0]["values"]) if found else []


class Victoria(_Server):
    """VictoriaMetrics. It keeps repeated points once, as docs/OPERATIONS.md says to run it."""

    def __init__(self, world, name="victoria-metrics", options=("-dedup.minScrapeInterval=1ms",)):
        self.options = options
        super().__init__(world, name)

    def command(self):
        return [server_path("victoria-metrics"), f"-storageDataPath={self.folder}/data",
                f"-httpListenAddr=127.0.0.1:{self.port}", "-retentionPeriod=10y", *self.options]

    def ready(self):
        try:
            return request(self.url + "/health", timeout=2)[0] == 200
        except OSError:
            return False

    def export(self, selector):
        """{(metric, sorted tags): [(ms, value), ...]} without the delay of queries."""
        parameters = {"match[]": selector, "reduce_mem_usage": 1}
        _, body = request(f"{self.url}/api/v1/export?{urllib.parse.urlencode(parameters)}")
        found = {}
        for line in body.splitlines():
            series = json.loads(line)
            metric = series["metric"]
            key = (metric.pop("__name__"), tuple(sorted(metric.items())))
            found.setdefault(key, []).extend(zip(series["timestamps"], series["values"]))
        return {key: sorted(values) for key, values in found.items()}


class FakeDatabase:
    """An HTTP server whose answers the test decides.

    answers: a list of (status, headers, body) that are given one by one, then 204 for ever.
    requests: [(method, path with query, headers, body, unpacked)] in the order of their coming.
    """

    def __init__(self, answers=()):
        self.answers, self.requests = list(answers), []
        self.decide = None  # or a function (path, lines) -> (status, headers, body)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                outer.requests.append((self.command, self.path, dict(self.headers), body))
                if outer.decide:
                    status, headers, text = outer.decide(self.path, body)
                else:
                    status, headers, text = outer.answers.pop(0) if outer.answers else (204, {}, "")
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                data = text.encode()
                if status != 204:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(data)

            do_GET = do_POST = _serve

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class SinkDriver:
    """A log and its cursors without broker and devices: tests/support/sink_driver.c."""

    def __init__(self, world, *sinks, past="3650d", folder=None, name="sinks", **options):
        """sinks: ("name", "type", {key: value}); options go to every sink."""
        from runnel_test import bin_path
        self.folder = folder or world.folder / "bridge"
        common = {"gather": "0ms", "retry_min": "50ms", "retry_max": "400ms", "hold_retry": "300ms",
                  **options}
        command = [bin_path("sink_driver"), f"folder={self.folder}", f"past={past}"]
        for sink, kind, keys in sinks:
            command.append(f"sink={sink}:{kind}")
        for sink, kind, keys in sinks:
            command += [f"sinks.{sink}.{key}={value}" for key, value in {**common, **keys}.items()]
        self.proc = world.proc(name, command, stdin=True)
        self.proc.wait_log("^ready ")

    def send(self, **command):
        self.proc.send(json.dumps(command))

    def batch(self, dev, measurement, fields, rows, **tags):
        """fields: {name: type}; rows: [(time ns, value, ...)] in any order; None is missing."""
        def text(value):
            if value is None:
                return ""
            if isinstance(value, bool):
                return "true" if value else "false"
            return value if isinstance(value, str) else repr(value)
        self.send(dev=dev, measurement=measurement, tags=tags, fields=list(fields.items()),
                  rows=[[text(value) for value in row] for row in sorted(rows, key=lambda row: row[0])])

    def commit(self):
        """Commits; returns the head of the log."""
        mark = self.proc.mark()
        self.send(commit=True)
        return int(self.proc.wait_log(r"^head (\d+)", after=mark).group(1))

    def wait_moved(self, sink, position, timeout=30):
        pattern = rf"^moved {sink} (\d+)"

        def there():
            moved = self.proc.lines(pattern)
            assert self.proc.running(), self.proc.tail()
            return moved and int(moved[-1].split()[2]) >= position
        wait_until(there, timeout, lambda: f"{sink} at {position}:\n{self.proc.tail()}")

    def status(self, sink):
        mark = self.proc.mark()
        self.send(status=True)
        self.proc.wait_log("^end of status", after=mark)
        text = self.proc.log()[mark:]
        found = [json.loads(line[7:]) for line in text.splitlines() if line.startswith("status {")]
        return next(status for status in found if status["cursor"] == sink)

    def wait_state(self, sink, state, timeout=20):
        return wait_until(lambda: (s := self.status(sink))["state"] == state and s, timeout,
                          lambda: f"{sink} to be {state}: {self.status(sink)}")

    def letters(self, sink=None):
        mark = self.proc.mark()
        self.send(letters=True)
        self.proc.wait_log(r"^letters \d+", after=mark)
        text = self.proc.log()[mark:]
        found = [json.loads(line[7:]) for line in text.splitlines() if line.startswith("letter {")]
        return [letter for letter in found if sink in (None, letter["sink"])]

    def replay(self, sink=""):
        self.send(replay=sink)

    def kill(self):
        self.proc.kill()

    def start(self):
        mark = self.proc.mark()
        self.proc.start()
        self.proc.wait_log("^ready ", after=mark)

    def stop(self):
        self.send(stop=True)
        assert self.proc.wait(10) == 0


def wait_port(port, timeout=10):
    wait_until(lambda: accepts(port), timeout, f"port {port}")
