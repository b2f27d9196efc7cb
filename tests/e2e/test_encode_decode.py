"""`runnel encode` and `runnel decode`: what goes in comes out, to the bit and the nanosecond.

The points are compared by a reader of line protocol of this file's own, and the messages are read
with cbor2, which knows nothing of Runnel.
"""

import io
import json
import math
import random
import struct
import subprocess

import cbor2
import pytest

from runnel_test import bin_path

T0 = 1_600_000_000_000_000_000


def runnel(*args, data=b"", code=0):
    data = data.encode() if isinstance(data, str) else data
    done = subprocess.run([bin_path("runnel"), *args], input=data, capture_output=True, timeout=60)
    assert done.returncode == code, done.stderr.decode()
    return done


def encode(lines, *args, code=0):
    return runnel("encode", *args, data=lines, code=code).stdout


def decode(messages, *args, code=0):
    return runnel("decode", *args, data=messages, code=code).stdout.decode()


# ---- an independent reader ----------------------------------------------------------------------

class Reader:
    """Line protocol by its grammar: names end at an unescaped stop, texts at an unescaped quote."""

    def __init__(self, text):
        self.text, self.at = text, 0

    def more(self):
        return self.at < len(self.text)

    def take(self, stops, escaped=",= "):
        """Up to an unescaped character of stops, which stays."""
        out = ""
        while self.more() and self.text[self.at] not in stops:
            self.at += self.text[self.at] == "\\" and self.text[self.at + 1] in escaped
            out += self.text[self.at]
            self.at += 1
        return out

    def skip(self):
        self.at += 1
        return self.text[self.at - 1:self.at]

    def pair(self, stops):
        key = self.take("=")
        self.skip()
        return key, self.take(stops)

    def value(self):
        if self.text[self.at] == '"':
            self.skip()
            text = self.take('"', '"\\')
            self.skip()
            return "text", text
        word = self.take(", \n")
        if word[-1] in "iu":
            return {"i": "int", "u": "uint"}[word[-1]], int(word[:-1])
        if word[0] in "tTfF":
            return "bool", word[0] in "tT"
        return "float", struct.pack(">d", float(word))

    def line(self):
        """(time, measurement, tags, {field: (type, value)})"""
        measurement, tags, fields = self.take(", ", ", "), [], {}
        while self.skip() == ",":
            tags.append(self.pair(", "))
        while True:
            name = self.take("=")
            self.skip()
            fields[name] = self.value()
            if self.skip() == " ":
                break
        time = int(self.take("\n"))
        self.skip()
        return time, measurement, tuple(sorted(tags)), fields


def points(text):
    """{(time, measurement, tags, field): (type, value)}; a float's value is its eight bytes."""
    out, reader = {}, Reader(text)
    while reader.more():
        time, measurement, tags, fields = reader.line()
        out.update({(time, measurement, tags, name): value for name, value in fields.items()})
    return out


def messages(stream):
    out, file = [], io.BytesIO(stream)
    while file.tell() < len(stream):
        begin = file.tell()
        item = cbor2.CBORDecoder(file).decode()
        out.append((item, stream[begin:file.tell()]))
    return out


def assert_round_trip(lines, *args):
    stream = encode(lines, *args)
    assert points(decode(stream)) == points(lines)
    return stream


# ---- what goes in comes out ---------------------------------------------------------------------

