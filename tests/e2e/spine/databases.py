"""What is in the databases and in the file sink's files, in the terms of lines.py."""

import struct

from .lines import bits, points_of

_CAST = {"float": lambda v: ("float", bits(v)), "integer": lambda v: ("int", v),
         "boolean": lambda v: ("bool", v), "string": lambda v: ("text", v)}


def influx_points(influx, db):
    """Every value of every field of every series in the database."""
    out = {}
    for measurement in influx.measurements(db):
        quoted = '"' + measurement.replace("\\", "\\\\").replace('"', '\\"') + '"'
        types = dict(influx.query(f"SHOW FIELD KEYS FROM {quoted}", db)[0]["values"])
        for series in influx.query(f"SELECT * FROM {quoted} GROUP BY *", db):
            tags = tuple(sorted((k, v) for k, v in series["tags"].items() if v != ""))
            for time, *values in series["values"]:
                for field, value in zip(series["columns"][1:], values):
                    if value is not None:
                        out[measurement, tags, field, time] = _CAST[types[field]](value)
    return out


def file_points(folder, name):
    """[(key, value)] of every line that the file sink wrote."""
    text = "".join(path.read_text() for path in sorted(folder.glob(f"{name}.*")))
    return points_of(text[:text.rfind("\n") + 1])


def victoria_points(victoria):
    """{(metric, tags, ms): [values]}: VictoriaMetrics keeps numbers and milliseconds only."""
    out = {}
    for (metric, tags), values in victoria.export('{__name__!=""}').items():
        for ms, value in values:
            out.setdefault((metric, tags, ms), []).append(value)
    return out


def as_victoria(points, db):
    """What VictoriaMetrics makes of these: it knows numbers only, `db` is a label."""
    return {(f"{measurement}_{field}", tuple(sorted([*tags, ("db", db)])), time // 10**6): number(value)
            for (measurement, tags, field, time), value in points.items()}


def number(value):
    kind, content = value
    if kind == "text":
        return 0.0
    return struct.unpack(">d", content)[0] if kind == "float" else float(content)
