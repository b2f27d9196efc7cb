"""What an agent's buffer holds, read without any code of the agent's: SQLite, cbor2 and the second
opinions on columns that also check the vectors."""

import contextlib
import importlib.util
import io
import shutil
import sqlite3
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

import cbor2

from runnel_test import ROOT
from .lines import bits



def _second_opinion(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "vectors" / f"{name}.py")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


columns = _second_opinion("columns")
packed = _second_opinion("packed")  # encodings 1 and 2; uses columns

LEDGER = ("produced", "delivered", "evicted", "thinned", "refused", "lost")


def _value(kind, field, cell):
    if isinstance(cell, dict):
        return "float", bits(float.fromhex(cell["double"]))
    if kind == columns.TEXT:
        return "text", cell
    if kind == columns.BOOL:
        return "bool", bool(cell)
    number = cell * field.get(6, 1)
    if kind == columns.FLOAT:
        return "float", bits(Decimal(number).scaleb(-field.get(4, 0)))
    return "int", number


def items_of_body(body):
    """[schema, t0, n, encoding, columns, ext]"""
    stream, items = io.BytesIO(body), []
    while stream.tell() < len(body):
        items.append(cbor2.CBORDecoder(stream).decode())
    return items


HINTS, BASE = 2, 3  # kinds of objects


def _referred(ext, objects):
    """What a batch was encoded with beside its schema."""
    out = {"text_max": ext.get(3, columns.TEXT_SHORT)}
    if 1 in ext:
        out["base_object"] = objects[BASE, ext[1]]
        out["base"] = cbor2.loads(out["base_object"])[1]
    if 2 in ext:
        hints = cbor2.loads(objects[HINTS, ext[2]])
        out["hints"] = list(zip(hints[1], hints[2]))
    return out


def points_of_body(schema, body, device, objects=None):
    """The points of one batch, as lines.points_of would give them. objects: {(kind, number): bytes},
    the hints and bases that it may name."""
    _, t0, n, encoding, parts, ext = items_of_body(body)
    if encoding:
        times, cells = packed.decode(encoding, schema, t0, n, parts, **_referred(ext, objects))
    else:
        times, cells = columns.decode(schema, t0, n, parts, ext.get(3, columns.TEXT_SHORT))
    series = [(group[1], tags, field) for group in schema[4] for tags in group[4] for field in group[3]]
    out = []
    for (measurement, tags, field), column in zip(series, cells, strict=True):
        pairs = dict(zip(tags[::2], tags[1::2])) if isinstance(tags, list) else dict(tags)
        pairs = tuple(sorted({**pairs, "host": device}.items()))
        out += [((measurement, pairs, field[1], time * schema[2]), _value(field[2], field, cell))
                for time, cell in zip(times, column) if cell is not None]
    return out


class Held:
    """rows: [(seq, install, points)]; journal: points of the open window as last saved."""

    def __init__(self, install, ledger, rows, journal):
        self.install, self.ledger, self.rows, self.journal = install, ledger, rows, journal

    def points(self):
        return [point for _, _, points in self.rows for point in points] + self.journal


def _content(path):
    try:
        return path.read_bytes()
    except FileNotFoundError:  # an agent that ends removes its WAL
        return b""


@contextlib.contextmanager
def open_copy(folder, to):
    """A running agent holds its buffer alone: what is read is a copy, whole if the WAL did not change
    meanwhile (a checkpoint only moves pages that the WAL still has)."""
    db, wal = (Path(folder) / name for name in ("buffer.db", "buffer.db-wal"))
    for pause in [*[0.01] * 100, *[0.1] * 300]:
        before = _content(wal)
        shutil.copy(db, to)
        if before == _content(wal):
            break
        time.sleep(pause)
    else:
        raise AssertionError(f"{db} is being written without a pause")
    (Path(to) / wal.name).write_bytes(before)
    opened = sqlite3.connect(Path(to) / db.name)
    try:
        yield opened
    finally:
        opened.close()


def read_buffer(folder, device):
    """Reads a copy of the buffer; the agent must not be running (killed is fine). None: no buffer."""
    folder = Path(folder)
    if not (folder / "buffer.db").exists():
        return None
    with tempfile.TemporaryDirectory() as copy:
        with open_copy(folder, copy) as db:
            return _read(db, device)


def _read(db, device):
    schemas = {number: cbor2.loads(object_) for number, object_ in db.execute("SELECT id, object FROM schema")}
    meta = db.execute(f"SELECT install, {', '.join(LEDGER)} FROM meta").fetchone()
    if meta is None:
        return Held(0, dict.fromkeys(LEDGER, 0), [], [])
    objects = {(kind, number): object_
               for kind, number, object_ in db.execute("SELECT kind, id, object FROM object")}
    rows = [(seq, install, points_of_body(schemas[schema], body, device, objects))
            for seq, install, schema, body in db.execute("SELECT seq, install, schema, body FROM batch ORDER BY seq")]
    journal = [point for schema, body in db.execute("SELECT schema, body FROM journal")
               for point in points_of_body(schemas[schema], body, device)]
    return Held(meta[0], dict(zip(LEDGER, meta[1:])), rows, journal)


def read_sequence(folder):
    """(oldest number that is not settled, the next number), also while the agent runs."""
    with tempfile.TemporaryDirectory() as copy, open_copy(folder, copy) as db:
        oldest, = db.execute("SELECT min(seq) FROM batch").fetchone()
        last = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'batch'").fetchone()
    following = last[0] + 1 if last else 1
    return oldest or following, following


def read_install(folder):
    with tempfile.TemporaryDirectory() as copy, open_copy(folder, copy) as db:
        return db.execute("SELECT install FROM meta").fetchone()[0]


def read_ledger(folder):
    """The ledger with `pending`, also while the agent runs; all 0 while there is no buffer yet."""
    values = None
    with contextlib.suppress(FileNotFoundError), tempfile.TemporaryDirectory() as copy:
        try:
            with open_copy(folder, copy) as db:
                values = db.execute(f"SELECT {', '.join(LEDGER)} FROM meta").fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
    ledger = dict(zip(LEDGER, values or [0] * len(LEDGER)))
    ledger["pending"] = ledger["produced"] - sum(ledger[fate] for fate in LEDGER[1:])
    return ledger
