"""The bridge's HTTP API and the commands that use it, over a real broker, bridge and agents."""

import http.client
import json
import os
import re
import socket
import stat
import subprocess

import pytest

from runnel_test import bin_path, wait_until
from runnel_test.broker import shard
from spine import Spine


@pytest.fixture
def spine(world):
    spine = Spine(world)
    spine.simulate(2)
    spine.wait_online()
    wait_until(lambda: (spine.device("sim001") or {}).get("stored", 0) > 20, 20,
               lambda: f"samples of sim001: {spine.device('sim001')}")
    return spine


def ask(spine, method, path, body=None, host=None, token=None):
    """(status, decoded JSON or text)"""
    connection = http.client.HTTPConnection("127.0.0.1", spine.http_port, timeout=10)
    headers = {"Host": host or f"127.0.0.1:{spine.http_port}"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text


def token_of(spine):
    return (spine.bridge_folder / "http.token").read_text().strip()


def runnel(spine, *arguments, check=True, env=None):
    done = subprocess.run([bin_path("runnel"), *arguments, "--url", f"http://127.0.0.1:{spine.http_port}"],
                          capture_output=True, text=True, timeout=30, env={**os.environ, **(env or {})})
    assert not check or done.returncode == 0, done.stderr
    return done


def test_health_and_metrics_say_what_is(spine):
    """A broker or an agent that stands still is noticed soon by this spine: what is said then is true, and
    changes again."""
    assert ask(spine, "GET", "/healthz") == (200, "ok\n")
    wait_until(lambda: ask(spine, "GET", "/readyz") == (200, {"ready": True, "broker": True, "log": True}),
               what="the bridge is ready")
    wait_until(lambda: 'runnel_bridge_devices{state="online"} 2\n' in ask(spine, "GET", "/metrics")[1],
               what="both devices are counted as online")
    status, text = ask(spine, "GET", "/metrics")
    assert status == 200
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values["runnel_bridge_batches_stored_total"]) > 0
    assert float(values["runnel_bridge_samples_stored_total"]) > 20
    states = {state: int(count) for state, count in
              re.findall(r'^runnel_bridge_devices{state="(\w+)"} (\d+)$', text, re.M)}
    assert sum(states.values()) == 2, states
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            assert line.split()[3] in ("counter", "gauge"), line


def test_readyz_says_that_the_broker_is_away(spine):
    spine.broker.kill()
    wait_until(lambda: ask(spine, "GET", "/readyz")[0] == 503, 15, "not ready without a broker")
    assert ask(spine, "GET", "/readyz")[1]["broker"] is False
    assert ask(spine, "GET", "/healthz")[0] == 200


def test_devices_and_one_device_with_its_last_values(spine):
    status, answer = ask(spine, "GET", "/api/v1/devices")
    assert status == 200
    assert sorted(device["device"] for device in answer["devices"]) == ["sim001", "sim002"]
    device = wait_until(lambda: (d := spine.device("sim001")) and d["state"] == "online" and d,
                        what=lambda: f"sim001 is online: {spine.device('sim001')}")
    assert len(device["install"]) == 16
    assert device["ledger"]["produced"] >= device["ledger"]["delivered"]
    fields = {name for point in device["last"] for name in point["fields"]}
    assert {"temperature", "bytes", "mode", "open"} <= fields
    assert ask(spine, "GET", "/api/v1/devices/nobody")[0] == 404


