#!/usr/bin/python3
"""Who may include whom.

Every #include of the project is held against the rules of the architecture:

  - a folder sees only the folders that ALLOWED names (its own included);
  - agent, bridge and cli never include each other;
  - a pure core (CORES) and all that it includes see base, model and wire only, and no system
    header through which a file, clock, thread or socket could come in;
  - each third-party library is included by one .c file of ours, never by a header;
  - there are no include cycles, and every included file of ours exists.

A rule that is wrong is mended here, with the reason beside it; an exception is a line in EXCEPTIONS.
Usage: includes.py [ROOT]; includes.py --self-test
"""
import os
import re
import sys

# The headers of librunnel that all may reach by <runnel/NAME.h>, by the part that they belong to.
PUBLIC = {
    "base": "buf crc deflate err gzip map opt rand ranges ring",
    "sys": "clock conf crypto db file log loop notify queue",
    "model": "grid samples schema window",
    "text": "text",
    "wire": "cbor wire",
    "mqtt": "mqtt",
    "net": "http json",
}

PURE = {"base", "model", "wire"}
LIBRARY = PURE | {"sys", "text", "mqtt"}

# part -> parts that its files may include. What is not listed is refused.
ALLOWED = {
    "base": {"base"},
    "sys": {"base", "sys"},
    "model": {"base", "model"},
    "text": {"base", "model", "text"},
    "wire": {"base", "model", "wire"},
    "mqtt": {"base", "mqtt"},
    "net": {"base", "sys", "net"},
    "collect": {"base", "model", "collect"},
    "agent": LIBRARY | {"agent", "collect"},
    "sink": {"base", "model", "text", "net", "sink"},
    "http": LIBRARY | {"net", "bridge", "sink", "http"},
    "bridge": LIBRARY | {"net", "bridge", "sink", "http"},
    "cli": LIBRARY | {"net", "cli"},
}

# file (a regular expression) -> more parts that it may include, and why.
EXCEPTIONS = [
    (r"lib/mqtt/mqtt_paho\.c|lib/mqtt/\w+_io\.[ch]", {"sys"}, "the shell around the connection machine"),
    (r"include/runnel/mqtt\.h", {"sys"}, "names the loop that the connection reports to"),
    (r"bridge/sink/sink\.h", {"sys"}, "names the loop that a sink lives on"),
    (r"bridge/sink/file\.c", {"sys"}, "its database is a file"),
]

# Files that decide and do nothing else: no I/O, clock, thread or randomness.
CORES = [
    "agent/evict.c", "agent/keepalive.c", "agent/ledger.c", "agent/news.c", "agent/remote.c", "agent/rowlife.c", "agent/schedule.c",
    "agent/uplink.c", "agent/uplink_keys.c", "agent/uplink_scan.c", "agent/uplink_window.c",
    "bridge/acker.c", "bridge/dedupe.c", "bridge/liveness.c", "bridge/sink/policy.c",
    "lib/mqtt/machine.c",
]
# Interface headers: a core may use their plain structs; they name the loop, which a core cannot call.
INTERFACES = {"bridge/sink/sink.h", "agent/collect/collector.h", "include/runnel/mqtt.h"}
WORLD = re.compile(r"^(sys/|net/|netinet/|arpa/|linux/)|^(time|unistd|fcntl|pthread|threads|dirent|"
                   r"poll|signal|netdb|semaphore|stdatomic)\.h$")

# Beginning of a header's name -> the library it comes from.
THIRD_PARTY = {
    "uv.h": "libuv", "sqlite3.h": "SQLite", "yaml.h": "libyaml", "cbor.h": "libcbor", "cbor/": "libcbor",
    "curl/": "libcurl", "jansson.h": "jansson", "microhttpd.h": "libmicrohttpd", "zlib.h": "zlib",
    "MQTT": "Paho", "openssl/": "OpenSSL",
}
# What is neither ours nor third-party has to be of the C library or the kernel.
SYSTEM = re.compile(r"^(sys|net|netinet|arpa|linux|bits)/|^(alloca|assert|byteswap|ctype|dirent|dlfcn|endian|"
                    r"errno|fcntl|fenv|float|fnmatch|ftw|getopt|glob|grp|ifaddrs|inttypes|limits|locale|malloc|"
                    r"math|mntent|netdb|paths|poll|pthread|pty|pwd|regex|resolv|sched|semaphore|setjmp|signal|"
                    r"spawn|stdalign|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|"
                    r"syslog|termios|threads|time|ucontext|uchar|unistd|utime|utmp|utmpx|wchar|wctype)\.h$")

