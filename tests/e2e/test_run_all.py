"""The runner behind ./run test: what it says of tests that failed."""

import importlib.util
import sys

import pytest

from runnel_test import ROOT

C_TEST = """repeat with SEED=815
[==========] Running 2 test(s).
[ RUN      ] is_fine
seed 1
[       OK ] is_fine
[ RUN      ] is_not
seed 4711
[  ERROR   ] --- 1 != 2
[   LINE   ] --- here.c:7: error: Failure!
[  FAILED  ] is_not
"""
PY_TEST = """def test_it():
        print("again: pytest --seed 12")
>       assert wait()
E       AssertionError: not within 10 s

tests/e2e/test_it.py:9: AssertionError"""


@pytest.fixture
def run_all(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("run_all", ROOT / "tests" / "run_all.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


def runner(path, fails):
    """A runner of two tests, "one" of which fails at its first so many runs; again, it runs that alone."""
    script = path / "runner.py"
    script.write_text(f"""
import pathlib, sys
junit, often = pathlib.Path(sys.argv[1]), pathlib.Path({str(path / 'often')!r})
run = int(often.read_text()) + 1 if often.exists() else 1
often.write_text(str(run))
bad = run <= {fails}
failure = '<failure message="Failed"/><system-out>' + {C_TEST!r} + '</system-out>' if bad else ''
other = '<testcase classname="c" name="two"/>' if run == 1 else ''
junit.write_text(f'<testsuite><testcase classname="c" name="one">{{failure}}</testcase>{{other}}</testsuite>')
sys.exit(bad)
""")
    return lambda junit: [sys.executable, str(script), str(junit)]


@pytest.mark.parametrize("fails, counts, words", [
    (0, (2, 0), []),
    (1, (2, 0), ["c.one: unsteady;", "unsteady (failed, and passed when run again alone): r: c.one"]),
    (2, (1, 1), ["c.one: failed, 2 of 3 times;", "failed: r: c.one"]),
    (3, (1, 1), ["c.one: failed, 3 of 3 times;", "failed: r: c.one"]),
])
def test_a_failed_test_is_run_again_and_what_happened_is_said(run_all, tmp_path, capsys, fails, counts, words):
    junit, command = tmp_path / "j.xml", runner(tmp_path, fails)
    step = run_all.Step("r", command(junit), 20, junit, again=command(run_all.again_junit(junit)))
    assert step.run() == (counts[1] == 0)
    passed, failed, skipped = run_all.report([step])
    assert (passed, len(failed)) == counts
    capsys.readouterr()
    run_all.show_failures([step], failed, skipped)
    shown = capsys.readouterr().out
    assert all(word in shown for word in words), shown
    assert [part in shown for part in ("SEED=815", "seed 4711", "1 != 2")] == [fails > 0] * 3
    assert "is_fine" not in shown and "seed 1\n" not in shown


def test_a_failed_python_test_says_its_error_and_how_to_repeat_it(run_all):
    case = run_all.ElementTree.Element("testcase")
    for tag, text in (("failure", PY_TEST), ("system-out", "noise\nagain: pytest --seed 12\n")):
        run_all.ElementTree.SubElement(case, tag).text = text
    words = run_all.own_words(case)
    assert [line.strip() for line in words if "again" not in line] == \
        ["E       AssertionError: not within 10 s", "tests/e2e/test_it.py:9: AssertionError"]
    assert "again: pytest --seed 12" in words and "noise" not in words