def test_samples_come_from_the_log_by_time_measurement_and_field(spine):
    wait_until(lambda: spine.device("sim001")["stored"] > 80, 20, "more samples")
    status, answer = ask(spine, "GET", "/api/v1/metrics?device=sim001&from=-10m")
    assert status == 200 and answer["truncated"] is False
    points = answer["points"]
    assert len(points) > 5 and {point["measurement"] for point in points} == {"sim"}
    times = sorted(point["time_ns"] for point in points)  # batches stand in the order of their coming
    assert len(set(times)) == len(times) and all(time % 200_000_000 == 0 for time in times)
    middle = times[len(times) // 2] // 1_000_000
    later = ask(spine, "GET", f"/api/v1/metrics?device=sim001&from={middle}")[1]["points"]
    assert min(point["time_ns"] for point in later) // 1_000_000 == middle
    only = ask(spine, "GET", "/api/v1/metrics?device=sim001&from=-10m&field=bytes&limit=3")[1]
    assert len(only["points"]) == 3 and only["truncated"] is True
    assert all(list(point["fields"]) == ["bytes"] for point in only["points"])
    assert ask(spine, "GET", "/api/v1/metrics?device=sim001&measurement=other&from=-10m")[1]["points"] == []
    for bad in ("", "?device=", "?device=NOT_ONE", "?device=sim001&from=yesterday",
                "?device=sim001&limit=0"):
        assert ask(spine, "GET", f"/api/v1/metrics{bad}")[0] == 400, bad


def test_a_change_needs_the_token_and_a_known_host_name(spine):
    path, body = "/api/v1/devices/sim001/config", {"settings": {"log.level": "info"}}
    assert ask(spine, "PUT", path, body)[0] == 401
    assert ask(spine, "PUT", path, body, token="0" * 64)[0] == 401
    assert ask(spine, "GET", "/api/v1/devices", host="evil.example")[0] == 421
    assert stat.S_IMODE((spine.bridge_folder / "http.token").stat().st_mode) == 0o600
    status, answer = ask(spine, "PUT", path, body, token=token_of(spine))
    assert (status, answer["revision"]) == (200, 1)


def test_the_unix_socket_needs_no_token(spine):
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(spine.bridge_folder / "bridge.sock"))
    connection.request("PUT", "/api/v1/devices/sim002/config", json.dumps({"settings": {"step": "1s"}}))
    assert connection.getresponse().status == 200
    connection.close()


def test_configurations_have_revisions_bases_and_a_history(spine):
    token, path = token_of(spine), "/api/v1/devices/newcomer/config"

    def put(settings, **more):
        return ask(spine, "PUT", path, {"settings": settings, **more}, token=token)

    assert ask(spine, "GET", path)[1]["revision"] == 0
    assert put({"step": "5s"}, comment="slow")[1]["revision"] == 1
    assert put({"step": "6s"}, base=1)[1]["revision"] == 2
    assert put({"step": "7s"}, base=1)[0] == 409
    assert put({"step": ["a"]})[0] == 400
    assert put({"": "x"})[0] == 400
    assert ask(spine, "PUT", path, {"nothing": 1}, token=token)[0] == 400
    assert ask(spine, "PUT", "/api/v1/devices/NOT_ONE/config", {"settings": {}}, token=token)[0] == 400
    answer = ask(spine, "GET", path)[1]
    assert answer["settings"] == {"step": "6s"} and answer["report"] is None
    history = ask(spine, "GET", f"{path}/history")[1]["history"]
    assert [(v["revision"], v["settings"]["step"], v["comment"]) for v in history] == \
        [(2, "6s", ""), (1, "5s", "slow")]


def test_tail_streams_what_arrives(spine):
    connection = http.client.HTTPConnection("127.0.0.1", spine.http_port, timeout=20)
    connection.request("GET", "/api/v1/tail?device=sim002")
    answer = connection.getresponse()
    points = [json.loads(answer.readline()) for _ in range(4)]
    assert {point["measurement"] for point in points} == {"sim"}
    assert all(set(point) >= {"time_ns", "tags", "fields"} for point in points)
    connection.close()


def test_dead_letters_can_be_listed_replayed_and_deleted(spine):
    status, answer = ask(spine, "GET", "/api/v1/deadletters")
    assert status == 200 and answer["letters"] == [] and answer["total"] == 0
    assert ask(spine, "GET", "/api/v1/deadletters?limit=0")[0] == 400
    token = token_of(spine)
    assert ask(spine, "POST", "/api/v1/deadletters/replay", {})[0] == 401
    assert ask(spine, "POST", "/api/v1/deadletters/replay", {}, token=token) == (200, {"marked": 0})
    assert ask(spine, "DELETE", "/api/v1/deadletters/7", token=token)[1] == {"deleted": 0}
    assert ask(spine, "DELETE", "/api/v1/deadletters/x", token=token)[0] == 400


def test_what_is_not_there_is_said_with_words(spine):
    status, answer = ask(spine, "GET", "/api/v2/devices")
    assert status == 404 and "nothing" in answer["error"]
    assert ask(spine, "DELETE", "/api/v1/devices", token=token_of(spine))[0] == 405
    status, answer = ask(spine, "PUT", "/api/v1/devices/a/config", "x" * 100000, token=token_of(spine))
    assert status == 413 and "error" in answer


def test_the_bridge_stops_while_streams_are_open(spine):
    connection = http.client.HTTPConnection("127.0.0.1", spine.http_port, timeout=20)
    connection.request("GET", "/api/v1/tail")
    answer = connection.getresponse()
    assert answer.readline()
    assert spine.bridge.terminate(5) == 0
    answer.read()  # ends
    connection.close()


