"""Encodings 1 and 2 of a batch's columns, written from docs/PROTOCOL.md: the second opinion.

Schemas and cells as in columns.py. Nothing but the standard library. One walk serves both
directions: a Coder is given cells, or fills them. `tally`, if given, counts each probability's
decisions: that is what a prior is made from.
"""
import math
import pathlib
import struct
import zlib

from columns import (ALL_TEXT, BOOL, FLOAT, INT, MOD, TEXT, TEXT_SHORT, UINT, is_due, signed, texts_of,
                     times_of)

LEVELS, FIRSTS, SIZE, STEPS, TOPS = 21, 28, 21, 10, 24
LAYOUT = [("zero", LEVELS * 4 * 3), ("sign", LEVELS * 6), ("size", LEVELS * 4 * SIZE),
          ("first_zero", FIRSTS), ("first_sign", FIRSTS), ("first_size", FIRSTS * SIZE),
          ("top", TOPS * 3), ("varies", 64), ("missing", 2), ("present", 4), ("units", 2), ("literals", 2),
          ("literal", 2), ("text_same", 2), ("known", 4), ("known_slot", 256), ("text_guess", 16),
          ("text_byte", 3 * 256), ("literal_zeros", 64), ("odd", 4 * (2 + SIZE))]
AT, ODDS = {}, 0
for _name, _count in LAYOUT:
    AT[_name] = ODDS
    ODDS += _count
