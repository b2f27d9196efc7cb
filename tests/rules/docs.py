#!/usr/bin/python3
"""What the documents say exists.

  - Every relative link in a *.md names a file (and a heading) that is there.
  - docs/API.md has a heading for each route of bridge/http/api.c, and for nothing else.
  - docs/OPERATIONS.md lists every log event of the code. What it lists under a heading with the word
    "event" is an event, each number after "Exit status:" an exit code of some program, and every
    dotted name in code marks anywhere in it is an option key.
  - Every docs/....md that a source file mentions is there.
  - Every file in code marks in docs/ARCHITECTURE.md is there, and every name with an underscore is a
    word of the code.

Usage: docs.py [ROOT]; docs.py --self-test
"""
import os
import re
import subprocess
import sys
import tempfile

CALLS = {"rn_log": 1, "rn_complain": 4, "rn_recovered": 1}  # the argument that is the event
PROGRAMS = ("agent", "bridge", "cli")
# Dotted names in code marks that are no option keys: files, hosts, members, functions' files.
NOT_KEYS = re.compile(
    r"\.(yaml|db|d|md|c|h|py|log|pem|key|pub|conf|service|sock|token|socket|cbor|cddl|json|damaged|local|org|com|xz|deb)$")


def read(*parts):
    with open(os.path.join(*parts), encoding="utf-8") as file:
        return file.read()


def tracked(root, ends):
    done = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"], text=True,
                          capture_output=True, check=False)
    if done.returncode == 0:
        names = done.stdout.splitlines()
    else:
        names = [os.path.relpath(os.path.join(folder, name), root)
                 for folder, _, files in os.walk(root) for name in files]
    return sorted(n for n in names if n.endswith(ends) and os.path.exists(os.path.join(root, n)))


# ---- markdown -----------------------------------------------------------------------------------
def without_blocks(text):
    return re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S)


def headings(text):
    return [match.group(2).strip()
            for match in re.finditer(r"^(#+) (.*)$", without_blocks(text), flags=re.M)]


def anchor(heading):
    """As GitHub makes them."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def sections(text, word):
    """The texts below headings that hold the word."""
    parts = re.split(r"^#+ (.*)$", without_blocks(text), flags=re.M)
    return [parts[i + 1] for i in range(1, len(parts) - 1, 2) if word in parts[i].lower()]


def first_cells(text):
    """The first column of all tables, without their heads."""
    cells = []
    for block in re.findall(r"(?:^\|.*\n?)+", text, flags=re.M):
        cells += [line.split("|")[1].strip() for line in block.splitlines()[2:]]
    return cells


def marked(text):
    return re.findall(r"`([^`\n]+)`", without_blocks(text))


def check_links(root):
    problems = []
    for name in tracked(root, ".md"):
        text = without_blocks(read(root, name))
        text = re.sub(r"`[^`\n]*`", "", text)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, fragment = target.partition("#")
            full = os.path.normpath(os.path.join(root, os.path.dirname(name), path)) if path \
                else os.path.join(root, name)
            if not os.path.exists(full):
                problems.append(f"{name}: the link to {target} leads nowhere")
            elif fragment and full.endswith(".md") and \
                    fragment not in map(anchor, headings(read(full))):
                problems.append(f"{name}: {target} names no heading")
    return problems


def check_mentions(root):
    problems = []
    for name in tracked(root, (".c", ".h", ".cddl", ".yaml", ".conf", "/run")):
        for page in re.findall(r"\b(?:docs/[\w./-]+\.md)", read(root, name)):
            if not os.path.exists(os.path.join(root, page)):
                problems.append(f"{name} refers to {page}, which is not there")
    return problems


def check_names(root):
    page = os.path.join(root, "docs/ARCHITECTURE.md")
    if not os.path.exists(page):
        return ["docs/ARCHITECTURE.md is missing"]
    code = " ".join(read(root, name) for name in tracked(root, (".c", ".h")))
    words = set(re.findall(r"\w+", code))
    problems = []
    for mark in marked(read(page)):
        problems += [f"docs/ARCHITECTURE.md names the file {name}, which is not there"
                     for name in re.findall(r"(?:\w+/)+\w+\.(?:[ch]|py)\b", mark)
                     if not os.path.exists(os.path.join(root, name))]
        problems += [f"docs/ARCHITECTURE.md names {name}, which is nowhere in the code"
                     for name in re.findall(r"(?<![\w/.])[a-z]+_\w+(?![\w/]|\.\w)", mark) if name not in words]
    return problems


# ---- HTTP ---------------------------------------------------------------------------------------
def routes_of_code(text):
    found = set()
    for methods, path in re.findall(r"\{((?:HTTP_\w+[ |]*)+), \"(/[^\"]*)\"", text):
        found |= {(method, path) for method in re.findall(r"HTTP_(\w+)", methods)}
    return found


def routes_of_page(text):
    return {(method, re.sub(r"\{\w+\}", "*", path)) for method, path in
            re.findall(r"^### (GET|PUT|POST|DELETE) (/\S*)$", text, flags=re.M)}


def check_routes(root):
    code = routes_of_code(read(root, "bridge/http/api.c"))
    page = routes_of_page(read(root, "docs/API.md"))
    if not code:
        return ["bridge/http/api.c: no route found: has the table changed its form?"]
    return [f"docs/API.md lacks {method} {path}" for method, path in sorted(code - page)] + \
           [f"docs/API.md has {method} {path}, which no route answers"
            for method, path in sorted(page - code)]


# ---- events -------------------------------------------------------------------------------------
def arguments(text, start):
    """The texts of a call's arguments; start is just after its parenthesis."""
    depth, quoted, at, parts = 0, False, start, [start]
    while at < len(text):
        char = text[at]
        if quoted:
            at += char == "\\"
            quoted = char != '"'
        elif char == '"':
            quoted = True
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            if depth == 0:
                break
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(at + 1)
        at += 1
    ends = [part - 1 for part in parts[1:]] + [at]
    return [text[a:b] for a, b in zip(parts, ends)]