def test_every_type_comes_back_with_its_value_and_time():
    stream = assert_round_trip(
        f'm,host=a i=-9223372036854775808i,u=18446744073709551615u,f=-0.5,b=t,c=F,s="x \\"y\\" \\\\" {T0}\n'
        f'm,host=a i=9223372036854775807i,u=0u,f=1e300,b=FALSE,c=true,s="" {T0 + 1}\n'
        f'n f=-0,g=0.1,h=5e-324,k=0.30000000000000004,l=1.7976931348623157e308 {T0 + 1}\n'
        f'n f=1 0\n')
    kinds = [type(item).__name__ for item, _ in messages(stream)]
    assert kinds == ["dict", "list"] * (len(kinds) // 2)  # a schema, then the batch that needs it


def test_names_and_texts_of_all_sorts_come_back():
    assert_round_trip(
        'a\\ b\\,c,k\\ 1\\,\\=x=v\\ \\,\\=\\x f\\ \\,\\=1="a, b=c \\\\ \\"quoted\\" é €",gh=1 5\n'
        'Grad\\ °C,ort=Köln v=1 5\n'
        '"q",k="v" v=1 5\n'
        'C:\\x,k=D:\\\\,e f\\="g"=1,"h"="i\\\\" 5\n')


NAME_PARTS = ["a", "b", "X", ",", "=", " ", '"', "'", "#", "\\x", "/", ":", "é", "日"]
TEXT_PARTS = ["a", "0", " ", ",", "=", '"', "\\", "\n", "\r", "\t", "é", "🙂", "m v=1 1\n"]
NUMBERS = {
    "i": [lambda rng: f"{rng.choice([0, 1, -1, 2**63 - 1, -2**63, rng.randrange(-2**63, 2**63)])}i",
          lambda rng: f"{rng.randrange(-999, 999)}i"],
    "u": [lambda rng: f"{rng.choice([0, 2**64 - 1, 2**63, rng.randrange(2**64)])}u",
          lambda rng: f"{rng.randrange(999)}u"],
    "f": [lambda rng: f"{rng.uniform(0, 100):.2f}", lambda rng: repr(rng.uniform(-1e9, 1e9)),
          lambda rng: rng.choice(["5e-324", "1.7976931348623157e308", "-0.0", "0", "1E-7", "1e3"])],
    "b": [lambda rng: rng.choice("t T true True TRUE f F false False FALSE".split())],
    "s": [lambda rng: quoted("".join(rng.choices(TEXT_PARTS, k=rng.choice([0, 1, 9, 40]))))],
}


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def random_name(rng, separators=",= "):
    name = "n" + "".join(rng.choices(NAME_PARTS, k=rng.randint(0, 7)))
    return "".join("\\" + char if char in separators else char for char in name)


def random_lines(rng):
    """Series that come and go, any names and values, uneven times; no field twice in one line."""
    series = [(random_name(rng, ", "), {random_name(rng): random_name(rng) for _ in range(rng.randint(0, 4))},
               {random_name(rng): rng.choice("iufbs") for _ in range(rng.randint(1, 6))})
              for _ in range(rng.randint(1, 20))]
    time, step = rng.choice([0, T0, T0 + 123456789]), rng.choice([1, 10**9, 10**10, 123456789])
    for _ in range(rng.randint(1, 80)):
        time += rng.choice([step, step, rng.randint(1, 10**10)])
        for measurement, tags, fields in series:
            some = {name: kind for name, kind in fields.items() if rng.random() < 0.8}
            if not some or rng.random() < 0.3:
                continue
            yield (measurement + "".join(f",{key}={value}" for key, value in tags.items()) + " "
                   + ",".join(f"{name}={rng.choice(NUMBERS[kind])(rng)}" for name, kind in some.items())
                   + f" {time}\n")


@pytest.mark.parametrize("seed", range(12))
def test_random_names_and_values_come_back(seed):
    lines = "".join(random_lines(random.Random(seed)))
    for encoding in ("0", "1", "2", "auto"):
        assert_round_trip(lines, "--enc", encoding, "--batch", random.Random(seed).choice(["1s", "60s", "240s"]))


@pytest.mark.parametrize("enc", ["0", "1", "2", "auto"])
def test_texts_of_any_length_come_back(enc):
    rng = random.Random(enc)
    lengths = [0, 1, 127, 128, 255, 256, 8191, 8192, 8193, 16383, 16384, 32768, 65534, 65535]
    texts = ["".join(rng.choices('ab "\\,=\n', k=length)) for length in lengths] + ["é" * 32767, "日" * 21845]
    rng.shuffle(texts)
    lines = "".join(f'm,k={n % 3} s={quoted(text)},n={n}i {T0 + n}\n' for n, text in enumerate(texts * 2))
    stream = assert_round_trip(lines, "--enc", enc)
    for batch in (item for item, _ in messages(stream) if isinstance(item, list)):
        assert batch[8].get(3, 256) > 255  # said only where it is needed


def test_a_text_that_is_too_long_is_named_and_the_rest_is_encoded():
    done = runnel("encode", data=f'm v=1 1\nm s="{"x" * 65536}",v=2 2\nm s="{"x" * 65535}" 3\n', code=3)
    assert b"line 2: s: text is over 65535 bytes; split it" in done.stderr
    assert b"refused: 0 lines, 1 values" in done.stderr
    assert decode(done.stdout) == f'm v=1 1\nm v=2 2\nm s="{"x" * 65535}" 3\n'


# ---- what hardly anybody writes, but may --------------------------------------------------------

ODD_NAME_PARTS = [*NAME_PARTS, "\u2028", "\u00a0", "\ufeff", "🚀", "-", "\\\\"]
ODD_TEXT_PARTS = [*TEXT_PARTS, "\r\n", "#", "\x00", "\x01", "\x7f", "\u0085", '\\"', "\\n"]
ODD_FLOATS = ["-0", "0.0", "1", "1.0", "1.", ".5", "-.5", "1e22", "1E22", "1e+22", "10000000000000000000000",
              "1.7976931348623157e308", "5e-324", "-5e-324", "2.2250738585072014e-308", "1e-400", "1e0",
              "9007199254740993", "9223372036854775808", "0.000000001", "0.0000000001", "0." + "1" * 100]


def odd_name(rng):
    """Up to 255 bytes; no last backslash, which has no form within a line."""
    name = "".join(rng.choices(ODD_NAME_PARTS, k=rng.choice([1, 1, 2, 5, 40, 300])))
    return name.encode()[:250].decode(errors="ignore").rstrip("\\") + rng.choice("xyz")


def odd_value(rng, kind):
    """(as it is written, as it comes back)"""
    if kind == "text":
        text = "".join(rng.choices(ODD_TEXT_PARTS, k=rng.choice([0, 1, 9, 400])))
        text = text if rng.random() < 0.98 else "long " * rng.choice([52, 1639, 10000])
        return quoted(text), text
    if kind == "bool":
        word = rng.choice("t T true True TRUE f F false False FALSE".split())
        return word, word[0] in "tT"
    if kind == "float":
        any_double, = struct.unpack(">d", rng.randbytes(8))
        word = rng.choice([rng.choice(ODD_FLOATS), repr(round(rng.uniform(-99, 99), rng.randrange(12))),
                           repr(any_double) if math.isfinite(any_double) else "3"])
        return word, struct.pack(">d", float(word))
    low, high, mark = (-2**63, 2**63, "i") if kind == "int" else (0, 2**64, "u")
    number = rng.choice([low, high - 1, 0, 1, rng.randrange(low, high), rng.randrange(99)])
    return f"{number}{mark}", number


def escaped(name, separators=",= "):
    return "".join("\\" + char if char in separators else char for char in name)


def odd_lines(rng):
    """(lines, the points that they are): any names, tags in any order, blanks, comments, CRLF; times that
    come twice and in any order; the type of a field is its measurement's."""
    kinds, series, lines, newline = {}, [], [], rng.choice(["\n", "\n", "\r\n"])
    for _ in range(rng.choice([1, 3, 20])):
        measurement = "m" + odd_name(rng)
        fields = {odd_name(rng) for _ in range(rng.choice([1, 2, 6, 40]))}
        for field in sorted(fields):
            kinds.setdefault((measurement, field), rng.choice(["int", "uint", "float", "bool", "text"]))
        series.append((measurement, {odd_name(rng): odd_name(rng) for _ in range(rng.choice([0, 1, 3, 16]))},
                       sorted(fields)))
    start = rng.choice([0, T0, 2**63 - 1 - 10**12])
    for tick in range(rng.choice([1, 10, 60])):
        for measurement, tags, fields in series:
            some = [field for field in fields if rng.random() < 0.8] or fields[:1]
            time = start + (tick if rng.random() < 0.9 else rng.randrange(60)) * 1_234_567_891
            values = {field: odd_value(rng, kinds[measurement, field]) for field in some}
            head = [escaped(measurement, ", ")]
            head += [f"{escaped(key)}={escaped(tags[key])}" for key in rng.sample(sorted(tags), len(tags))]
            body = [f"{escaped(field)}={word}" for field, (word, _) in values.items()]
            blanks = rng.choice([" ", "  "])
            line = f"{','.join(head)}{blanks}{','.join(body)}{blanks}{time}"
            points = {(time, measurement, tuple(sorted(tags.items())), field): (kinds[measurement, field], value)
                      for field, (_, value) in values.items()}
            lines += [(line, points)] * rng.choice([1, 1, 1, 2])
            if rng.random() < 0.05:
                lines.append((rng.choice(["", "  ", "# a comment v=1 1", "\t#"]), {}))
    if rng.random() < 0.3:
        rng.shuffle(lines)
    expected = {}
    for _, points in lines:
        expected.update(points)
    return newline.join(line for line, _ in lines) + rng.choice(["", newline]), expected


@pytest.mark.parametrize("seed", range(8))
def test_the_oddest_lines_come_back(seed):
    rng = random.Random(seed)
    lines, expected = odd_lines(rng)
    for enc in ("0", "1", "2", "auto"):
        done = runnel("encode", "--stats", "--enc", enc, "--batch", rng.choice(["1ms", "1s", "240s", "7d"]),
                      data=lines)
        assert points(decode(done.stdout)) == expected, f"seed {seed}"
        stats = json.loads(done.stderr)
        assert stats["samples"] >= len(expected) and stats["refused_lines"] == stats["refused_values"] == 0
        sizes = [(type(item), len(raw)) for item, raw in messages(done.stdout)]
        assert stats["payload_bytes"] == sum(size for kind, size in sizes if kind is list)
        assert stats["schema_bytes"] == sum(size for kind, size in sizes if kind is dict)
        assert stats["batches"] == sum(kind is list for kind, _ in sizes)


@pytest.mark.parametrize("line", [
    'm a="%s",b="%s",c=1i' % ("a" * 40000, "b" * 65535),
    "m,k=v " + ",".join(f"field_{i:04}_of_a_wide_point={i}i" for i in range(2048)),
    "m,k=v " + ",".join(f"{i:03}{'n' * 250}={i}i" for i in range(300)),
], ids=["texts", "columns", "names"])
def test_a_point_that_is_more_than_a_batch_comes_in_parts(line):
    lines = f"{line} 5\nm,k=v c=2i 5\n{line} 6\nm,k=v c=3i 7\n"
    for enc in ("0", "1", "2"):
        done = runnel("encode", "--stats", "--enc", enc, data=lines)
        assert points(decode(done.stdout)) == points(lines)
        assert json.loads(done.stderr)["samples"] == len(points(lines))


def test_streams_that_follow_each_other_are_one():
    one = "".join(f"m,k={n % 3} v={n}i,s=\"{n % 5}\" {T0 + n * 10**9}\n" for n in range(900))
    other = "".join(f"n,k={n % 7} w={n / 8} {T0 + n * 10**9}\n" for n in range(900))
    streams = [encode(lines, "--batch", "10s") for lines in (one, other)]  # each with hints and bases
    assert points(decode(b"".join(streams * 2))) == points(one + other)


def test_json_says_the_same():
    lines = f'm,k=a\\ b i=3i,f=3,t="x\ty",b=t {T0}\nn v=0.1 {T0 + 1}\n'
    rows = [json.loads(row) for row in decode(encode(lines), "--json").splitlines()]
    assert rows == [
        {"measurement": "m", "tags": {"k": "a b"},
         "fields": {"i": 3, "f": 3.0, "t": "x\ty", "b": True}, "time_ns": T0},
        {"measurement": "n", "tags": {}, "fields": {"v": 0.1}, "time_ns": T0 + 1}]
    assert isinstance(rows[0]["fields"]["f"], float) and isinstance(rows[0]["fields"]["i"], int)


def test_a_newline_within_a_text_comes_back():
    stream = encode('m t="a\nm,host=forged v=1 1" 5\nn v=2 6\n')
    assert json.loads(decode(stream, "--json").splitlines()[0])["fields"]["t"] == \
        "a\nm,host=forged v=1 1"
    assert decode(stream) == 'm t="a\nm,host=forged v=1 1" 5\nn v=2 6\n'


def test_the_output_is_ordered_by_time_whatever_the_input():
    rng = random.Random(5)
    lines = [f"m,k=s{series} v={rng.randrange(1000)}i {T0 + at * 1000003}"
             for series in range(7) for at in range(50)]
    rng.shuffle(lines)
    out = decode(assert_round_trip("\n".join(lines)))
    times = [int(line.rsplit(" ", 1)[1]) for line in out.splitlines()]
    assert times == sorted(times) and len(times) == 350


def test_a_line_without_time_happened_now():
    before = json.loads(decode(encode("m v=1\n"), "--json"))["time_ns"]
    after = json.loads(decode(encode("m v=1\n"), "--json"))["time_ns"]
    assert T0 < before < after


def test_decode_does_not_wait_for_more_than_a_message():
    stream = encode("m v=1 5\n")
    with subprocess.Popen([bin_path("runnel"), "decode"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as live:
        for part in (stream[:7], stream[7:]):  # the pipe stays open
            live.stdin.write(part)
            live.stdin.flush()
        assert live.stdout.readline() == b"m v=1 5\n"
        live.stdin.close()
        assert live.wait(20) == 0


def test_nothing_in_is_nothing_out():
    assert encode("") == b"" and decode(b"") == ""
    assert encode("# only a comment\n\n  \n") == b""


@pytest.mark.parametrize("seed", range(4))
def test_random_points_round_trip(seed):
    rng = random.Random(seed)

    def double():
        while True:
            value, = struct.unpack(">d", rng.randbytes(8))
            if math.isfinite(value):
                return repr(value)

    make_value = {"n": lambda: repr(round(rng.gauss(50, 20), 2)),
                  "i": lambda: f"{rng.randrange(-2**63, 2**63)}i",
                  "d": double,
                  "b": lambda: rng.choice(["t", "f"]),
                  "t": lambda: '"%s"' % "".join(rng.choice("ab ,=é€") for _ in range(8))}
    lines, shape = [], {}
    for at in range(3000):
        series = rng.randrange(60)
        make = shape.setdefault(series, [rng.choice("nidbt") for _ in range(rng.randrange(1, 6))])
        fields = []
        for field, kind in enumerate(make):
            value = make_value[kind]()
            if rng.random() < 0.9:
                fields.append(f"f{field}={value}")
        if fields:
            lines.append(f"m{series % 5},s={series} {','.join(fields)} {T0 + at // 7 * 1_234_567_891}")
    assert_round_trip("\n".join(lines), "--batch", rng.choice(["1s", "60s", "240s", "1d"]))


def test_more_series_than_a_schema_holds_come_back():
    lines = "".join(f"m,host=h{series:05} a={series}i,b={series * 0.5} {T0 + tick}\n"
                    for tick in range(2) for series in range(4000))
    assert_round_trip(lines)


def test_series_that_come_and_go_come_back():
    lines = "".join(f"m,job=j{at} v={at}i {T0 + at * 10**9}\n" for at in range(3000))
    stream = assert_round_trip(lines, "--batch", "10s")
    assert len([1 for item, _ in messages(stream) if isinstance(item, list)]) == 300


# ---- batches ------------------------------------------------------------------------------------

def test_regular_ticks_cost_no_timestamps():
    lines = "".join(f"cpu,cpu=cpu{cpu} usage={(tick * 7 + cpu) % 100 / 4},n={tick}i {T0 + tick * 10**10}\n"
                    for tick in range(96) for cpu in range(4) if tick != 50)
    stream = assert_round_trip(lines, "--step", "10s", "--batch", "240s")
    batches = [item for item, _ in messages(stream) if isinstance(item, list)]
    assert [batch[5] for batch in batches] == [24] * 4  # the tick that is missing is in its place
    assert [batch[4] for batch in batches] == [T0 // 10**9 + 240 * n for n in range(4)]
    assert len(stream) < len(assert_round_trip(lines))


def test_a_time_off_the_step_is_refused():
    done = runnel("encode", "--step", "10s", data=f"m v=1 {T0}\nm v=2 {T0 + 1}\n", code=3)
    assert b"line 2: timestamp is not a multiple of the step" in done.stderr
    assert decode(done.stdout) == f"m v=1 {T0}\n"


def test_a_schema_is_sent_once_while_the_series_stay():
    lines = "".join(f"m,k={key} v={tick}i {T0 + tick * 10**9}\n" for tick in range(100) for key in "ab")
    stream = assert_round_trip(lines, "--batch", "10s")
    kinds = [item[2] if isinstance(item, dict) else "batch" for item, _ in messages(stream)]
    assert [kind for kind in kinds if kind in (1, "batch")] == [1] + ["batch"] * 10
    assert kinds.count(2) == kinds.count(3) == 1  # hints and a base, when something was learnt


@pytest.mark.parametrize("enc", ["0", "1", "2", "auto"])
@pytest.mark.parametrize("step", ["0s", "1s"])
def test_every_encoding_gives_back_the_same_points(enc, step):
    rng = random.Random(7)
    rows = []
    for tick in range(300):
        for key in "abc"[:1 + tick // 60 % 3]:  # series come and go
            if rng.random() < 0.1:
                continue
            values = [f"n={tick * 977}i", f"f={round(rng.gauss(0, 9), 2)!r}", f"d={rng.random()!r}",
                      f"u={2**64 - 1 - tick}u", f"b={rng.choice('tf')}", f's="{rng.choice(("on", "off", "é"))}"']
            rows.append(f"m,k={key} {','.join(values[:1 + rng.randrange(6)])} {T0 + tick * 10**9}\n")
    rows.append(f"m,k=a n={-2**63}i,u=0u,d=-0,s=\"\" {T0 + 300 * 10**9}\n")
    stream = assert_round_trip("".join(rows), "--enc", enc, "--step", step, "--batch", "20s")
    used = {item[6] for item, _ in messages(stream) if isinstance(item, list)}
    assert used <= ({int(enc)} if enc != "auto" else {0, 1, 2})


def test_auto_is_never_larger_than_any_one_encoding():
    lines = "".join(f"m,k={n % 3} a={n}i,b={n / 8},c=\"{n}\" {T0 + n}\n" for n in range(600))
    sizes = {enc: len(encode(lines, "--enc", enc)) for enc in ("0", "1", "2", "auto")}
    assert sizes["auto"] == min(sizes.values())


def test_stats_count_what_was_written():
    lines = "".join(f"m,k={key} a={tick}i,b=0.5 {T0 + tick}\n" for tick in range(100) for key in "ab")
    done = runnel("encode", "--stats", data=lines)
    stats = json.loads(done.stderr)
    sizes = {dict: 0, list: 0}
    for item, raw in messages(done.stdout):
        sizes[type(item)] += len(raw)
    assert stats["schema_bytes"] == sizes[dict] and stats["payload_bytes"] == sizes[list]
    assert stats["lines"] == 200 and stats["samples"] == 400
    assert stats["batches"] == 1 and stats["refused_lines"] == stats["refused_values"] == 0
    assert abs(stats["bytes_per_sample"] - len(done.stdout) / 400) < 0.001


# ---- bad input ----------------------------------------------------------------------------------

def test_bad_lines_are_named_and_the_rest_is_encoded():
    done = runnel("encode", data="m v=1 1\nbad\n\n# fine\nm v=nan 2\nm,a=1,a=2 v=1 3\nm v=4 -4\n"
                                 "m v=5i 5\nm,k= v=1 6\nm v=7 7\n", code=3)
    words = done.stderr.decode()
    for number in (2, 5, 6, 7, 8, 9):
        assert f"line {number}:" in words
    assert "refused: 5 lines, 1 values" in words
    assert decode(done.stdout) == "m v=1 1\nm v=7 7\n"


def test_a_hostile_line_neither_hurts_nor_speaks():
    done = runnel("encode", data=b"m v=\x1b[31mred 1\nm,\xff=1 v=1 2\n" + b"x" * 600_000
                  + b"\nm v=1 3\n", code=3)
    assert b"\x1b" not in done.stderr
    assert b"line 3: line is longer" in done.stderr
    assert decode(done.stdout) == "m v=1 3\n"


def test_many_bad_lines_are_counted_not_listed():
    done = runnel("encode", "--stats", data="bad\n" * 5000 + "m v=1 1\n", code=3)
    assert len(done.stderr.splitlines()) < 30
    assert json.loads(done.stderr.splitlines()[-1])["refused_lines"] == 5000


def test_a_batch_needs_its_schema(tmp_path):
    stream = encode("m v=1 5\n")
    (key, _), (_, batch) = messages(stream)
    done = runnel("decode", data=batch, code=3)
    assert b"message 1 at byte 0: batch needs schema 0" in done.stderr and done.stdout == b""
    schema = tmp_path / "schema.cbor"
    schema.write_bytes(key[5])
    assert decode(batch, "--schema", schema) == "m v=1 5\n"
    assert decode(key[5] + batch).splitlines()[1:] == ["m v=1 5"]


def test_a_schema_by_itself_is_shown():
    (key, _), _ = messages(encode("m,k=v f=0.25,n=1i 5\n"))
    shown = json.loads(decode(key[5], "--json"))
    assert shown["columns"] == 2 and shown["groups"][0]["series"] == [{"tags": {"k": "v"}}]
    assert [field["type"] for field in shown["groups"][0]["fields"]] == ["float", "int"]
    assert decode(key[5]).startswith("# schema {")


def test_a_schema_under_a_false_hash_is_refused():
    (key, raw), _ = messages(encode("m v=1 5\n"))
    at = raw.index(key[4])
    forged = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:]
    assert b"hash" in runnel("decode", data=forged, code=3).stderr


def test_a_broken_stream_gives_what_came_before():
    good = encode("m v=1 5\n")
    for rest in (good[:-1], b"\xff", b"\x9a\xff\xff\xff\xff", b"\x81" * 1000, b"\x5f\x41a\xff"):
        done = runnel("decode", data=good + rest, code=1)
        assert b"m v=1 5\n" in done.stdout
        assert f"at byte {len(good)}".encode() in done.stderr or rest == good[:-1]


def test_messages_that_mean_nothing_are_passed_over():
    good = encode("m v=1 5\n")
    odd = b"".join(map(cbor2.dumps, (1, "x", {1: 2}, [1, 2])))
    done = runnel("decode", data=odd + good, code=3)
    assert done.stdout == b"m v=1 5\n"
    assert b"refused: 4 messages" in done.stderr


def test_random_damage_is_refused_or_decoded_but_never_fatal():
    rng = random.Random(11)
    stream = bytearray(encode("".join(f"m,k={n % 3} a={n}i,b={n / 8},c=\"{n}\" {n}\n" for n in range(60))))
    for _ in range(150):
        bad = bytearray(stream)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        done = subprocess.run([bin_path("runnel"), "decode"], input=bad, capture_output=True, timeout=20)
        assert done.returncode in (0, 1, 3), done.stderr


# ---- the command line ---------------------------------------------------------------------------

def test_usage_is_explained_and_wrong_usage_has_its_own_code():
    overview = runnel("help").stdout.decode()
    for name in ("encode", "decode", "version"):
        assert name in overview
        assert runnel(name, "--help").stdout == runnel("help", name).stdout
    assert b"--batch" in runnel("encode", "-h").stdout
    for args in (["nonsense"], ["encode", "--nonsense"], ["encode", "--batch"], ["encode", "--batch", "5"],
                 ["encode", "--enc", "3"], ["encode", "argument"], ["decode", "--json", "--line-protocol"],
                 ["help", "nonsense"], []):
        runnel(*args, code=2)
    assert runnel("--version").stdout == runnel("version").stdout
    assert json.loads(runnel("version", "--json").stdout)["protocol"] == 1


def test_a_full_disk_is_said():
    with open("/dev/full", "wb") as full:
        done = subprocess.run([bin_path("runnel"), "encode"], input=b"m v=1 5\n", stdout=full,
                              stderr=subprocess.PIPE, timeout=20)
    assert done.returncode == 1 and b"No space left" in done.stderr
