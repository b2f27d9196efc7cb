"""Data of kinds that the codec was never trained on: generated ones, each from its seed, and public ones
that Debian's packages carry. Each is a list of points (measurement, tags, {field: value}, time in ns), sorted
by time: int, float, bool or str values.
"""
import csv
import math
import random
import struct

SECOND = 10**9
START = 1_767_225_600 * SECOND  # 2026-01-01


def gauss_walk(rng, value, step, low, high):
    while True:
        yield value
        value = min(high, max(low, value + rng.gauss(0, step)))


def sensor(rng, n=2880):
    """Temperature, humidity and pressure of one room: daily cycle, drift, noise; two decimals, each minute."""
    drift = gauss_walk(rng, 0.0, 0.02, -3, 3)
    for i in range(n):
        day = math.sin(2 * math.pi * i / 1440)
        warm = 21 + 4 * day + next(drift) + rng.gauss(0, 0.03)
        yield "room", {"sensor": "a1"}, {
            "temperature": round(warm, 2), "humidity": round(48 - 9 * day + rng.gauss(0, 0.15), 2),
            "pressure": round(1013.25 + 6 * math.sin(i / 900) + rng.gauss(0, 0.04), 2)}, START + i * 60 * SECOND


def sensors(rng, n=360, count=40):
    """40 sensors with two decimals, each 10 s."""
    walks = [gauss_walk(rng, rng.uniform(15, 30), 0.05, 0, 60) for _ in range(count)]
    for i in range(n):
        for k, walk in enumerate(walks):
            yield "probe", {"id": f"p{k:02}"}, {"celsius": round(next(walk), 2)}, START + i * 10 * SECOND