def events_of_text(text, name, problems):
    found = set()
    text = re.sub(r"//[^\n]*", "", text)
    for match in re.finditer(r"\b(" + "|".join(CALLS) + r")\(", text):
        given = arguments(text, match.end())
        index = CALLS[match.group(1)]
        literals = re.findall(r'"([^"]*)"', given[index]) if index < len(given) else []
        if not literals:
            problems.append(f"{name}: {match.group(1)} whose event is not written there")
        found.update(literals)
    return found


def events_of_code(root, problems):
    found = set()
    for name in tracked(root, ".c"):
        if name.startswith(PROGRAMS) or (name.startswith("lib/") and name != "lib/sys/log.c"):
            found |= events_of_text(read(root, name), name, problems)
    return found


def check_events(root, page):
    problems = []
    code = events_of_code(root, problems)
    words = {word for text in marked(page) for word in re.findall(r"\w+", text)}
    listed = {word for section in sections(page, "event") for cell in first_cells(section)
              for mark in marked(cell) for word in re.findall(r"\w+", mark)}
    if not listed:
        problems.append("docs/OPERATIONS.md: no table of events found")
    problems += [f"docs/OPERATIONS.md lacks the event {event}" for event in sorted(code - words)]
    return problems + [f"docs/OPERATIONS.md lists the event {event}, which nothing logs"
                       for event in sorted(listed - code)]


# ---- options and exit codes ---------------------------------------------------------------------
def keys_of_code(root):
    """Full keys; <name> stands for a sink's name."""
    keys = set()
    for name in tracked(root, ".c"):
        if not name.startswith(PROGRAMS):
            continue
        text = read(root, name)
        rows = re.findall(r'\.key = "([^"]+)"', text)
        if name.startswith("agent/collect/") or name == "agent/self.c":
            owners = re.findall(r'^ *\.name = "([a-z_]+)",', text, flags=re.M)
            keys |= {f"collect.{owner}.{row}" for owner in owners for row in rows}
        elif name.startswith("bridge/"):
            keys |= set(rows) | {f"sinks.<name>.{row}" for row in rows}
        else:
            keys |= set(rows)
    return keys


def known_key(key, keys):
    """Secrets may also be given by KEY_file; collect.<name>.* by any collector's name."""
    plain = key[:-len("_file")] if key.endswith("_file") else key
    sink = re.sub(r"^sinks\.[\w<>-]+\.", "sinks.<name>.", key)
    collector = re.sub(r"^collect\.[\w<>-]+\.(enabled|period)$", r"\1", key)
    section = key.rstrip("*").rstrip(".")
    return key in keys or plain in keys or sink in keys or re.sub(r"_file$", "", sink) in keys or \
        collector in keys or any(other.startswith(section + ".") for other in keys)


def check_keys(root, page):
    keys = keys_of_code(root)
    problems = []
    for mark in marked(page):
        for word in re.findall(r"(?<![\w/.$~-])[a-z_]+(?:\.[\w<>*-]+)+(?![\w/])", mark):
            if not NOT_KEYS.search(word) and not known_key(word, keys):
                problems.append(f"docs/OPERATIONS.md names the option {word}, which there is not")
    return problems


