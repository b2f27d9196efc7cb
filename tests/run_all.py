"""Builds all variants and runs all tests: what `./run test` does after installing.

Two lanes run side by side: one tests the ordinary build (C tests, then end to end), the other
builds and tests with AddressSanitizer+UBSan, then ThreadSanitizer, then compiles with clang. Each
runner writes a JUnit file; the closing line counts all of them. Nothing is skipped in silence: a
skipped test is listed with its reason.

These machines are shared: where at most MAX_AGAIN tests of a runner failed they are run again, alone.
One that passes then counts as passed and is named as unsteady; one that fails again is run a last
time only to tell whether it always fails. What a test said when it failed stands at the end of the
output: its assertion, and the seed or command that repeats it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "results"
JOBS = str(os.cpu_count() or 2)
MAX_AGAIN = 3
RUNS = 3  # of a test that fails, the first one included
MAX_WORDS = 30  # lines that a failed test may say at the end
NO_THREADS = "sim|property"  # pure cores: nothing for ThreadSanitizer


class Step:
    """One command with its log, its time limit and, for test runners, its JUnit file."""

    def __init__(self, name, command, limit_s, junit=None, env=None, again=None):
        """again: the command that runs what failed last once more; its results go beside junit."""
        self.name, self.command, self.limit_s = name, command, limit_s
        self.junit, self.env, self.again = junit, env or {}, again
        self.log = RESULTS / f"{name.replace('/', '-')}.log"
        self.seconds, self.error, self.unsteady = 0.0, None, []
        self.failures = {}  # name -> how often it failed, where it was run more than once

    def _run(self, command, log_path):
        with open(log_path, "wb") as log:
            try:
                code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log,
                                      stderr=subprocess.STDOUT, timeout=self.limit_s,
                                      env={**os.environ, **self.env}).returncode
                return f"exit status {code}" if code else None
            except subprocess.TimeoutExpired:
                return f"not finished after {self.limit_s} s"

    def _run_failed_again(self):
        failed = junit_counts(self.junit)[1] if self.junit and self.junit.exists() else []
        if not self.again or not 0 < len(failed) <= MAX_AGAIN:
            return
        self.failures = dict.fromkeys(failed, 1)
        for run in range(2, RUNS + 1):
            junit = again_junit(self.junit)
            junit.unlink(missing_ok=True)
            self._run(self.again, self.log.with_suffix(f".{run}.log"))
            if not junit.exists():
                return  # not even run: no word about it
            still = [name for name in failed if name in junit_counts(junit)[1]]
            self.failures.update({name: run for name in still})
            if run == 2:
                self.unsteady = [name for name in failed if name not in still]
            if not still:
                break
            failed = still
        if len(self.unsteady) == len(self.failures):
            self.error = None

    def run(self):
        start = time.monotonic()
        self.error = self._run(self.command, self.log)
        if self.error:
            self._run_failed_again()
        self.seconds = time.monotonic() - start
        print(f"{'FAILED' if self.error else 'ok':7}{self.name} ({self.seconds:.0f} s)", flush=True)
        return self.error is None


def again_junit(junit):
    return junit.with_suffix(".again.xml")


def build(preset):
    script = f"cmake --preset {preset} && cmake --build build/{preset} -j {JOBS}"
    return Step(f"build/{preset}", ["bash", "-c", script], 900)


def ctest(preset, without=None, jobs=JOBS):
    junit = RESULTS / f"ctest-{preset}.xml"
    command = ["ctest", "--test-dir", f"build/{preset}", "-j", jobs, "--output-on-failure",
               "--output-junit", str(junit)] + (["-LE", without] if without else [])
    # libuv closes descriptors by a bare system call: ThreadSanitizer does not see that, and takes the
    # next use of the number by another thread for a race. So what libraries access does not count.
    env = {"TSAN_OPTIONS": "halt_on_error=1 second_deadlock_stack=1 ignore_noninstrumented_modules=1",
           "ASAN_OPTIONS": "detect_stack_use_after_return=1",
           "UBSAN_OPTIONS": "halt_on_error=1 print_stacktrace=1"}
    again = ["ctest", "--test-dir", f"build/{preset}", "--rerun-failed", "--output-on-failure",
             "--output-junit", str(again_junit(junit))]
    return Step(f"ctest/{preset}", command, 900, junit, env, again)


def pytest(name, paths, bin_preset, workers, extra=(), limit_s=1500, env=None):
    junit = RESULTS / f"pytest-{name}.xml"
    each_s = "1500" if "--long" in extra else "600"
    common = ["/usr/bin/python3", "-m", "pytest", "-q", "-o", f"cache_dir={RESULTS / ('cache-' + name)}",
              "-o", "junit_logging=system-out", "-o", "junit_log_passing_tests=false",
              "--timeout", each_s, *extra, *paths]
    command = common + ["-n", str(workers), "--dist", "load", "--junitxml", str(junit)]
    again = common + ["--last-failed", "--last-failed-no-failures", "none", "--junitxml",
                      str(again_junit(junit))]
    return Step(f"pytest/{name}", command, limit_s, junit,
                {"RUNNEL_BIN": str(ROOT / "build" / bin_preset / "bin"),
                 "RUNNEL_SERVERS": str(ROOT / "build" / "servers"), **(env or {})}, again)


def lanes(options):
    if options.fast:
        return [[ctest("dev"), pytest("vectors", ["tests/vectors"], "dev", 0)]]
    extra = ["--long"] if options.long else []
    checked = [build("asan"), ctest("asan"), build("tsan"), ctest("tsan", NO_THREADS), build("clang")]
    plain = [ctest("dev"), pytest("vectors", ["tests/vectors"], "dev", 0),
             pytest("e2e", ["tests/e2e"], "dev", 4, extra, 7200 if options.long else 1500)]
    if options.long:
        for preset in ("asan", "tsan"):
            checked.append(pytest(f"e2e-{preset}", ["tests/e2e"], preset, 2, [], 5000))
    return [plain, checked]


def run_lane(steps):
    for step in steps:
        if not step.run() and step.name.startswith("build/"):
            break


def junit_counts(path):
    """passed, failed, [skipped with reason], [failed names]"""
    passed, failed, skipped = 0, [], []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname', '')}.{case.get('name')}"
        reason = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif reason is not None:
            skipped.append(f"{name}: {reason.get('message', 'no reason given')}")
        else:
            passed += 1
    return passed, failed, skipped


def own_words(case):
    """What a failed test said of it: the failed functions of a C test; of pytest the errors, where they
    were raised, and how to repeat it."""
    said = "\n".join(filter(None, (case.findtext(tag) for tag in ("failure", "error", "system-out"))))
    lines = said.splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith("[ RUN ")), None)
    if begin is not None:
        kept, block = [line for line in lines[:begin] if "seed" in line.lower()], []
        for line in lines[begin:]:
            block = [line] if line.startswith("[ RUN ") else [*block, line]
            if line.startswith("[  FAILED  ]"):
                kept, block = kept + block, []
        kept += block  # a program that crashed did not come to its end
    else:
        kept = [line for line in lines if re.search(r"^E |^\S+:\d+: |^(again|seed)\b", line)] or lines
    return [line[:300] for line in kept[-MAX_WORDS:]]


def failed_cases(path):
    """{name: what it said}"""
    return {f"{case.get('classname', '')}.{case.get('name')}": own_words(case)
            for case in ElementTree.parse(path).getroot().iter("testcase")
            if case.find("failure") is not None or case.find("error") is not None}


def report(steps):
    passed, failed, skipped = 0, [], []
    for step in steps:
        counted = 0
        if step.junit and step.junit.exists():
            more_passed, more_failed, more_skipped = junit_counts(step.junit)
            more_failed = [name for name in more_failed if name not in step.unsteady]
            more_passed += len(step.unsteady)
            passed += more_passed
            failed += [f"{step.name}: {name}" for name in more_failed]
            skipped += [f"{step.name}: {name}" for name in more_skipped]
            counted = more_passed + len(more_failed)
            if more_failed:
                continue
        if step.error or (step.junit and counted == 0):
            failed.append(f"{step.name}: {step.error or 'ran no test'}")
        elif not step.junit:
            passed += 1
    return passed, failed, skipped


def show_failures(steps, failed, skipped):
    """The shorter and the more telling, the later: logs may be cut to their tail."""
    said = {step.name: failed_cases(step.junit) if step.junit and step.junit.exists() else {}
            for step in steps}
    for name in skipped:
        print(f"skipped: {name}")
    for step in steps:
        if step.error and not said[step.name]:
            print(f"\n--- {step.name}: {step.error}; the end of {step.log}:")
            print("\n".join(step.log.read_text(errors="replace").splitlines()[-80:]))
    for step in steps:
        for name, words in said[step.name].items():
            often = f", {step.failures[name]} of {RUNS} times" if step.failures.get(name, 1) > 1 else ""
            how = "unsteady" if name in step.unsteady else f"failed{often}"
            print(f"\n--- {step.name}: {name}: {how}; more in {step.log}:")
            print("\n".join(words))
    print()
    for step in steps:
        for name in step.unsteady:
            print(f"unsteady (failed, and passed when run again alone): {step.name}: {name}")
    for name in failed:
        print(f"failed: {name}")


def main():
    parser = argparse.ArgumentParser(prog="./run test", description=__doc__)
    parser.add_argument("--long", action="store_true", help="the long variants too")
    parser.add_argument("--fast", action="store_true", help="only the fast tests (./run check)")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for old in RESULTS.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    start = time.monotonic()
    first = build("dev")
    steps = [first]
    if first.run():
        all_lanes = lanes(options)
        steps += [step for lane in all_lanes for step in lane]
        threads = [threading.Thread(target=run_lane, args=(lane,)) for lane in all_lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    ran = [step for step in steps if step.seconds]
    passed, failed, skipped = report(ran)
    failed += [f"{step.name}: not run" for step in steps if not step.seconds]
    show_failures(ran, failed, skipped)
    print(f"\ntook {time.monotonic() - start:.0f} s; logs are in build/results/")
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