FOLDERS = ("include", "lib", "agent", "bridge", "cli")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
PART_OF_PUBLIC = {f"include/runnel/{name}.h": part for part, names in PUBLIC.items() for name in names.split()}


def part_of(path):
    """The part a file belongs to; None if the architecture knows no such place."""
    if path.startswith("include/"):
        return PART_OF_PUBLIC.get(path)
    for folder, part in (("agent/collect/", "collect"), ("agent/", "agent"), ("bridge/sink/", "sink"),
                         ("bridge/http/", "http"), ("bridge/", "bridge"), ("cli/", "cli")):
        if path.startswith(folder):
            return part
    match = re.match(r"lib/(\w+)/", path)
    return match.group(1) if match and match.group(1) in ALLOWED else None


def resolve(path, quoted, name, files):
    """The file of ours that an #include in `path` means, or None."""
    candidates = [f"include/{name}", name]
    if quoted:
        candidates.insert(0, os.path.normpath(os.path.join(os.path.dirname(path), name)))
    return next((c for c in candidates if c in files), None)


def library_of(name):
    return next((lib for start, lib in THIRD_PARTY.items() if name.startswith(start)), None)


def is_ours(quoted, name):
    return quoted or name.split("/")[0] in ("runnel", "lib", "agent", "bridge", "cli")


class Graph:
    """Each file's includes: of ours (resolved), of the system, of third-party libraries."""

    def __init__(self, files):
        self.files, self.errors = files, []
        self.ours, self.system, self.third = {}, {}, {}
        for path, text in sorted(files.items()):
            self.ours[path], self.system[path], self.third[path] = set(), set(), set()
            for mark, name in INCLUDE.findall(text):
                self.add(path, mark == '"', name)

    def add(self, path, quoted, name):
        target = resolve(path, quoted, name, self.files)
        if target:
            self.ours[path].add(target)
        elif is_ours(quoted, name):
            self.errors.append(f"{path}: includes {name}, which is not there")
        elif library_of(name):
            self.third[path].add(library_of(name))
        else:
            self.system[path].add(name)
            if not SYSTEM.match(name):
                self.errors.append(f"{path}: <{name}> is neither ours, nor a known third-party library, nor "
                                   f"listed as the system's")

    def closure(self, start, stop):
        """Everything that `start` includes, not looking behind the files in `stop`."""
        seen, todo = set(), [start]
        while todo:
            path = todo.pop()
            if path not in seen:
                seen.add(path)
                todo.extend(() if path in stop else self.ours[path])
        return seen


def check_places(graph):
    for path in graph.files:
        if part_of(path) is None:
            where = "PUBLIC" if path.startswith("include/") else "ALLOWED"
            yield f"{path}: belongs to no part; enter it in {where} of tests/rules/includes.py"


def allowed_for(path):
    parts = set(ALLOWED.get(part_of(path), ()))
    for pattern, more, _why in EXCEPTIONS:
        if re.fullmatch(pattern, path):
            parts |= more
    return parts


def check_parts(graph):
    for path, targets in graph.ours.items():
        allowed = allowed_for(path)
        for target in sorted(targets):
            if part_of(target) not in allowed:
                yield (f"{path}: includes {target}; {part_of(path)} may see "
                       f"{', '.join(sorted(allowed))} but not {part_of(target)}")


def check_cores(graph):
    for core in CORES:
        if core not in graph.files:
            continue
        own = part_of(core)
        for path in sorted(graph.closure(core, INTERFACES)):
            if path in INTERFACES:
                continue
            if part_of(path) not in PURE | {own}:
                yield f"{core}: is a pure core, but reaches {path} ({part_of(path)})"
            for name in sorted(n for n in graph.system[path] if WORLD.match(n)):
                yield f"{core}: is a pure core, but {path} includes <{name}>"