TIME, LENGTH, LITERAL, UNIT = range(4)
SURE = 40
RATES = [655360 // (10 * seen + 16) for seen in range(SURE + 1)]
MISSING_CELLS, LITERALS, VARIES, UNITS = 1, 2, 4, 8
UNIT_WORTH = 12
NEAR, LEARNED = 512, 256
SPACE, RANGED_SPACE = 65536, 8192

PRIOR = pathlib.Path(__file__).resolve().parent.parent.parent / "schemas" / "prior-1.txt"
_prior = []


class Damaged(ValueError):
    pass


def prior():
    if not _prior:
        lines = [line.split() for line in PRIOR.read_text().splitlines() if not line.startswith("#")]
        _prior.extend((int(p), int(seen)) for p, seen in lines)
        assert len(_prior) == ODDS
    return _prior


def crc32c(data, crc=0):
    crc ^= 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


# ---- the range coder ----------------------------------------------------------------------------

class Odds:
    def __init__(self, start, tally=None):
        self.p = [p for p, _ in start]
        self.seen = [seen for _, seen in start]
        self.tally = tally

    def learn(self, at, bit):
        p, rate = self.p[at], RATES[self.seen[at]]
        if bit:
            self.p[at] = max(48, p - (p * rate >> 16))
        else:
            self.p[at] = min(65488, p + ((65536 - p) * rate >> 16))
        self.seen[at] = min(SURE, self.seen[at] + 1)
        if self.tally is not None:
            self.tally[at][bit] += 1


class RangeOut:
    """Low is a number of any length: Python has no carry to worry about."""

    def __init__(self, odds):
        self.low, self.range, self.shifts, self.odds = 0, 0xffffffff, 0, odds

    def settle(self):
        while self.range < 1 << 24:
            self.range, self.low, self.shifts = self.range << 8, self.low << 8, self.shifts + 1

    def bit(self, at, bit):
        bound = (self.range >> 16) * self.odds.p[at]
        if bit:
            self.low, self.range = self.low + bound, self.range - bound
        else:
            self.range = bound
        self.odds.learn(at, bit)
        self.settle()
        return bit

    def raw(self, bits, value):
        self.range >>= bits
        self.low += self.range * value
        self.settle()
        return value

    def end(self):
        for zeros in (32, 24, 16, 8, 0):
            rounded = -(-self.low >> zeros) << zeros
            if rounded < self.low + self.range:
                break
        return rounded.to_bytes(self.shifts + 4, "big").rstrip(b"\0")


class RangeIn:
    def __init__(self, odds, data):
        self.odds, self.data, self.at, self.range, self.code = odds, data, 0, 0xffffffff, 0
        for _ in range(4):
            self.next()

    def next(self):
        self.code = self.code << 8 | (self.data[self.at] if self.at < len(self.data) else 0)
        self.at += 1

    def settle(self):
        while self.range < 1 << 24:
            self.range <<= 8
            self.next()

    def bit(self, at, _=None):
        bound = (self.range >> 16) * self.odds.p[at]
        bit = int(self.code >= bound)
        if bit:
            self.code, self.range = self.code - bound, self.range - bound
        else:
            self.range = bound
        self.odds.learn(at, bit)
        self.settle()
        return bit

    def raw(self, bits, _=None):
        self.range >>= bits
        value = min(self.code // self.range, (1 << bits) - 1)
        self.code -= value * self.range
        self.settle()
        return value

    def end(self):
        if self.at < len(self.data):
            raise Damaged("bytes are left over")


def log_of(size):
    size = min(size + 1, MOD - 1)
    whole = size.bit_length() - 1
    return whole << 8 | ((size >> (whole - 8) if whole >= 8 else size << (8 - whole)) & 255)


# ---- plain bytes --------------------------------------------------------------------------------

class Plain:
    """The plain bytes: gathered, and read from `data` if it is given."""

    def __init__(self, data=None):
        self.data, self.at, self.out = data, 0, bytearray()

    def byte(self, value):
        if self.data is not None:
            if self.at == len(self.data):
                raise Damaged("plain bytes end early")
            value = self.data[self.at]
            self.at += 1
        self.out.append(value)
        return value

    def varint(self, value):
        if self.data is None:
            while value > 127:
                self.byte(value & 127 | 128)
                value >>= 7
            self.byte(value)
            return value
        value = shift = 0
        while True:
            byte = self.byte(0)
            value |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
        if (shift and not byte) or value >= MOD:
            raise Damaged("not the shortest form")
        return value


def zigzag(value):
    return value * 2 if value >= 0 else -value * 2 - 1


def unzigzag(value):
    return value >> 1 if value % 2 == 0 else -(value + 1 >> 1)


# ---- the walk -----------------------------------------------------------------------------------

class Column:
    def __init__(self, index, group, series, position, field):
        self.index, self.every, self.series, self.position = index, group.get(2, 1), series, position
        self.type, self.kind, self.mul = field[2], field.get(3, 0), field.get(6, 1)


def columns_of(schema):
    out = []
    for group in schema[4]:
        for series in range(len(group[4])):
            for position, field in enumerate(group[3]):
                out.append(Column(len(out), group, series, position, field))
    return out


def fits(column, value):
    if column.type == BOOL:
        return value in (0, 1)
    if column.type == UINT:
        return value % MOD * column.mul < MOD
    return column.type in (INT, FLOAT) and -MOD // 2 <= value * column.mul < MOD // 2


class Coder:
    def __init__(self, schema, times, cells, *, plain, coder, base=None, hints=None, text_max=TEXT_SHORT):
        self.schema, self.times, self.cells = schema, times, cells  # cells: None while reading
        self.putting = cells is not None
        self.plain, self.range, self.base, self.hints = plain, coder, base, hints
        self.text_max = text_max
        self.columns = columns_of(schema)
        if not self.putting:
            self.cells = [[None] * len(times) for _ in self.columns]
        self.near, self.learned, self.levels = {}, {}, [0] * 4
        self.last = None
        self.last_missing = self.last_literals = self.last_unit = 0
        self.known, self.places = {}, {}  # slot: cell or text; place: (column, tick, byte)
        self.space = RANGED_SPACE if coder else SPACE

    # A number that may have 64 bits, with its probabilities.
    def number(self, value, zero=0, sign=0, size=0, expected=1):
        if self.range is None:
            got = self.plain.varint(zigzag(value))
            return value if self.putting else unzigzag(got)
        value = self.ranged(value, zero, sign, size, expected)
        self.plain.varint(zigzag(value))
        return value

    def ranged(self, value, zero, sign, size, expected):
        coder = self.range
        if not coder.bit(zero, int(value != 0)):
            return 0
        minus = coder.bit(sign, int(value < 0))
        bits, up, down = abs(value).bit_length(), size + 1, size + 1 + STEPS
        if coder.bit(size, int(bits > expected)):
            k = expected + 1
            while k < 64 and coder.bit(up + min(k - expected - 1, STEPS - 1), int(bits > k)):
                k += 1
        else:
            k = expected
            while k > 1 and coder.bit(down + min(expected - k, STEPS - 1), int(bits < k)):
                k -= 1
        got, left, top, above = 1, k - 1, AT["top"] + min(k, TOPS - 1) * 3, 0
        for i in range(min(2, left)):
            left -= 1
            above = coder.bit(top + (1 + above if i else 0), abs(value) >> left & 1)
            got = got << 1 | above
        while left:
            take = min(16, left)
            left -= take
            got = got << take | coder.raw(take, abs(value) >> left & (1 << take) - 1)
        return signed(-got if minus else got)

    def odd(self, sort, value):
        at, level = AT["odd"] + sort * (2 + SIZE), self.levels[sort]
        value = self.ranged(value, at, at + 1, at + 2, max(level, 1))
        self.levels[sort] = (level + abs(value).bit_length() + 1) // 2
        return value

    def count(self, value):
        got = self.plain.varint(value)
        return value if self.putting or self.range is not None else got

    def tree(self, at, bits, value):
        node = 1
        for i in reversed(range(bits)):
            node = node << 1 | self.range.bit(at + node, value >> i & 1)
        return node - (1 << bits)

    def bits(self, wanted, odds):
        """wanted: bits, or how many; odds(i, before): where the probability of bit i is."""
        count = len(wanted) if self.putting else wanted
        got, byte, before = [], 0, None
        for i in range(count):
            if self.range is not None:
                bit = self.range.bit(odds(i, before), wanted[i] if self.putting else 0)
            else:
                if i % 8 == 0 and not self.putting:
                    byte = self.plain.byte(0)
                bit = wanted[i] if self.putting else byte >> i % 8 & 1
            got.append(before := bit)
            if (self.range is not None or self.putting) and (i % 8 == 7 or i == count - 1):
                self.plain.byte(sum(b << j for j, b in enumerate(got[i // 8 * 8:])))
        if self.range is None and not self.putting and count % 8 and byte >> count % 8:
            raise Damaged("unused bits")
        return got

    # Times of irregular ticks.
    def walk_times(self):
        pace = 0
        for i in range(1, len(self.times)):
            change = signed(self.times[i] - self.times[i - 1] - pace) if self.putting else 0
            if self.range is not None:
                change = self.odd(TIME, change)
                self.plain.varint(zigzag(change))
            else:
                change = self.number(change)
            pace = signed(pace + change)
            self.times[i] = signed(self.times[i - 1] + pace)
            if self.times[i] < self.times[0]:
                raise Damaged("time before the first")

    def expected(self, rule, tick, before):
        def sum_up(linear):
            total = linear[0] + linear[1] * self.times[tick]
            for column, factor in zip(linear[2::2], linear[3::2]):
                value = self.cells[column][tick]
                if not isinstance(value, int):
                    return None
                total += factor * signed(value)
                if not -1 << 127 <= total < 1 << 127:
                    return None
            return total
        if rule is None:
            return 0
        num, den = sum_up(rule[1]), sum_up(rule[2] if len(rule) > 2 else [1, 0])
        return before if num is None or den is None or den <= 0 else signed(num // den)

    def rests(self, rule, ticks, cells):
        """Numbers less what was expected, everything else as it is."""
        expected, out = 0, []
        for tick in ticks:
            if isinstance(cells[tick], int):
                expected = self.expected(rule, tick, expected)
                out.append(signed(cells[tick] - expected))
            elif cells[tick] is not None:
                out.append(cells[tick])
        return out

    def usual(self, column, rule):
        if self.hints:
            return self.hints[column.index]
        if rule is not None:
            return 0, 2
        if column.series and self.range is not None:
            return self.learned.get(column.position % LEARNED, (0, 0))
        if column.type == BOOL or column.kind == 2:
            return 1, 0
        return (24, 16) if column.kind == 1 else (12, 8)

    def unit_of(self, cells, ticks):
        """What all differences are multiples of, if it is worth it; else 1."""
        numbers = [signed(cells[t]) for t in ticks if isinstance(cells[t], int)]
        moves = [signed(b - a) for a, b in zip(numbers, numbers[1:]) if a != b]
        unit = math.gcd(*moves)
        return unit if 1 < unit < 1 << 32 and len(moves) * unit.bit_length() >= UNIT_WORTH else 1

    def shape(self, column, rule, ticks, cells, habit):
        shape, has_unit = 0, rule is None and column.type not in (BOOL, TEXT)
        if self.putting:
            rests = self.rests(rule, ticks, cells)
            shape |= MISSING_CELLS * any(cells[t] is None for t in ticks)
            shape |= LITERALS * any(isinstance(r, dict) for r in rests)
            shape |= VARIES * any(r != rests[0] or type(r) is not type(rests[0]) for r in rests)
            shape |= UNITS * (has_unit and shape & VARIES > 0 and self.unit_of(cells, ticks) > 1)
        if self.range is not None:
            missing = self.range.bit(AT["missing"] + self.last_missing, int(shape & 1 > 0))
            literals = (self.range.bit(AT["literals"] + self.last_literals, int(shape & 2 > 0))
                        if column.type == FLOAT else 0)
            varies = (self.range.bit(AT["varies"] + min(habit, 63), int(shape & 4 > 0))
                      if len(ticks) > 1 else 0)
            unit = (self.range.bit(AT["units"] + self.last_unit, int(shape & 8 > 0))
                    if varies and has_unit else 0)
            shape = missing + 2 * literals + 4 * varies + 8 * unit
        shape = self.plain.byte(shape)
        if (shape > 15 or (shape & 2 and column.type != FLOAT) or (shape & 4 and len(ticks) < 2) or
                (shape & 8 and not (shape & 4 and has_unit))):
            raise Damaged("shape")
        if shape & 4 and has_unit:
            self.last_unit = shape >> 3
        self.last_missing, self.last_literals = shape & 1, shape >> 1 & 1
        return shape

    def column(self, column, rule=None):
        ticks = [i for i, t in enumerate(self.times) if is_due(self.schema, t, column.every)]
        if not ticks:
            return
        cells = self.cells[column.index]
        if self.putting and any(c is not None for i, c in enumerate(cells) if i not in set(ticks)):
            raise ValueError("there, but not due")
        slot = column.position % LEARNED
        if column.series == 0 and rule is None:
            self.learned[slot] = self.usual(column, None)
        first, step = self.usual(column, rule)
        shape = self.shape(column, rule, ticks, cells, step)
        unit = 1
        if shape & UNITS:
            unit = self.unit_of(cells, ticks) if self.putting else 0
            if self.range is not None:
                unit = self.odd(UNIT, unit)
            unit = self.count(unit % MOD)
            if not 2 <= unit < 1 << 32:
                raise Damaged("unit")
        present = [1] * len(ticks)
        if shape & MISSING_CELLS:
            def odds(i, before):
                there = self.last is not None and self.cells[self.last][ticks[i]] is not None
                return AT["present"] + 2 * there + (1 if before is None else before)
            present = self.bits([int(cells[t] is not None) for t in ticks] if self.putting
                                else len(ticks), odds)
        ticks = [t for t, there in zip(ticks, present) if there]
        written = ticks if shape & VARIES else ticks[:1]
        literal = [0] * len(written)
        if shape & LITERALS:
            literal = self.bits([int(isinstance(cells[t], dict)) for t in written] if self.putting
                                else len(written), lambda i, before: AT["literal"] + (before or 0))
        self.values(column, rule, ticks, shape, literal, first, step, unit)
        self.last = column.index

    def values(self, column, rule, ticks, shape, literal, first, step, unit):
        cells, slot = self.cells[column.index], column.position % LEARNED
        before = self.base[column.index] if self.base else 0
        state = {"expected": 0, "before": before, "number": False, "literal": 0, "same": 0,
                 "known": 0, "unit": unit, "level": max(0, step * 128 - log_of(unit - 1)), "recent": 0,
                 "sign": 0}
        for i, tick in enumerate(ticks):
            if i and not shape & VARIES:
                if isinstance(cells[ticks[0]], int):
                    state["expected"] = self.expected(rule, tick, state["expected"])
                    cells[tick] = self.value(column, state)
                else:
                    cells[tick] = cells[ticks[0]]
            elif column.type == TEXT:
                cells[tick] = self.text(column, ticks[:i], tick, cells, state)
            elif literal[i]:
                cells[tick] = self.literal(cells[tick], state)
            else:
                self.one_number(column, rule, tick, cells, state, first)
        if self.range is not None and rule is None:
            self.learned[slot] = (self.learned.get(slot, (0, 0))[0],
                                  state["level"] + log_of(unit - 1) + 64 >> 7 if shape & VARIES
                                  else 0)

    def value(self, column, state):
        value = signed(state["before"] + state["expected"])
        if not fits(column, value):
            raise Damaged("a number does not fit")
        return value % MOD if column.type == UINT else value

    def one_number(self, column, rule, tick, cells, state, first):
        state["expected"] = self.expected(rule, tick, state["expected"])
        unit = state["unit"] if state["number"] else 1
        step = (signed(cells[tick] - state["expected"] - state["before"]) if self.putting else 0)
        step = step // unit
        if state["number"]:
            level = state["level"] + 128 >> 8
            at = min(level, LEVELS - 1)
            near = self.near.get(tick % NEAR, 0)
            counter = 3 if column.kind == 1 else 0
            step = self.number(step, AT["zero"] + (at * 4 + state["recent"]) * 3 + near,
                               AT["sign"] + at * 6 + counter + state["sign"],
                               AT["size"] + (at * 4 + state["recent"]) * SIZE,
                               min(max(level, 1), 63))
            if self.range is not None:
                size = log_of(abs(step))
                self.near[tick % NEAR] = 0 if step == 0 else 2 if size > state["level"] else 1
                state["recent"] = state["recent"] << 1 & 2 | (step != 0)
                state["sign"] = 2 if step < 0 else 1 if step > 0 else state["sign"]
                state["level"] += (size - state["level"]) * 77 >> 8
        else:
            at = min(first, FIRSTS - 1)
            step = self.number(step, AT["first_zero"] + at, AT["first_sign"] + at,
                               AT["first_size"] + at * SIZE, min(max(first, 1), 63))
            if self.range is not None:
                slot = column.position % LEARNED
                self.learned[slot] = (abs(step).bit_length(), self.learned.get(slot, (0, 0))[1])
        state["before"] = signed(state["before"] + step * unit)
        state["number"] = True
        cells[tick] = self.value(column, state)

    @staticmethod
    def slot_of(value):
        """Of a literal's bits, or of a text's bytes."""
        parts, hash_ = ([value], 0) if isinstance(value, int) else (value, len(value))
        for part in parts:
            hash_ = (hash_ ^ part) * 0x9e3779b97f4a7c15 % MOD
        return hash_ >> 54 if isinstance(value, int) else hash_ >> 56 << 2

    def find_known(self, value, state, text):
        """(slot or None, value): bits of a literal, bytes of a text."""
        slot = self.slot_of(value) if self.putting else 0
        there = self.putting and self.known.get(slot) == value
        state["known"] = self.range.bit(AT["known"] + 2 * text + state["known"], int(there))
        if not state["known"]:
            return None, value
        low = 0
        high = self.tree(AT["known_slot"], 8, slot >> 2)
        if not text:
            low = self.range.raw(2, slot & 3)
        slot = high << 2 | low
        if isinstance(self.known.get(slot), bytes) != bool(text) or slot not in self.known:
            raise Damaged("a reference to nothing")
        return slot, self.known[slot]

    def literal(self, cell, state):
        bits = struct.unpack(">Q", struct.pack(">d", float.fromhex(cell["double"])))[0] if cell else 0
        slot = None
        if self.range is not None:
            slot, bits = self.find_known(bits, state, 0)
        if self.range is not None and slot is None:
            order = bits ^ MOD - 1 if bits >> 63 else bits | 1 << 63
            step = signed(order - state["literal"])
            zeros = (step & -step).bit_length() - 1 if self.putting else 0
            zeros = self.tree(AT["literal_zeros"], 6, zeros)
            step = (self.odd(LITERAL, step >> zeros + 1) * 2 if zeros < 63 else 0) + 1 << zeros
            order = (state["literal"] + step) % MOD
            bits = order & ~(1 << 63) if order >> 63 else order ^ MOD - 1
        bits = sum(self.plain.byte(bits >> i & 255) << i for i in range(0, 64, 8))
        state["literal"] = bits ^ MOD - 1 if bits >> 63 else bits | 1 << 63
        self.known[self.slot_of(bits)] = bits
        value = struct.unpack(">d", struct.pack(">Q", bits))[0]
        if value - value != 0:
            raise Damaged("not finite")
        return {"double": value.hex()}

    def source(self, before, tick, cells, state):
        """0: as before, 1: new, or so many cells back."""
        source = 1
        if self.putting and before:
            back = [i for i, t in enumerate(reversed(before), 1) if cells[t] == cells[tick]]
            source = 0 if 1 in back else next((i for i in back if i <= 255), 1)
        return self.count(source) if before else 1

    def text(self, column, before, tick, cells, state):
        if self.range is not None:
            return self.ranged_text(column, before, tick, cells, state)
        source = self.source(before, tick, cells, state)
        if source != 1:
            if source > 255 or max(source, 1) > len(before):
                raise Damaged("a text refers to no cell")
            return cells[before[-max(source, 1)]]
        return self.new_text(column, tick, cells)

    def ranged_text(self, column, before, tick, cells, state):
        if before:
            same = int(self.putting and cells[tick] == cells[before[-1]])
            state["same"] = self.range.bit(AT["text_same"] + state["same"], same)
        if state["same"]:
            self.plain.varint(0)
            return cells[before[-1]]
        slot, data = self.find_known(cells[tick].encode() if self.putting else b"", state, 1)
        if slot is None:
            self.plain.varint(1)
            data = self.new_text(column, tick, cells).encode()
        else:
            self.plain.varint(slot + 2)
        self.known[self.slot_of(data)] = data
        return data.decode()

    def new_text(self, column, tick, cells):
        data = cells[tick].encode() if self.putting else b""
        length = len(data)
        if self.range is not None:
            length = self.odd(LENGTH, length) % MOD
        length = self.count(length)
        if length > min(self.text_max, self.space):
            raise Damaged("text too long")
        self.space -= length
        out, guess = bytearray(), {"text": None, "context": column.index}
        for i in range(length):
            byte = data[i] if self.putting else 0
            if self.range is not None:
                byte = self.text_byte(out, guess, byte)
            out.append(self.plain.byte(byte))
        return out.decode()

    def text_byte(self, so_far, guess, byte):
        """guess: the text that is followed, up to which byte it was known then, the next byte, the run."""
        place = guess["context"] * 0x9e3779b1 % (1 << 32) >> 24
        if guess["text"] is None and place in self.places:
            text, at = self.places[place]
            run = 0
            while run < min(8, at, len(so_far)) and text[at - 1 - run] == so_far[-1 - run]:
                run += 1
            guess |= {"text": text, "end": len(text), "at": at, "run": run}
        self.places[place] = so_far, len(so_far)
        hit = 0
        if guess["text"] is not None:
            wanted = guess["text"][guess["at"]]
            hit = self.range.bit(AT["text_guess"] + min(guess["run"], 15), int(byte == wanted))
        if hit:
            byte = wanted
            guess["at"] += 1
            guess["run"] += 1
            if guess["at"] == guess["end"]:
                guess["text"] = None
        else:
            before = chr(so_far[-1]) if so_far else " "
            kind = 1 if before in "0123456789" else 2 if before >= "\x80" or before.isalpha() else 0
            byte = self.tree(AT["text_byte"] + 256 * kind, 8, byte)
            guess["text"] = None
        guess["context"] = (guess["context"] << 8 | byte) & 0xffffff
        return byte

    def walk(self):
        if not self.schema[3]:
            self.walk_times()
        rules = self.schema.get(5, [])
        ruled = {rule[0] for rule in rules}
        for column in self.columns:
            if column.index not in ruled:
                self.column(column)
        for rule in rules:
            self.column(self.columns[rule[0]], rule)


# ---- the two encodings --------------------------------------------------------------------------

def copy(cells):
    return [list(column) for column in cells]


def seed_of(base_object):
    return crc32c(base_object) if base_object else 0


def encode(enc, schema, times, cells, base=None, base_object=b"", hints=None, tally=None):
    """The content of the byte string. base, base_object: its numbers and its bytes."""
    plain, coder = Plain(), None
    if enc == 2:
        coder = RangeOut(Odds(prior(), tally))
    Coder(schema, list(times), copy(cells), plain=plain, coder=coder, base=base, hints=hints,
          text_max=max(texts_of(cells), default=0)).walk()
    crc = crc32c(plain.out, seed_of(base_object)).to_bytes(4, "big")
    if enc == 2:
        return crc + coder.end()
    deflate = zlib.compressobj(9, zlib.DEFLATED, -12, 5)
    return crc + deflate.compress(bytes(plain.out)) + deflate.flush()


def decode(enc, schema, t0, n, data, base=None, base_object=b"", hints=None, text_max=TEXT_SHORT):
    """(times, cells). text_max: member 3 of the batch's ext."""
    times = times_of(schema, t0, n) if schema[3] else [t0] * n
    coder = None
    if enc == 2:
        plain, coder = Plain(), RangeIn(Odds(prior()), data[4:])
    else:
        inflate = zlib.decompressobj(-15)
        plain = Plain(inflate.decompress(data[4:]))
        if not inflate.eof or inflate.unused_data:
            raise Damaged("deflate")
    walk = Coder(schema, times, None, plain=plain, coder=coder, base=base, hints=hints, text_max=text_max)
    walk.walk()
    if sum(texts_of(walk.cells)) > ALL_TEXT:
        raise Damaged("too much text")
    if coder:
        coder.end()
    elif plain.at < len(plain.data):
        raise Damaged("bytes are left over")
    if crc32c(plain.out, seed_of(base_object)) != int.from_bytes(data[:4], "big"):
        raise Damaged("CRC")
    return times, walk.cells