# ---- the commands -------------------------------------------------------------------------------

def test_devices_and_device_print_for_people_and_machines(spine):
    table = runnel(spine, "devices").stdout
    assert "sim001" in table and "\033[" not in table
    wait_until(lambda: re.search("sim001 .*online", runnel(spine, "devices").stdout), what="it is shown as online")
    assert len(json.loads(runnel(spine, "devices", "--json").stdout)["devices"]) == 2
    page = runnel(spine, "device", "sim001").stdout
    assert "temperature" in page and "produced" in page
    missing = runnel(spine, "device", "nobody", check=False)
    assert missing.returncode == 1 and "nobody" in missing.stderr


def test_no_device_writes_escape_sequences_to_the_terminal(spine):
    evil = spine.world.peer(spine.broker, "Evil")
    evil.publish_cbor(f"rn/s/{shard('evil')}/evil", {1: 1, 2: 7, 3: 1, 4: 1, 12: "\x1b]0;owned\x07",
                                                     13: "\u009b31m and \x1b[2J"}, retain=True)
    wait_until(lambda: spine.device("evil"), 10, "the device is known")
    for command in (["devices"], ["device", "evil"]):
        shown = runnel(spine, *command).stdout
        assert "evil" in shown and "owned" in shown
        assert not set(shown) & {"\x1b", "\x07", "\u009b"}


def test_tail_prints_points_until_it_is_ended(spine):
    tail = spine.world.program("runnel", "tail", "sim001", "--url", f"http://127.0.0.1:{spine.http_port}",
                               log="tail")
    tail.wait_log(r"sim,site=simulated.* temperature=", count=3)
    assert tail.terminate(5) == 0


def test_config_set_get_diff_history_rollback(spine):
    env = {"RUNNEL_TOKEN": token_of(spine)}
    refused = runnel(spine, "config", "set", "dev9", "step=5s", check=False)
    assert refused.returncode == 1 and "token" in refused.stderr
    runnel(spine, "config", "set", "dev9", "step=5s", "log.level=debug", "--comment", "first", env=env)
    runnel(spine, "config", "set", "dev9", "step=9s", "log.level=", env=env)
    shown = runnel(spine, "config", "get", "dev9").stdout
    assert "step: 9s" in shown and "log.level" not in shown and "revision 2" in shown
    diff = runnel(spine, "config", "diff", "dev9").stdout.splitlines()
    assert {"-step: 5s", "+step: 9s", "-log.level: debug"} <= set(diff)
    runnel(spine, "config", "rollback", "dev9", env=env)
    assert "step: 5s" in runnel(spine, "config", "get", "dev9").stdout
    history = runnel(spine, "config", "history", "dev9").stdout
    assert "first" in history and "rollback to revision 1" in history
    assert runnel(spine, "config", "set", "dev9", "nonsense", check=False, env=env).returncode == 1
    assert runnel(spine, "config", "fly", "dev9", check=False).returncode == 2


def test_the_bridge_is_found_by_option_environment_and_file_in_this_order(spine):
    home = spine.world.folder / "home"
    (home / ".config").mkdir(parents=True)
    here, nowhere = f"http://127.0.0.1:{spine.http_port}", "http://127.0.0.1:9"
    file = home / ".config" / "runnel.yaml"

    def finds(url=None, env=None):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("RUNNEL_")}
        return subprocess.run([bin_path("runnel"), "devices", *(["--url", url] if url else [])],
                              capture_output=True, text=True, timeout=30,
                              env={**clean, "HOME": str(home), **(env or {})}).returncode == 0

    file.write_text(f"url: {nowhere}\n")
    assert not finds()
    assert finds(env={"RUNNEL_URL": here}) and not finds(nowhere, {"RUNNEL_URL": here})
    file.write_text(f"url: {here}\ntoken: {token_of(spine)}\n")
    assert finds() and not finds(env={"RUNNEL_URL": nowhere})
    assert finds(f"unix:{os.path.relpath(spine.bridge_folder / 'bridge.sock')}")
    file.write_text("url: [broken\n")
    assert not finds()


def test_a_bridge_that_is_not_there_is_named_with_what_to_do(world):
    done = subprocess.run([bin_path("runnel"), "devices", "--url", "http://127.0.0.1:9"],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr and "--url" in done.stderr