def check_third_party(graph):
    users = {}
    for path, libraries in graph.third.items():
        for library in libraries:
            users.setdefault(library, []).append(path)
    for library, paths in sorted(users.items()):
        if len(paths) > 1:
            yield f"{library}: included by {' and '.join(sorted(paths))}; one file of ours only"
        for path in paths:
            if path.endswith(".h"):
                yield f"{path}: a header must not include {library}"


def check_cycles(graph):
    state = {}  # path -> 1 while being visited, 2 when done

    def visit(path, trail):
        if state.get(path) == 2:
            return None
        if state.get(path) == 1:
            return trail[trail.index(path):] + [path]
        state[path] = 1
        for target in sorted(graph.ours[path]):
            cycle = visit(target, trail + [path])
            if cycle:
                return cycle
        state[path] = 2
        return None

    for path in sorted(graph.files):
        cycle = visit(path, [])
        if cycle:
            yield "include cycle: " + " -> ".join(cycle)
            return


def check(files):
    graph = Graph(files)
    errors = list(graph.errors)
    for rule in (check_places, check_parts, check_cores, check_third_party, check_cycles):
        errors.extend(rule(graph))
    return errors


def read_tree(root):
    files = {}
    for folder in FOLDERS:
        for base, _dirs, names in os.walk(os.path.join(root, folder)):
            for name in names:
                if name.endswith((".c", ".h")):
                    path = os.path.join(base, name)
                    with open(path, encoding="utf-8") as f:
                        files[os.path.relpath(path, root)] = f.read()
    return files


def self_test():
    """Each rule finds the tree that breaks it, and lets the sound one pass."""
    sound = {
        "include/runnel/buf.h": "#include <stdint.h>\n", "include/runnel/db.h": "#include <runnel/buf.h>\n",
        "lib/sys/db.c": "#include <runnel/db.h>\n#include <sqlite3.h>\n", "lib/base/buf.c": "#include <runnel/buf.h>\n",
        "agent/a.h": "", "agent/a.c": '#include "agent/a.h"\n#include "runnel/db.h"\n', "bridge/b.h": "",
        "bridge/acker.c": "#include <runnel/buf.h>\n#include <string.h>\n",
    }
    broken = {
        "may see": {"lib/base/buf.c": "#include <runnel/db.h>\n"},
        "not bridge": {"agent/a.c": '#include "bridge/b.h"\n'},
        "reaches include/runnel/db.h": {"bridge/acker.c": "#include <runnel/db.h>\n"},
        "pure core, but bridge/b.h includes <time.h>":
            {"bridge/acker.c": '#include "b.h"\n', "bridge/b.h": "# include <time.h>\n"},
        "one file of ours only": {"agent/a.c": "#include <sqlite3.h>\n"},
        "a header must not": {"agent/a.h": "#include <uv.h>\n"},
        "include cycle: agent/a.h -> agent/b.h -> agent/a.h":
            {"agent/a.h": '#include "agent/b.h"\n', "agent/b.h": '#include "agent/a.h"\n'},
        "which is not there": {"agent/a.c": '#include "gone.h"\n'},
        "neither ours": {"agent/a.c": "#include <boost.h>\n"},
        "belongs to no part": {"include/runnel/new.h": ""},
    }
    failures = [f"the sound tree is refused: {error}" for error in check(sound)]
    for words, change in broken.items():
        errors = check({**sound, **change})
        if not any(words in error for error in errors):
            failures.append(f"nothing said '{words}' about {change}: {errors}")
    return failures


def main():
    if sys.argv[1:] == ["--self-test"]:
        errors, done = self_test(), "every rule finds what breaks it"
    else:
        root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
        files = read_tree(root)
        errors, done = check(files), f"{len(files)} files keep the include rules"
        if not files:
            errors = [f"{root}: no sources there"]
    for error in errors:
        print(error, file=sys.stderr)
    if errors:
        print(f"{len(errors)} include rules broken", file=sys.stderr)
        return 1
    print(done)
    return 0


if __name__ == "__main__":
    sys.exit(main())
