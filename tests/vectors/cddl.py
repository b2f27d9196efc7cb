"""Checks decoded CBOR against CDDL (RFC 8610): the subset that schemas/*.cddl use.

Types: uint nint int float tstr bstr bool true false null any, integers, text, ranges a..b, choices
with /, arrays, maps, #6.n(type), parentheses, and the controls .size .regexp .cbor. Groups:
occurrences ? * + n*m, member names and keys, groups in parentheses. Values come from cbor2, which
gives dict, list, int, float, str, bytes, bool, None, CBORTag.
"""
import io
import re

import cbor2

TOKEN = re.compile(r"""\s*(?:;[^\n]*\n\s*)*(?:
    (?P<num>-?0x[0-9a-fA-F]+|-?\d+) | (?P<text>"[^"]*") | (?P<tag>\#6\.\d+) |
    (?P<ctl>\.[a-z]+) | (?P<op>\.\.|=>|[=/\[\]{}(),:?*+]) | (?P<name>[a-zA-Z][\w-]*))""", re.X)


class Mismatch(Exception):
    """The value is not of the type."""


def tokens(text):
    text, at, out = text + "\n", 0, []
    while True:
        match = TOKEN.match(text, at)
        if not match:
            rest = re.sub(r";[^\n]*", "", text[at:]).strip()
            if rest:
                raise SyntaxError(f"CDDL: {rest[:40]!r}")
            return out
        out.append((match.lastgroup, match.group(match.lastgroup)))
        at = match.end()


class Parser:
    """Recursive descent into tuples: (kind, ...)."""

    def __init__(self, text):
        self.toks, self.at = tokens(text), 0

    def peek(self, ahead=0):
        at = self.at + ahead
        return self.toks[at] if at < len(self.toks) else (None, None)

    def take(self, value=None):
        tok = self.peek()
        if tok[0] is None or (value is not None and tok[1] != value):
            raise SyntaxError(f"CDDL: expected {value}, found {tok}")
        self.at += 1
        return tok

    def rules(self):
        rules = {}
        while self.peek()[0]:
            name = self.take()[1]
            self.take("=")
            if name in rules:
                raise SyntaxError(f"CDDL: {name} comes twice")
            rules[name] = self.type()
        return rules

    def type(self):
        options = [self.type1()]
        while self.peek()[1] == "/":
            self.take()
            options.append(self.type1())
        return options[0] if len(options) == 1 else ("choice", options)

    def type1(self):
        base = self.type2()
        kind, value = self.peek()
        if value == "..":
            self.take()
            return ("range", base[1], self.type2()[1])
        if kind == "ctl":
            self.take()
            return ("control", value[1:], base, self.type2())
        return base

    def type2(self):
        kind, value = self.take()
        if kind == "num":
            return ("literal", int(value, 0))
        if kind == "text":
            return ("literal", value[1:-1])
        if kind == "name":
            return ("name", value)
        if kind == "tag":
            self.take("(")
            inner = self.type()
            self.take(")")
            return ("tag", int(value[3:]), inner)
        if value == "(":
            inner = self.type()
            self.take(")")
            return inner
        if value in "[{":
            return ("array" if value == "[" else "map", self.group("]" if value == "[" else "}"))
        raise SyntaxError(f"CDDL: unexpected {value}")

    def group(self, close):
        entries = []
        while self.peek()[1] != close:
            entries.append(self.entry())
            if self.peek()[1] == ",":
                self.take()
        self.take(close)
        return entries

    def occurrence(self):
        kind, value = self.peek()
        if kind == "num" and self.peek(1)[1] == "*" and self.peek(2)[0] == "num":
            low, high = int(value), int(self.peek(2)[1])
            self.at += 3
            return low, high
        bounds = {"?": (0, 1), "*": (0, None), "+": (1, None)}.get(value)
        if bounds:
            self.take()
        return bounds or (1, 1)

    def entry(self):
        low, high = self.occurrence()
        if self.peek()[1] == "(" and self.peek(2)[1] == ":":
            self.take()
            return (low, high, None, ("group", self.group(")")))
        if self.peek(1)[1] == ":":
            kind, value = self.take()
            self.take()
            # A name is only a name in an array; it would be a text key in a map, which we never use.
            key = ("literal", int(value, 0)) if kind == "num" else None
            return (low, high, key, self.type())
        first = self.type()
        if self.peek()[1] == "=>":
            self.take()
            return (low, high, first, self.type())
        return (low, high, None, first)


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


PRELUDE = {
    "uint": lambda v: is_int(v) and v >= 0,
    "nint": lambda v: is_int(v) and v < 0,
    "int": is_int,
    "float": lambda v: isinstance(v, float),
    "tstr": lambda v: isinstance(v, str),
    "bstr": lambda v: isinstance(v, bytes),
    "bool": lambda v: isinstance(v, bool),
    "true": lambda v: v is True,
    "false": lambda v: v is False,
    "null": lambda v: v is None,
    "any": lambda v: True,
}


