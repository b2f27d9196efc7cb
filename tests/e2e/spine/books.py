"""The truth about what agents committed, and its comparison with what arrived."""

import re
from collections import Counter

from .lines import points_of


class Truth:
    """Collects what was committed: from tee files, and from buffers of agents that were killed."""

    def __init__(self):
        self.values = {}       # key -> value
        self.count = Counter() # device -> samples
        self.twice = []        # keys committed with two values: one of them must be lost
        self.decoded = 0       # samples that were read from buffers, too
        self._offsets = {}

    def add(self, device, points):
        for key, value in points:
            if key in self.values:
                self.twice.append((key, self.values[key], value))
            self.values[key] = value
        self.count[device] += len(points)

    def read_tee(self, path):
        """Takes in what was written since the last call. Call it when the agent is not running: a
        batch that was begun and not committed is in doubt then, and the buffer knows."""
        if not path.exists():
            return
        with open(path, encoding="utf-8") as file:
            file.seek(self._offsets.get(path, 0))
            text = file.read()
            self._offsets[path] = file.tell()
        begun = {}
        for part in re.split(r"# (?=begin |commit )", text)[1:]:
            head, _, lines = part.partition("\n")
            word, device, *rest = head.split()
            if word == "begin":
                begun[device] = lines
                continue
            points = points_of(begun.pop(device))
            assert len(points) == int(rest[2]), f"the tee says {head}, and has {len(points)} values"
            self.add(device, points)

    def read_held(self, device, held):
        """A stopped or killed agent's buffer: what it holds beyond the tee is committed as well, and what
        both have must be the same."""
        self.decoded += len(held.points())
        self.add(device, [(key, value) for key, value in held.points()
                          if self.values.get(key) != value])


def _show(differences, limit=12):
    differences = sorted(differences, key=lambda key: (key[1], key[3], key[0], key[2]))
    shown = [f"  {key[3]} {key[0]} {','.join('='.join(tag) for tag in key[1])} {key[2]}"
             for key in differences[:limit]]
    return "\n".join(shown + [f"  ... {len(differences)} in all"])


def assert_same(expected, found, where):
    """Both {key: value}: the same keys and, to the bit, the same values."""
    missing, foreign = expected.keys() - found.keys(), found.keys() - expected.keys()
    assert not missing, f"{where} lacks\n{_show(missing)}"
    assert not foreign, f"{where} has what nobody committed\n{_show(foreign)}"
    other = [key for key, value in expected.items() if found[key] != value]
    assert not other, f"{where} has other values, {expected[other[0]]} became {found[other[0]]}\n{_show(other)}"


def as_map(points, where):
    """A point that is there twice is a failure where every line is kept (files)."""
    out = {}
    for key, value in points:
        assert key not in out, f"{where} has this twice:\n{_show([key])}"
        out[key] = value
    return out