def exit_codes(root):
    codes = {0}
    for name in ("agent/command.h", "bridge/main.c", "cli/cli.h"):
        codes |= {int(n) for n in re.findall(r"\b(?:COMMAND|EXIT|CLI)_\w+ = (\d+)", read(root, name))}
    return codes


def check_exits(root, page):
    """Paragraphs such as "Exit status: 0 done; 1 failed ..."."""
    codes = exit_codes(root)
    listed = {int(number) for text in re.findall(r"^Exit status: (.*?)\n\n", page, flags=re.M | re.S)
              for number in re.findall(r"(?:^|; |;\n)(\d+) ", text)}
    problems = [] if listed else ["docs/OPERATIONS.md: no \"Exit status: ...\" found"]
    return problems + [f"docs/OPERATIONS.md lists exit code {n}, which no program has"
                       for n in sorted(listed - codes)]


def check(root):
    problems = check_links(root) + check_mentions(root) + check_names(root) + check_routes(root)
    page = os.path.join(root, "docs/OPERATIONS.md")
    if not os.path.exists(page):
        return problems + ["docs/OPERATIONS.md is missing"]
    text = read(page)
    return problems + check_events(root, text) + check_keys(root, text) + check_exits(root, text)


# ---- self test ----------------------------------------------------------------------------------
GOOD = {
    "README.md": "# R\n[o](docs/OPERATIONS.md#log-events) [web](https://example.org)\n",
    "docs/ARCHITECTURE.md": "`agent/a.c`: `rn_log`, `agent/collect/*.c`\n",
    "docs/API.md": "### GET /a\n\n### GET /a/{x}/b\n\n### PUT /a/{x}/b\n",
    "docs/OPERATIONS.md": "# Agent\n\nExit status: 0 done; 3 the\nconfiguration.\n\n"
                          "# Log events\n\n| event | |\n|---|---|\n| `went`, `came` | x |\n\n"
                          "Set `mqtt.keepalive: 30s` or `collect.cpu.percpu`, `sinks.main.url`; "
                          "`bridge.yaml`.\n",
    "bridge/http/api.c": 'x = {{HTTP_GET, "/a", 1}, {HTTP_GET | HTTP_PUT, "/a/*/b"}};\n',
    "bridge/main.c": "enum { EXIT_CONFIG = 3 };\n",
    "bridge/sink/s.c": '{.key = "url"}',
    "agent/a.c": 'rn_log(L, x ? "went" : "came", "a=%s, b(", "c");{.key = "mqtt.keepalive"}',
    "agent/collect/cpu.c": '{.key = "percpu"}\n    .name = "cpu",\n',
    "agent/command.h": "COMMAND_OK = 0",
    "cli/cli.h": "",
}
BAD = [  # file, what is put in place of what, a word of the complaint
    ("README.md", "OPERATIONS", "NOTHING", "leads nowhere"),
    ("README.md", "#log-events", "#nothing", "no heading"),
    ("docs/ARCHITECTURE.md", "agent/a.c", "agent/b.c", "which is not there"),
    ("docs/ARCHITECTURE.md", "rn_log", "rn_wood", "nowhere in the code"),
    ("docs/API.md", "GET /a\n", "GET /z\n", "lacks GET /a"),
    ("docs/API.md", "PUT", "DELETE", "no route"),
    ("docs/OPERATIONS.md", "`came`", "`fell`", "lacks the event came"),
    ("docs/OPERATIONS.md", "`came`", "`came`, `fell`", "nothing logs"),
    ("docs/OPERATIONS.md", "mqtt.keepalive", "mqtt.sleep", "which there is not"),
    ("docs/OPERATIONS.md", "cpu.percpu", "cpu.nothing", "which there is not"),
    ("docs/OPERATIONS.md", "sinks.main.url", "sinks.main.address", "which there is not"),
    ("docs/OPERATIONS.md", "; 3 the", "; 7 the", "no program has"),
    ("bridge/main.c", "enum", "// docs/NOTHING.md\nenum", "which is not there"),
    ("agent/a.c", 'x ? "went" : "came"', "event", "not written there"),
]


def problems_with(files):
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            os.makedirs(os.path.join(root, os.path.dirname(name)), exist_ok=True)
            with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                file.write(text)
        return check(root)


def self_test():
    problems = problems_with(GOOD)
    assert not problems, problems
    for name, old, new, words in BAD:
        assert old in GOOD[name], (name, old)
        problems = problems_with({**GOOD, name: GOOD[name].replace(old, new)})
        assert any(words in problem for problem in problems), (name, new, problems)
    print("self test: each kind of untruth is found")


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..")
    problems = check(os.path.abspath(root))
    print("\n".join(problems) or "the documents name nothing that is not there")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
