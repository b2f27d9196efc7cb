"""What a bridge's log holds, read without any code of the bridge's: SQLite, cbor2 and the second
opinions on columns."""

import hashlib
import sqlite3

import cbor2

from .buffer import BASE, HINTS, items_of_body, packed, points_of_body


class Row:
    """One batch of the log, decoded with what its own segment holds."""

    def __init__(self, position, device, install, seq, ext, points):
        self.position, self.device, self.install, self.seq = position, device, install, seq
        self.ext, self.points = ext, points


def _objects(db):
    out = {}
    for number, name, body in db.execute("SELECT number, hash, body FROM object"):
        assert hashlib.sha256(body).digest() == name, f"object {number} is not what its name says"
        out[number] = body
    return out


def _rows(db, schemas, after):
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'batch'").fetchone():
        return  # killed while it was made
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
    for path in sorted((folder / "log").glob("[0-9]*.db")):
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            for row in _rows(db, schemas, after):
                assert last is None or row.position == last + 1, f"between {last} and {row.position}"
                name = row.device, row.install, row.seq
                assert name not in names, f"{name} is there twice"
                names.add(name)
                last = row.position
                yield row
        finally:
            db.close()


def verified(folder):
    """The position up to which the bridge says that everything was decoded."""
    path = folder / "cursor" / "verify.db"
    if not path.exists():
        return 0
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        row = db.execute("SELECT position FROM cursor").fetchone()
        return row[0] if row else 0
    finally:
        db.close()


def dead_letters(folder):
    """[(sink, device, seq, reason)]"""
    path = folder / "dead.db"
    if not path.exists():
        return []
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return db.execute("SELECT sink, dev, seq, reason FROM letter").fetchall()
    finally:
        db.close()
