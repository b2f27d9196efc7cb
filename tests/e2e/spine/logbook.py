"""What a bridge's log holds, read without any code of the bridge's: SQLite, cbor2 and the second
opinions on columns."""

import contextlib
import hashlib
import sqlite3

import cbor2

from .buffer import BASE, HINTS, items_of_body, packed, points_of_body


class Row:
    """One batch of the log, decoded with what its own segment holds."""

    def __init__(self, position, device, install, seq, ext, points):
        self.position, self.device, self.install, self.seq = position, device, install, seq
        self.ext, self.points = ext, points


BUSY_S = 60  # a bridge that stands still may hold a lock


@contextlib.contextmanager
def _opened(path):
    """One moment of a file that is perhaps being written."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None)
    try:
        db.execute("BEGIN")
        yield db
    finally:
        db.close()


def _segments(folder):
    return sorted((folder / "log").glob("[0-9]*.db"))


def _has(db, table):
    """False: the file is being made, or its making was cut short."""
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()


def _objects(db):
    out = {}
    for number, name, body in db.execute("SELECT number, hash, body FROM object"):
        assert hashlib.sha256(body).digest() == name, f"object {number} is not what its name says"
        out[number] = body
    return out


def _rows(db, schemas, after):
    if not _has(db, "batch"):
        return
    objects = _objects(db)
    for position, device, install, seq, schema, hints, base, crc, body in db.execute(
            "SELECT position, dev, install, seq, schema, hints, base, crc, body FROM batch"
            " WHERE position > ? ORDER BY position", (after,)):
        where = f"position {position}: {device} {install} {seq}"
        assert packed.crc32c(body) == crc, f"{where}: not the body that came"
        ext = items_of_body(body)[5]
        assert (1 in ext, 2 in ext) == (base > 0, hints > 0), f"{where}: {ext}, {base}, {hints}"
        named = {(BASE, ext.get(1)): objects.get(base), (HINTS, ext.get(2)): objects.get(hints)}
        content = objects[schema]
        if content not in schemas:
            schemas[content] = cbor2.loads(content)
        try:
            points = points_of_body(schemas[content], body, device, named)
        except Exception as error:
            raise AssertionError(f"{where} does not decode: {error!r}") from error
        yield Row(position, device, install, seq, ext, points)


def read_log(folder, after=0):
    """Every row behind a position, in order. That one does not decode, has other bytes than came, lacks
    an object or has the name of another one, is a failure. The bridge may run."""
    schemas, names, last = {}, set(), None
    for path in _segments(folder):
        with _opened(path) as db:
            for row in _rows(db, schemas, after):
                assert last is None or row.position == last + 1, f"between {last} and {row.position}"
                name = row.device, row.install, row.seq
                assert name not in names, f"{name} is there twice"
                names.add(name)
                last = row.position
                yield row


def read_bodies(folder):
    """The rows' bodies, as they came. The bridge may run."""
    for path in _segments(folder):
        with _opened(path) as db:
            if _has(db, "batch"):
                yield from (body for body, in db.execute("SELECT body FROM batch ORDER BY position"))


def verified(folder):
    """The position up to which the bridge says that everything was decoded."""
    path = folder / "cursor" / "verify.db"
    if not path.exists():
        return 0
    with _opened(path) as db:
        row = _has(db, "cursor") and db.execute("SELECT position FROM cursor").fetchone()
        return row[0] if row else 0


def dead_letters(folder):
    """[(sink, device, seq, reason)]"""
    path = folder / "dead.db"
    if not path.exists():
        return []
    with _opened(path) as db:
        return db.execute("SELECT sink, dev, seq, reason FROM letter").fetchall() if _has(db, "letter") else []
