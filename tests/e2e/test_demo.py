"""The demo, as a user runs it."""

import json
import os
import re
import signal
import subprocess
import threading

from runnel_test import bin_path
from runnel_test.proc import _die_with_parent as die_with_parent
from servers import Influx


def run_demo(world, *arguments, stop_at=None, timeout=400):
    """(exit status, lines of output). stop_at: Ctrl-C after the first line that matches."""
    temp = world.folder / "temp"
    temp.mkdir(exist_ok=True)
    demo = subprocess.Popen([bin_path("runnel"), "demo", *arguments], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, preexec_fn=die_with_parent,
                            env={**os.environ, "TMPDIR": str(temp)})
    guard = threading.Timer(timeout, demo.kill)
    guard.start()
    lines = []
    for line in demo.stdout:
        lines.append(line.rstrip("\n"))
        if stop_at and re.search(stop_at, line):
            demo.send_signal(signal.SIGINT)
            stop_at = None
    guard.cancel()
    status = demo.wait()
    assert list(temp.iterdir()) == [], "the demo leaves files behind"
    return status, lines


def summary_of(lines):
    summary = json.loads(lines[-1])
    dropped = summary["dropped"]
    assert set(dropped) == {"evicted", "thinned", "refused"}
    assert summary["produced"] == summary["stored"] + summary["pending"] + sum(dropped.values())
    return summary


STORY = ["sim007 loses its network", "sim007 is offline", "sim007 gets its network back",
         "sim007 is online", "sim007 has caught up"]


def tells_the_story(text, summary):
    """Its times are the clock's: on a machine that stands still for seconds the bridge sees another one."""
    places = [text.find(words) for words in STORY]
    live = re.findall(r"online (\d+)/21", text)
    return -1 not in places and places == sorted(places) and len(live) > 25 and "20" in live and \
        summary["stored"] > 20 * 8 * 25


def test_shows_an_outage_and_accounts_for_every_sample(world):
    """The accounts must always be right; the story of one of three tries."""
    told, tries = False, []
    while not told and len(tries) < 3:
        status, lines = run_demo(world, "--seconds", "36", "--json")
        text = "\n".join(lines)
        assert status == 0, text
        for part in ("broker", "bridge", "agent"):
            assert re.search(rf"✓\s+{part}", text), text
        assert re.search(r"runnel devices --url http://127\.0\.0\.1:\d+", text)
        lost = re.findall(r"online \d+/21  stored \d+ samples .* lost (\d+)", text)
        assert lost and set(lost) == {"0"}, text
        summary = summary_of(lines)
        assert summary["devices"] == 21 and summary["lost"] == 0 and summary["seconds"] >= 35
        tries.append(text)
        told = tells_the_story(text, summary)
    assert told, "\n\n".join(tries)


def test_ends_cleanly_on_ctrl_c_while_a_device_is_cut_off(world):
    # Blind: when others vanished, too, because the machine stood still.
    status, lines = run_demo(world, "--json", stop_at="sim007 (is offline|is blind|gets its network back)")
    assert status == 0, "\n".join(lines)
    assert summary_of(lines)["lost"] == 0


def test_also_writes_to_an_influxdb(world):
    influx = Influx(world)
    status, lines = run_demo(world, "--seconds", "10", "--devices", "3", "--influx", f"{influx.url}?db=demo",
                             "--json")
    assert status == 0, "\n".join(lines)
    summary = summary_of(lines)
    rows = influx.query("SELECT count(temperature) FROM sim", db="demo")
    assert rows, "the database has no point"
    assert summary["stored"] > 0


def test_says_what_is_missing(world):
    done = subprocess.run([bin_path("runnel"), "demo", "--seconds", "never"], capture_output=True,
                          text=True, timeout=20)
    assert done.returncode == 2 and "seconds" in done.stderr
