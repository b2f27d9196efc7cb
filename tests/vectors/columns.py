"""Encoding 0 of a batch's columns, written from schemas/batch.cddl alone: the second opinion.

A schema is the decoded CBOR of schemas/schema.cddl. Cells are rows of JSON: null is missing, an
integer is scaled, {"double": "<hex>"} is a literal, a string is text. A column is a list of n cells.
"""
INT, UINT, FLOAT, BOOL, TEXT = range(5)
MOD = 1 << 64
TEXT_SHORT, ALL_TEXT = 255, 4194304  # bytes of a text if ext says nothing, of all cells' texts


def columns_of(schema):
    """[(type, every)] in the order of the wire."""
    return [(field[2], group.get(2, 1))
            for group in schema[4] for _ in group[4] for field in group[3]]


def is_due(schema, time, every):
    return schema[3] == 0 or time // schema[3] % every == 0


def times_of(schema, t0, n):
    return [t0 + i * schema[3] for i in range(n)]


def bitmap(bits):
    out = bytearray((len(bits) + 7) // 8)
    for i, bit in enumerate(bits):
        out[i // 8] |= bit << (i % 8)
    return bytes(out)


def bits_of(data, count):
    bits = [data[i // 8] >> (i % 8) & 1 for i in range(len(data) * 8)]
    if len(data) != (count + 7) // 8 or any(bits[count:]):
        raise ValueError("bad bitmap")
    return bits[:count]


def signed(value):
    value %= MOD
    return value - MOD if value >= MOD // 2 else value


def items_of(kind, present):
    """What stands in `values` for the present cells of one column."""
    out, integer, text = [], 0, None
    for i, cell in enumerate(present):
        if isinstance(cell, dict):
            out.append(float.fromhex(cell["double"]))
        elif isinstance(cell, str):
            out.append(None if cell == text else cell)
            text = cell
        else:
            out.append(cell if kind == UINT and i == 0 else signed(cell - integer))
            integer = cell
    return out


def encode(schema, times, columns):
    valid, varying, values = [], [], []
    for (kind, every), cells in zip(columns_of(schema), columns, strict=True):
        due = [cell for time, cell in zip(times, cells, strict=True) if is_due(schema, time, every)]
        present = [cell for cell in due if cell is not None]
        assert len(present) == sum(cell is not None for cell in cells), "not due, but there"
        valid += [cell is not None for cell in due]
        varying.append(any(cell != present[0] for cell in present[1:]))
        values += items_of(kind, present if varying[-1] else present[:1])
    parts = [None if all(valid) else bitmap(valid), bitmap(varying), values]
    return parts if schema[3] else parts + [[t - times[0] for t in times[1:]]]


def next_cell(kind, item, state):
    if item is None:
        return state["text"]
    if isinstance(item, float):
        return {"double": item.hex()}
    if isinstance(item, str):
        state["text"] = item
        return item
    state["integer"] = (state["integer"] + item) % MOD
    return state["integer"] if kind == UINT else signed(state["integer"])


def texts_of(cells):
    """Their lengths in bytes."""
    return [len(cell.encode()) for column in cells for cell in column if isinstance(cell, str)]


def decode(schema, t0, n, parts, text_max=TEXT_SHORT):
    """(times, columns). text_max: member 3 of the batch's ext."""
    valid, varying, values = parts[:3]
    times = times_of(schema, t0, n) if schema[3] else [t0] + [t0 + d for d in parts[3]]
    assert len(times) == n and len(parts) == (3 if schema[3] else 4)
    kinds = columns_of(schema)
    due = [[is_due(schema, time, every) for time in times] for _, every in kinds]
    total = sum(map(sum, due))
    present = iter([1] * total if valid is None else bits_of(valid, total))
    values, out = iter(values), []
    for (kind, _), column_due, varies in zip(kinds, due, bits_of(varying, len(kinds))):
        state, cells, last = {"integer": 0, "text": None}, [], None
        for cell_due in column_due:
            if not cell_due or not next(present):
                cells.append(None)
                continue
            if last is None or varies:
                last = next_cell(kind, next(values), state)
            cells.append(last)
        out.append(cells)
    assert next(values, "end") == "end"
    assert max(texts_of(out), default=0) <= text_max and sum(texts_of(out)) <= ALL_TEXT
    return times, out