def fleet(rng, n=360, count=60):
    """60 devices' counters at very different rates, which start again now and then; each 10 s."""
    rates = [10 ** rng.uniform(-1, 6) for _ in range(count)]
    totals = [[rng.randrange(10**9), rng.randrange(10**7)] for _ in rates]
    for i in range(n):
        for k, rate in enumerate(rates):
            if rng.random() < 0.0005:
                totals[k] = [0, 0]
            packets = max(0, int(rng.gauss(rate, rate / 5)))
            totals[k][0] += sum(rng.randrange(60, 1500) for _ in range(min(packets, 20))) * max(1, packets // 20)
            totals[k][1] += packets
            yield "port", {"device": f"d{k:02}"}, {"bytes": totals[k][0], "packets": totals[k][1]}, START + i * 10 * SECOND


def states(rng, n=720, count=20):
    """Booleans and small integers that stay and change; each 10 s."""
    now = [[bool(rng.getrandbits(1)), rng.randrange(5), rng.random() < 0.5] for _ in range(count)]
    for i in range(n):
        for k, state in enumerate(now):
            state[0] ^= rng.random() < 0.01
            if rng.random() < 0.02:
                state[1] = rng.randrange(5)
            state[2] = rng.random() < 0.3
            yield "valve", {"id": f"v{k:02}"}, {"open": state[0], "mode": state[1], "pulse": state[2]}, START + i * 10 * SECOND


def words(rng, n=720, count=12):
    """States as texts, from a short list; each 10 s."""
    names = ["idle", "running", "waiting for material", "fault: overtemperature", "fault: door open", "maintenance", "off"]
    now = [rng.randrange(len(names)) for _ in range(count)]
    for i in range(n):
        for k in range(count):
            if rng.random() < 0.06:
                now[k] = rng.randrange(len(names))
            yield "machine", {"id": f"m{k:02}"}, {"state": names[now[k]], "speed": rng.randrange(800, 1200) if now[k] == 1 else 0}, START + i * 10 * SECOND


def log_lines(rng, n=1500):
    """Log lines of a daemon with numbers and addresses in them, at irregular times."""
    forms = ["accepted connection from {ip} port {port}", "session {hex} opened for user {user}",
             "session {hex} closed after {ms} ms", "GET /api/v1/items/{small} 200 {ms} ms",
             "GET /static/app.js 304 {small} ms", "POST /api/v1/login 401 {ms} ms from {ip}",
             "worker {small} restarted (exit code {small})", "cache: {port} entries, {small} evicted",
             "disk sda: read error at sector {big}, retried"]
    users = ["alice", "bob", "carol", "deploy", "root", "backup"]
    t = START
    for _ in range(n):
        t += int(rng.expovariate(1 / 2) * SECOND)
        text = rng.choices(forms, [5, 4, 4, 9, 6, 2, 1, 1, 1])[0].format(
            ip=f"10.{rng.randrange(4)}.{rng.randrange(256)}.{rng.randrange(256)}", port=rng.randrange(1024, 65536),
            hex=f"{rng.getrandbits(32):08x}", user=rng.choice(users), ms=int(rng.lognormvariate(3, 1)),
            small=rng.randrange(40), big=rng.randrange(10**9))
        yield "log", {"unit": "web"}, {"message": text, "level": rng.choice(["info", "info", "info", "warning"])}, t


def irregular(rng, n=3000):
    """A meter that reports when it likes: nanosecond times, one and three decimals."""
    t, energy, power = START, 10_000.0, 350.0
    for _ in range(n):
        t += int(rng.lognormvariate(2, 0.7) * SECOND)
        power = max(20.0, power + rng.gauss(0, 15))
        energy += power * 8 / 3.6e6
        yield "meter", {}, {"watts": round(power, 1), "kwh": round(energy, 3)}, t


def events(rng, n=4000, count=30):
    """Thirty series that report at times of their own."""
    for i in range(n):
        yield "tag", {"id": f"t{rng.randrange(count):02}"}, {"rssi": -40 - int(abs(rng.gauss(0, 15))), "seen": i}, START + i * 700_000_000 + rng.randrange(10**8)


def accelerometer(rng, n=12000):
    """Three axes at 100 Hz, 12 bits, with steps."""
    for i in range(n):
        s = math.sin(2 * math.pi * i / 53)
        yield "accel", {}, {"x": int(180 * s + rng.gauss(0, 25)), "y": int(90 * s * s + rng.gauss(0, 20)),
                            "z": int(1000 + 250 * s + rng.gauss(0, 30))}, START + i * SECOND // 100


def ratios(rng, n=360, count=20):
    """Percentages as doubles that no number of decimals holds, as Telegraf sends them; each 10 s."""
    for i in range(n):
        for k in range(count):
            whole = rng.randrange(995, 1005)
            busy = min(whole, int(rng.expovariate(1 / 30)))
            yield "cpu", {"cpu": f"cpu{k}"}, {"usage_busy": 100.0 * busy / whole, "usage_idle": 100.0 * (whole - busy) / whole}, START + i * 10 * SECOND


def singles(rng, n=2000):
    """Single precision read as double."""
    walk = gauss_walk(rng, 20.0, 0.03, -40, 80)
    for i in range(n):
        def single(x):
            return struct.unpack("f", struct.pack("f", x))[0]
        yield "probe", {}, {"celsius": single(next(walk)), "volts": single(3.3 + rng.gauss(0, 0.01))}, START + i * SECOND


def smooth_doubles(rng, n=2000):
    """A computed curve at full precision."""
    for i in range(n):
        yield "orbit", {}, {"x": math.cos(i / 400) * 6771.0, "y": math.sin(i / 400) * 6771.0}, START + i * SECOND


def random_doubles(rng, n=2000):
    """Any finite double."""
    for i in range(n):
        value = math.nan
        while not math.isfinite(value):
            value = struct.unpack("d", struct.pack("Q", rng.getrandbits(64)))[0]
        yield "any", {}, {"v": value}, START + i * SECOND


def uniform_doubles(rng, n=2000):
    """Uniform between 0 and 1."""
    for i in range(n):
        yield "noise", {}, {"v": rng.random()}, START + i * SECOND


def noise_64(rng, n=2000):
    """White noise in 64 bits."""
    for i in range(n):
        yield "noise", {}, {"v": rng.getrandbits(64) - 2**63}, START + i * SECOND


def sixteenths(rng, n=1440, count=8):
    """Eight 1-wire thermometers: steps of 1/16 degree, four decimals; each 10 s."""
    walks = [gauss_walk(rng, rng.uniform(15, 30), 0.08, -20, 90) for _ in range(count)]
    for i in range(n):
        for k, walk in enumerate(walks):
            yield "w1", {"id": f"28-{k:02x}"}, {"celsius": round(next(walk) * 16) / 16}, START + i * 10 * SECOND


def noise_bytes(rng, n=4000):
    """White noise in 8 bits."""
    for i in range(n):
        yield "noise", {}, {"v": rng.getrandbits(8)}, START + i * SECOND


def constant(rng, n=2000):
    """Nothing ever changes."""
    for i in range(n):
        yield "still", {}, {"i": 42, "f": 21.5, "b": True, "s": "ok"}, START + i * SECOND


def alternating(rng, n=2000):
    """A boolean, a number and a text that change with every second, and 0, 1, 2 again and again."""
    for i in range(n):
        yield "blink", {}, {"b": i % 2 == 0, "i": 100 if i % 2 else -100, "s": "on" if i % 2 else "off", "three": i % 3}, START + i * SECOND


def periodic(rng, n=4000):
    """The same 50 random numbers again and again: what deflate likes best."""
    table = [rng.randrange(10**6) for _ in range(50)]
    for i in range(n):
        yield "loop", {}, {"v": table[i % 50]}, START + i * SECOND


def random_texts(rng, n=1000):
    """Random names: nothing repeats."""
    for i in range(n):
        yield "id", {}, {"uuid": f"{rng.getrandbits(128):032x}"}, START + i * SECOND


GENERATED = [sensor, sensors, sixteenths, fleet, states, words, log_lines, irregular, events, accelerometer, ratios, singles,
             smooth_doubles, random_doubles, uniform_doubles, noise_64, noise_bytes, constant, alternating, periodic,
             random_texts]

# ---- public data, from Debian's packages -----------------------------------------------------------
# Nothing of it is in this repository. Their copyright files (and statsmodels' data.py) call the sets below public
# domain or list them under the package's licence (MIT, BSD).

PACKAGES = {"python3-vega-datasets": "usr/lib/python3/dist-packages/vega_datasets/_data",
            "python3-statsmodels": "usr/lib/python3/dist-packages/statsmodels/datasets"}
# (name, what it is, package, file, column of the series' name or None, columns that are left out)
PUBLIC = [
    ("seattle-temps", "hourly temperatures of a year, one decimal", 0, "seattle-temps.csv", None, ["date"]),
    ("sf-temps", "another city's", 0, "sf-temps.csv", None, ["date"]),
    ("seattle-weather", "daily weather of four years: four numbers, one text", 0, "seattle-weather.csv", None, ["date"]),
    ("stocks", "monthly prices of five shares, two decimals", 0, "stocks.csv", "symbol", ["date"]),
    ("us-employment", "23 monthly numbers of people at work", 0, "us-employment.csv", None, ["month"]),
    ("iowa-electricity", "yearly net generation by source", 0, "iowa-electricity.csv", "source", ["year"]),
    ("co2", "weekly CO2 at Mauna Loa, one decimal, with gaps", 1, "co2/co2.csv", None, ["date"]),
    ("sunspots", "yearly sunspots since 1700", 1, "sunspots/sunspots.csv", None, ["YEAR"]),
    ("elnino", "monthly sea temperatures, twelve columns, two or three decimals", 1, "elnino/elnino.csv", None, ["YEAR"]),
    ("macrodata", "twelve quarterly numbers of an economy", 1, "macrodata/macrodata.csv", None, ["year", "quarter"]),
    ("nile", "yearly flow of the Nile", 1, "nile/nile.csv", None, ["year"]),
]


def number(text):
    try:
        return float(text)
    except ValueError:
        return text.strip()


def public(folder, entry):
    """Its points, a row each 10 s (a series' n-th row at the same time as another's)."""
    _, _, package, path, name, out = entry
    where, rows = folder / list(PACKAGES)[package] / list(PACKAGES.values())[package] / path, {}
    for row in csv.DictReader(where.read_text().splitlines(), skipinitialspace=True):
        key = row.pop(name) if name else ""
        fields = {k.lower(): number(v) for k, v in row.items() if k and k not in out and v and v.strip()}
        rows.setdefault(key, []).append(fields)
    points = [("public", {"series": key} if name else {}, fields, START + i * 10 * SECOND)
              for key, series in rows.items() for i, fields in enumerate(series) if fields]
    return sorted(points, key=lambda point: point[3])


# ---- line protocol ------------------------------------------------------------------------------


def escaped(text, which):
    for c in which:
        text = text.replace(c, "\\" + c)
    return text


def shown(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}i"
    if isinstance(value, str):
        return '"' + escaped(value, '\\"') + '"'
    return repr(value)


def line_of(point):
    measurement, tags, fields, time = point
    head = "".join([measurement, *(f",{k}={escaped(v, ', =')}" for k, v in sorted(tags.items()))])
    return f"{head} {','.join(f'{k}={shown(v)}' for k, v in fields.items())} {time}\n"