class Cddl:
    """A set of rules; the first rule of the last text is the root."""

    def __init__(self, *texts):
        self.rules, self.root = {}, None
        for text in texts:
            rules = Parser(text).rules()
            clash = set(rules) & (set(self.rules) | set(PRELUDE))
            if clash:
                raise SyntaxError(f"CDDL: defined twice: {clash}")
            self.root = next(iter(rules))
            self.rules.update(rules)
        for name in self.names():
            if name not in self.rules and name not in PRELUDE:
                raise SyntaxError(f"CDDL: {name} is not defined")

    def names(self):
        """Every name that a rule mentions."""
        stack, found = list(self.rules.values()), set()
        while stack:
            node = stack.pop()
            if isinstance(node, tuple) and node and node[0] == "name":
                found.add(node[1])
            elif isinstance(node, (tuple, list)):
                stack.extend(node)
        return found

    def check(self, value):
        """Raises Mismatch unless value is of the root's type."""
        self.match(("name", self.root), value, self.root)

    def match(self, node, value, path):
        getattr(self, "match_" + node[0])(node, value, path)

    def fits(self, node, value):
        try:
            self.match(node, value, "")
            return True
        except Mismatch:
            return False

    def match_name(self, node, value, path):
        if node[1] in PRELUDE:
            if not PRELUDE[node[1]](value):
                raise Mismatch(f"{path}: {value!r} is no {node[1]}")
        else:
            self.match(self.rules[node[1]], value, path)

    def match_literal(self, node, value, path):
        if type(value) is not type(node[1]) or value != node[1]:
            raise Mismatch(f"{path}: {value!r} is not {node[1]!r}")

    def match_range(self, node, value, path):
        if not is_int(value) or not node[1] <= value <= node[2]:
            raise Mismatch(f"{path}: {value!r} is not in {node[1]}..{node[2]}")

    def match_choice(self, node, value, path):
        if not any(self.fits(option, value) for option in node[1]):
            raise Mismatch(f"{path}: {value!r} is none of the choices")

    def match_tag(self, node, value, path):
        if not isinstance(value, cbor2.CBORTag) or value.tag != node[1]:
            raise Mismatch(f"{path}: not tag {node[1]}")
        self.match(node[2], value.value, path)

    def match_control(self, node, value, path):
        _, control, base, argument = node
        self.match(base, value, path)
        if control == "size":
            size = len(value.encode() if isinstance(value, str) else value)
            low, high = argument[1], argument[-1]
            if not low <= size <= high:
                raise Mismatch(f"{path}: {size} bytes, not {low}..{high}")
        elif control == "regexp":
            if not re.fullmatch(argument[1], value):
                raise Mismatch(f"{path}: {value!r} does not match")
        elif control == "cbor":
            self.match(argument, decode(value), path)
        else:
            raise SyntaxError(f"CDDL: .{control} is not in the subset")

    def match_array(self, node, value, path):
        if not isinstance(value, (list, tuple)):
            raise Mismatch(f"{path}: no array")
        end = self.sequence(node[1], value, 0, path)
        if end != len(value):
            raise Mismatch(f"{path}: item {end} is one too many or wrong")

    def sequence(self, entries, items, at, path):
        """Greedy: takes as many as fit of each entry. Returns where it stopped."""
        for low, high, _, node in entries:
            count = 0
            while at < len(items) and (high is None or count < high):
                try:
                    if node[0] == "group":
                        at = self.sequence(node[1], items, at, path)
                    else:
                        self.match(node, items[at], f"{path}[{at}]")
                        at += 1
                except Mismatch:
                    if count < low:
                        raise
                    break
                count += 1
            if count < low:
                raise Mismatch(f"{path}: too few items")
        return at

    def match_map(self, node, value, path):
        if not isinstance(value, dict):
            raise Mismatch(f"{path}: no map")
        left = dict(value)
        for low, high, key, inner in node[1]:
            taken = [k for k in left if self.fits(key, k)]
            for k in taken[:high]:
                self.match(inner, left.pop(k), f"{path}.{k}")
            if len(taken) < low:
                raise Mismatch(f"{path}: key {key[1]} is missing")
        if left:
            raise Mismatch(f"{path}: key {next(iter(left))!r} is not allowed")


def decode(data):
    """One CBOR item and nothing after it."""
    stream = io.BytesIO(data)
    value = cbor2.CBORDecoder(stream).decode()
    if stream.read(1):
        raise Mismatch("bytes are left over")
    return value
