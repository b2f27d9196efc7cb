"""Packs of fuzzer inputs: one file instead of hundreds. See replay.c for the format.

    corpus.py unpack FILE.pack FOLDER
    corpus.py pack FOLDER FILE.pack      smallest first, then bytewise
    corpus.py vectors NAME FOLDER        what schemas/vectors has for a target, to begin with
"""

import hashlib
import sys
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[2] / "schemas" / "vectors"
KINDS = {
    "batch": ["batch"],
    "schema": ["schema"],
    "messages": ["key", "status", "ack", "config", "signed", "report", "bridge-status", "hints", "base"],
    "cbor": ["schema", "batch", "status", "ack", "signed"],
}


def write(folder, data):
    (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def unpack(pack, folder):
    data = Path(pack).read_bytes()
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at:at + 2], "big")
        write(folder, data[at + 2:at + 2 + size])
        at += 2 + size


def pack(folder, pack_file):
    inputs = sorted({path.read_bytes() for path in folder.iterdir()}, key=lambda b: (len(b), b))
    with open(pack_file, "wb") as out:
        for data in inputs:
            out.write(len(data).to_bytes(2, "big") + data)


def vectors(name, folder):
    for kind in KINDS.get(name, []):
        for path in VECTORS.rglob(f"{kind}-*.cbor"):
            write(folder, path.read_bytes())


def main(arguments):
    verb, first, second = arguments
    if verb == "unpack":
        Path(second).mkdir(parents=True, exist_ok=True)
        unpack(first, Path(second))
    elif verb == "vectors":
        Path(second).mkdir(parents=True, exist_ok=True)
        vectors(first, Path(second))
    elif verb == "pack":
        pack(Path(first), second)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
