#!/usr/bin/python3
"""Trains a prior for encoding 2 on captures of /proc: what its probabilities are at the start of a
batch. A published prior never changes (the vectors of schemas/vectors would): a better one gets the
next number. Prior 1 was trained on the first half of host2 and on all of host3 (bench/data), and, for the
bytes of texts, on the lines of README.md and docs/*.md as they were then.

    bench/support/prior.py OUT.txt [FILE:PART...]      PART: the share that is used, 0..1; *.md: lines of text
    bench/support/prior.py --c schemas/prior-1.txt lib/wire/prior.c
"""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "bench" / "support"), str(ROOT / "tests" / "vectors")]
import packed  # noqa: E402
import vitals  # noqa: E402

BATCHES = ((10, 6), (10, 24), (10, 60), (1, 60))
TEXTS = 40   # lines of a batch
SURE = 14    # decisions that a start is worth, at most
SURE_OF_TEXT = 4  # texts differ more from each other
SPREAD = 0.03  # what a level tells about the next


def bits(value):
    return packed.log_of(abs(value)) / 256


def rests(schema, times, cells):
    """Columns less what their rules expect, as the coder sees them."""
    coder = packed.Coder(schema, times, cells, plain=None, coder=None)
    rules = {rule[0]: rule for rule in schema.get(5, [])}
    return [coder.rests(rules.get(i), range(len(times)), column) for i, column in enumerate(cells)]


def learn(schema, batches):
    rows = [rests(schema, times, cells) for times, cells in batches]
    base = [column[0] for column in rows[0]]
    hints = []
    for i in range(len(base)):
        firsts = [bits(row[i][0] - base[i]) for row in rows]
        steps = [bits(b - a) for row in rows for a, b in zip(row[i], row[i][1:])]
        hints.append((min(64, int(sum(firsts) / len(firsts) + 0.5)),
                      min(127, int(2 * sum(steps) / max(1, len(steps)) + 0.5))))
    return base, hints


def count(path, part, tally):
    rows = vitals.load(path)
    for step, n in BATCHES:
        times, series = vitals.series_of(vitals.every(rows, step))
        schema = vitals.schema_of(series, step)
        batches = list(vitals.batches(times, series, 0, int(len(times) * part), n, step))
        base, hints = learn(schema, batches)
        for batch_times, cells in batches:
            packed.encode(2, schema, batch_times, cells, base, b"", hints, tally)
        print(f"{path}: {len(batches)} batches of {n} at {step} s")


def count_texts(path, tally):
    lines = [line.strip(" |#*-`\n") for line in path.read_text().splitlines()]
    lines = [line.encode()[:120].decode(errors="ignore") for line in lines if len(line) > 20]
    schema = {1: 1, 2: 10**9, 3: 1, 4: [{1: "log", 3: [{1: "message", 2: 4}], 4: [[]]}]}
    for at in range(0, len(lines) - TEXTS, TEXTS):
        packed.encode(2, schema, list(range(TEXTS)), [lines[at:at + TEXTS]], tally=tally)
    for name, count in (("text_same", 2), ("known", 4)):  # prose never says the same twice: states do
        tally[packed.AT[name]:packed.AT[name] + count] = [[0, 0] for _ in range(count)]
    print(f"{path}: {len(lines)} lines")


def spread(tally, start, levels, width):
    """Levels without much data lean on their neighbours."""
    at = packed.AT[start]
    table = [[tuple(tally[at + level * width + i]) for i in range(width)] for level in range(levels)]
    for level in range(levels):
        for i in range(width):
            zero, one = (sum(table[other][i][bit] * (1 if other == level else SPREAD ** abs(other - level))
                             for other in range(levels)) for bit in (0, 1))
            tally[at + level * width + i] = [zero, one]


def write(path, tally):
    for start, levels, width in (("zero", packed.LEVELS, 12), ("sign", packed.LEVELS, 6),
                                 ("size", packed.LEVELS, 4 * packed.SIZE),
                                 ("first_zero", packed.FIRSTS, 1), ("first_sign", packed.FIRSTS, 1),
                                 ("first_size", packed.FIRSTS, packed.SIZE), ("varies", 64, 1)):
        spread(tally, start, levels, width)
    lines = ["# Prior 1 of encoding 2: probability of 0 in 1/65536, decisions seen; in the order of",
             "# docs/PROTOCOL.md. Never edited: vectors depend on it."]
    texts = range(packed.AT["text_byte"], packed.AT["text_byte"] + 3 * 256)
    for at, (zero, one) in enumerate(tally):
        p = int(65536 * (zero + 0.4) / (zero + one + 0.8) + 0.5)
        sure = SURE_OF_TEXT if at in texts else SURE
        lines.append(f"{min(65488, max(48, p))} {min(sure, int(zero + one))}")
    path.write_text("\n".join(lines) + "\n")


def rows_of(values, per, width):
    return "".join("    " + " ".join(f"{v},".rjust(width) for v in values[i:i + per]).rstrip() + "\n"
                   for i in range(0, len(values), per))


def write_c(table, path):
    pairs = [line.split() for line in table.read_text().splitlines() if not line.startswith("#")]
    path.write_text(
        "// The prior of encoding 2, version 1, from schemas/prior-1.txt (bench/support/prior.py --c).\n"
        "// clang-format off\n"
        '#include "lib/wire/model.h"\n\n'
        "const uint16_t model_prior_p[MODEL_ODDS] = {\n" + rows_of([p for p, _ in pairs], 14, 6) +
        "};\n\nconst uint8_t model_prior_seen[MODEL_ODDS] = {\n" +
        rows_of([seen for _, seen in pairs], 24, 3) + "};\n")


def main():
    if sys.argv[1] == "--c":
        write_c(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
        return
    out = pathlib.Path(sys.argv[1])
    packed._prior.extend([(32768, 0)] * packed.ODDS)  # counts do not depend on where one starts
    tally = [[0, 0] for _ in range(packed.ODDS)]
    for source in sys.argv[2:]:
        path, _, part = source.partition(":")
        if path.endswith(".md"):
            count_texts(pathlib.Path(path), tally)
        else:
            count(path, float(part or 1), tally)
    write(out, tally)


if __name__ == "__main__":
    main()
