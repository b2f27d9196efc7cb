#!/usr/bin/python3
"""Every header compiles alone, with both compilers and without a warning.

Usage: headers.py ROOT
"""
import concurrent.futures
import os
import subprocess
import sys

FOLDERS = ("include", "lib", "agent", "bridge", "cli", "tests/support")
COMPILERS = ("gcc", "clang")
FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", '-DRUNNEL_VERSION="0"', "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic",
         "-Wshadow", "-Wconversion", "-Wsign-conversion", "-Wstrict-prototypes", "-Wundef", "-Werror"]


def headers(root):
    for folder in FOLDERS:
        for base, _dirs, names in os.walk(os.path.join(root, folder)):
            yield from (os.path.join(base, name) for name in names if name.endswith(".h"))


def compile_alone(root, compiler, header):
    # Included from an empty file, as any user would: what is compiled is the header and nothing else.
    command = [compiler, *FLAGS, "-I", os.path.join(root, "include"), "-I", root, "-include", header, "-x", "c",
               os.devnull]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return run.returncode, f"{compiler} {os.path.relpath(header, root)}\n{run.stderr}"


def main():
    root = os.path.abspath(sys.argv[1])
    jobs = [(root, compiler, header) for header in sorted(headers(root)) for compiler in COMPILERS]
    if not jobs:
        print(f"{root}: no headers there", file=sys.stderr)
        return 1
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        failed = [words for code, words in pool.map(lambda job: compile_alone(*job), jobs) if code != 0]
    for words in failed:
        print(words, file=sys.stderr)
    print(f"{len(jobs) // len(COMPILERS)} headers, {len(failed)} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
