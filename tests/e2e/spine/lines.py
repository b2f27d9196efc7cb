"""A reader of line protocol of our own: text -> [(key, value)].

key = (measurement, tags, field, time_ns), tags sorted pairs; value = (type, value), where a float is
its eight bytes, so that equal means equal to the bit.
"""

import re
import struct

HEAD = re.compile(r"((?:[^\\ ]|\\.)*) (.*) (-?\d+)$", re.S)
FIELD = re.compile(r'((?:[^\\=]|\\.)+)=("(?:[^"\\]|\\.)*"|[^,]*)(?:,|$)', re.S)
PART = re.compile(r"(?:[^\\,]|\\.)+")
TAG = re.compile(r"((?:[^\\=]|\\.)+)=(.*)", re.S)
NAME_ESCAPE = re.compile(r"\\([,= ])")
TEXT_ESCAPE = re.compile(r'\\(["\\])')


def bits(number):
    return struct.pack(">d", float(number))


def value_of(text):
    if text[0] == '"':
        return "text", TEXT_ESCAPE.sub(r"\1", text[1:-1])
    if text[-1] in "iu":
        return "int", int(text[:-1])
    if text[0] in "tTfF":
        return "bool", text[0] in "tT"
    return "float", bits(text)


def name_of(text):
    return NAME_ESCAPE.sub(r"\1", text)


def points_of_line(line):
    series, fields, time = HEAD.match(line).groups()
    measurement, *tags = PART.findall(series)
    tags = tuple(sorted(tuple(map(name_of, TAG.match(tag).groups())) for tag in tags))
    return [((name_of(measurement), tags, name_of(field), int(time)), value_of(value))
            for field, value in FIELD.findall(fields)]


def points_of(text):
    """[(key, value)] of all lines; comments and empty lines are passed over."""
    return [point for line in text.split("\n") if line and line[0] != "#"
            for point in points_of_line(line)]
