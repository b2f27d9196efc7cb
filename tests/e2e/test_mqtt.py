"""lib/mqtt against real mosquitto, driven through tests/support/mqtt_driver.c."""

import random
import time

import pytest

from runnel_test import bin_path, device_user, free_port, make_pki, wait_until


class Driver:
    """One mqtt_driver process."""

    def __init__(self, world, addresses, name="driver", env=None, **options):
        addresses = addresses if isinstance(addresses, str) else ",".join(addresses)
        options = {"id": name, "timeout": 30000, **options}  # a pause is no failed attempt
        self.proc = world.proc(name, [bin_path("mqtt_driver"), f"addresses={addresses}",
                                      *(f"{key}={value}" for key, value in options.items())],
                               stdin=True, env=env)
        for attribute in ("send", "wait_log", "lines", "mark"):
            setattr(self, attribute, getattr(self.proc, attribute))

    def up(self, count=1, timeout=10.0):
        return self.wait_log(r"^up (\S+) (\d+)", timeout, count=count)

    def down(self, count=1, timeout=10.0, after=0):
        """(was connected, retry ms, address, reason)"""
        match = self.wait_log(r"^down (\d) (\d+) (\S+) (.*)", timeout, after=after, count=count)
        return match.group(1) == "1", int(match.group(2)), match.group(3), match.group(4)

    def stats(self):
        mark = self.mark()
        self.send("stats")
        line = self.wait_log(r"^stats (.*)", after=mark).group(1)
        return {key: int(value) for key, value in (field.split("=") for field in line.split())}

    def stop(self, timeout_ms=20000):
        self.send(f"stop {timeout_ms}")
        assert self.proc.wait(30) == 0
        assert len(self.lines("^stopped$")) == 1


def exchange(world, broker, driver, text):
    """One message each way, with a peer on the broker's plain listener."""
    peer = world.peer(broker)
    peer.subscribe("up/x")
    driver.send("sub down/x 1")
    driver.wait_log("^sub down/x 1$")
    driver.send(f"pub up/x 1 0 1 {text}")
    driver.wait_log("^pub 1 0$")
    assert peer.wait_message("up/x").payload == text.encode()
    peer.publish("down/x", text)
    driver.wait_log(f"^msg down/x 1 0 {text}$")


def test_connects_publishes_and_receives_at_both_qos(world):
    broker = world.broker()
    peer = world.peer(broker)
    peer.subscribe("to/#")
    driver = Driver(world, broker.url)
    assert driver.up().group(1) == broker.url
    driver.send("sub from/# 1")
    driver.wait_log("^sub from/# 1$")
    driver.send("pub to/0 0 0 10 none")
    driver.send("pub to/1 1 0 11 some words")
    driver.send("pub to/2 1 1 12 kept")
    for token in (10, 11, 12):
        driver.wait_log(f"^pub {token} 0$")
    assert peer.wait_message("to/0").payload == b"none"
    assert peer.wait_message("to/1").payload == b"some words"
    kept = peer.wait_message("to/2")
    assert (kept.payload, kept.qos, kept.retain) == (b"kept", 1, True)
    peer.publish("from/0", "zero", qos=0)
    peer.publish("from/1", "one", qos=1)
    peer.publish("from/2", "", qos=1)
    driver.wait_log("^msg from/0 0 0 zero$")
    driver.wait_log("^msg from/1 1 0 one$")
    driver.wait_log("^msg from/2 1 0 $")
    driver.stop()


def test_retained_flag_is_seen_as_published(world):
    broker = world.broker()
    peer = world.peer(broker)
    driver = Driver(world, broker.url)
    driver.up()
    driver.send("sub from/# 1")
    driver.wait_log("^sub from/# 1$")
    peer.publish("from/live", "x", retain=True)
    driver.wait_log("^msg from/live 1 1 x$")


def test_own_publishes_do_not_come_back(world):
    broker = world.broker()
    peer = world.peer(broker)
    driver = Driver(world, broker.url)
    driver.up()
    driver.send("sub # 1")
    driver.wait_log("^sub # 1$")
    driver.send("pub own 1 0 1 mine")
    driver.wait_log("^pub 1 0$")
    peer.publish("other", "theirs")
    driver.wait_log("^msg other 1 0 theirs$")
    assert driver.lines("^msg own") == []


def test_subscriptions_are_sent_again_after_the_broker_restarted_empty(world):
    broker = world.broker()
    driver = Driver(world, broker.url)
    driver.up()
    driver.send("sub from/# 1")
    driver.wait_log("^sub from/# 1$")
    broker.restart()
    driver.up(count=2)
    driver.wait_log("^sub from/# 1$", count=2)
    peer = world.peer(broker)
    peer.publish("from/new", "again")
    driver.wait_log("^msg from/new 1 0 again$")


def test_will_is_delivered_when_killed_and_dropped_when_stopped(world):
    broker = world.broker()
    peer = world.peer(broker)
    peer.subscribe("will/#")
    killed = Driver(world, broker.url, "killed", will="will/killed")
    killed.up()
    killed.proc.kill()
    assert peer.wait_message("will/killed").payload == b"will-1"
    stopped = Driver(world, broker.url, "stopped", will="will/stopped")
    stopped.up()
    stopped.stop()
    late = Driver(world, broker.url, "late", will="will/late")
    late.up()
    late.proc.kill()
    peer.wait_message("will/late")
    assert peer.messages("will/stopped") == []


def test_each_attempt_has_a_will_of_its_own(world):
    broker = world.broker()
    relay = world.relay(broker.port)
    peer = world.peer(broker)
    peer.subscribe("will/#")
    driver = Driver(world, f"mqtt://127.0.0.1:{relay.port}", will="will/x")
    for connection in (1, 2, 3):
        driver.up(count=connection)
        attempt = connection + len(driver.lines("^down 0 "))  # those that failed had one, too
        relay.cut()
        assert peer.wait_message("will/x", count=connection).payload == f"will-{attempt}".encode()


def test_publishes_open_at_a_loss_are_reported_exactly_once(world):
    broker = world.broker()
    relay = world.relay(broker.port)
    driver = Driver(world, f"mqtt://127.0.0.1:{relay.port}", inflight=16)
    driver.up()
    relay.silent()
    for token in range(40):
        driver.send(f"pub a/b {token % 2} 0 {token} x")
    driver.wait_log("^refused 39 -10")  # the window is full: try again later
    relay.cut()
    driver.down()
    driver.send("stats")
    driver.wait_log("^stats")
    published = [int(line.split()[1]) for line in driver.lines(r"^pub ")]
    refused = [int(line.split()[1]) for line in driver.lines(r"^refused ")]
    assert sorted(published + refused) == list(range(40))
    lost = [int(line.split()[1]) for line in driver.lines(r"^pub \d+ -1$")]
    assert len([token for token in lost if token % 2]) == 16  # QoS 1: the window
    relay.pass_()
    driver.up(count=2)
    driver.send("pub a/b 1 0 100 y")
    driver.wait_log("^pub 100 0$")


@pytest.mark.parametrize("seed", [1, 2])
def test_every_publish_is_answered_once_under_random_faults(world, long, seed):
    chance = random.Random(seed)
    broker = world.broker()
    relay = world.relay(broker.port)
    driver = Driver(world, f"mqtt://127.0.0.1:{relay.port}", keepalive=1000, timeout=2000, min=1,
                    max=200, seed=seed, will="will/x")
    driver.up()
    token, end = 0, time.monotonic() + (120 if long else 12)
    while time.monotonic() < end:
        fault = chance.choice([relay.cut, relay.silent, relay.pass_, relay.down, relay.up, relay.pass_,
                               relay.up, broker.restart, lambda: driver.send("reconnect chance"),
                               lambda: setattr(relay, "delay", chance.choice([0, 0, 0.05]))])
        fault()
        for _ in range(chance.randrange(60)):
            driver.send(f"pub a/b {chance.randrange(2)} 0 {token} x")
            token += 1
        time.sleep(chance.random() * 0.6)
    relay.pass_()
    relay.up()
    driver.send("reconnect the last time")
    driver.up(count=2, timeout=20)

    def through():  # the connection that is up may be one that a fault has ended already
        nonlocal token
        token += 1
        driver.send(f"pub a/b 1 0 {token - 1} x")
        return wait_until(lambda: driver.lines(rf"^(pub|refused) {token - 1} "), 20)[0].endswith(" 0")
    wait_until(through, 20, "a publish comes through", step=0.2)
    driver.stop()
    published = [int(line.split()[1]) for line in driver.lines("^pub ")]
    refused = [int(line.split()[1]) for line in driver.lines("^refused ")]
    assert sorted(published + refused) == list(range(token)), f"seed {seed}"


def test_nothing_of_a_lost_session_is_sent_in_the_next(world):
    broker = world.broker()
    relay = world.relay(broker.port)
    peer = world.peer(broker)
    peer.subscribe("a/#")
    driver = Driver(world, f"mqtt://127.0.0.1:{relay.port}")
    driver.up()
    relay.silent()
    driver.send("pub a/old 1 0 1 x")
    driver.send("stats")
    driver.wait_log("^stats")
    relay.down()
    driver.down()
    relay.pass_()
    relay.up()
    driver.up(count=2)
    driver.send("pub a/new 1 0 2 y")
    driver.wait_log("^pub 2 0$")
    peer.wait_message("a/new")
    assert peer.messages("a/old") == []


def test_wrong_password_gives_a_clear_reason_and_backs_off(world):
    broker = world.broker(users={"someone": "right"})
    driver = Driver(world, broker.url, username="someone", password="wrong", min=20, max=400)
    driver.wait_log(rf"^down 0 \d+ {broker.url} .*refused.*0x8", count=8)
    delays = [int(line.split()[2]) for line in driver.lines("^down ")]
    for failures, delay in enumerate(delays[:8], start=1):
        assert delay <= min(400, 20 * 2 ** failures)
    assert max(delays[:8]) > 20
    right = Driver(world, broker.url, "right", username="someone", password="right")
    right.up()


def test_denied_publish_and_subscription_are_reported_with_their_code(world):
    broker = world.broker(users={"d": "p"}, acl="user d\ntopic write ok/#\ntopic read ok/#\n")
    driver = Driver(world, broker.url, username="d", password="p")
    driver.up()
    driver.send("pub no/1 1 0 1 x")
    driver.wait_log("^pub 1 135$")
    driver.send("pub ok/1 1 0 2 x")
    driver.wait_log("^pub 2 0$")
    assert driver.stats()["connected"] == 1


def test_session_ended_by_the_broker_gives_its_reason(world):
    broker = world.broker(options=["max_packet_size 1000"])
    driver = Driver(world, broker.url)
    driver.up()
    driver.send("flood a/b 1 1 2000")
    was_connected, _, _, reason = driver.down()
    assert was_connected and "packet" in reason.lower()
    assert driver.wait_log(r"^flooded (\d+) (\d+)").groups() == ("1", "1")
    driver.up(count=2)


def test_nobody_listening_gives_a_reason_and_then_connects_by_itself(world):
    broker = world.broker()
    broker.kill()
    driver = Driver(world, broker.url)
    _, _, address, reason = driver.down()
    assert address == broker.url and "no connection" in reason
    broker.start()
    driver.up()


def test_second_address_is_used_when_the_first_is_dead(world):
    broker = world.broker()
    driver = Driver(world, [f"mqtt://127.0.0.1:{free_port()}", broker.url])
    assert driver.up().group(1) == broker.url
    assert len(driver.lines("^down ")) == 1


def test_silent_listener_ends_at_the_connect_deadline(world):
    broker = world.broker()
    relay = world.relay(broker.port)
    relay.silent()
    driver = Driver(world, [f"mqtt://127.0.0.1:{relay.port}", broker.url], timeout=1)
    assert "no answer within 2000 ms" in driver.down()[3]
    assert driver.up().group(1) == broker.url


def test_takeover_by_the_same_client_id_backs_off_instead_of_fighting(world):
    broker = world.broker()
    twins = [Driver(world, broker.url, name, id="twin", min=100, max=3000) for name in ("one", "two")]
    wait_until(lambda: any(twin.lines("^down 1 ") for twin in twins), 10, "one twin is thrown out")
    wait_until(lambda: sum(len(twin.lines("^up ")) for twin in twins) >= 6, 20, "they fight a while")
    started = broker.proc.lines("New client connected")
    begin, end = (int(line.split(":")[0]) for line in (started[0], started[-1]))
    assert len(started) <= 20 * (end - begin + 1)  # not thousands a second


def test_broker_that_falls_silent_is_noticed_by_the_keepalive(world):
    broker = world.broker()
    driver = Driver(world, broker.url, keepalive=1000, timeout=2000)
    driver.up()
    mark = driver.mark()
    broker.pause()
    driver.wait_log("^down 1 ", after=mark)
    driver.wait_log("^down 0 .*no answer", after=mark)
    mark = driver.mark()
    broker.resume()
    driver.wait_log("^up ", after=mark)


def test_reconnect_on_request_and_with_new_addresses(world):
    first, second = world.broker("first"), world.broker("second")
    driver = Driver(world, first.url)
    driver.up()
    driver.send("reconnect silent link")
    assert driver.down()[3] == "silent link"
    driver.up(count=2)
    driver.send(f"addresses {second.url}")
    driver.send("reconnect new address")
    assert driver.up(count=3).group(1) == second.url
    driver.send("addresses tcp://x")
    assert "must begin with" in driver.wait_log("^refused (.*)").group(1)
    assert driver.stats()["connected"] == 1


def test_stop_ends_in_time_in_every_state(world):
    broker = world.broker()
    relay = world.relay(broker.port)
    url = f"mqtt://127.0.0.1:{relay.port}"
    waiting = Driver(world, f"mqtt://127.0.0.1:{free_port()}", "waiting", min=10000, max=20000)
    waiting.down()
    waiting.stop(timeout_ms=2000)
    draining = Driver(world, url, "draining")
    draining.up()
    relay.silent()
    draining.send("pub a/b 1 0 1 x")
    draining.stop(timeout_ms=200)
    assert draining.lines("^pub 1 -1$")
    opening = Driver(world, url, "opening")
    wait_until(lambda: relay.accepted >= 2, 5, "it connects")
    opening.stop(timeout_ms=2000)


def test_what_was_published_before_stop_is_delivered(world):
    broker = world.broker()
    peer = world.peer(broker)
    peer.subscribe("last/#")
    driver = Driver(world, broker.url)
    driver.up()
    driver.send("\n".join([*(f"pub last/{i} {i % 2} 0 {i} word" for i in range(16)), "stop 20000"]))
    assert driver.proc.wait(30) == 0
    for i in range(16):
        assert peer.wait_message(f"last/{i}").payload == b"word"


def test_window_below_receive_maximum_keeps_its_throughput(world):
    """Paho sleeps a second whenever the window reaches the broker's limit: 23 messages a second."""
    narrow = world.broker("narrow", options=["max_inflight_messages 4"])
    wide = world.broker("wide", options=["max_inflight_messages 200"])
    times = {}
    for broker in (narrow, wide):
        driver = Driver(world, broker.url, broker.name + "-driver", inflight=16)
        driver.up()
        driver.send("flood a/b 1 2000 200")
        count, failed, ms = driver.wait_log(r"^flooded (\d+) (\d+) (\d+)", 60).groups()
        assert (count, failed) == ("2000", "0")
        times[broker.name] = max(int(ms), 20)
    assert times["narrow"] < max(30 * times["wide"], 20000)  # or else a busy machine's, not Paho's 87 s


def test_a_loop_that_does_not_keep_up_loses_counted_messages_and_no_connection(world):
    broker = world.broker(options=["max_inflight_messages 1000", "max_queued_messages 100000"])
    peer = world.peer(broker)
    driver = Driver(world, broker.url, items=50)
    driver.up()
    driver.send("sub in/# 0")
    driver.wait_log("^sub in/# 0$")
    driver.send("stall 60000")
    driver.wait_log("^stalled$")
    for i in range(500):
        peer.publish("in/x", str(i), qos=0)
    wait_until(lambda: sum(map(driver.stats().get, ("messages_in", "queue_refused"))) == 500, 10,
               "all are accounted for", step=0.1)
    stats = driver.stats()
    assert stats["queue_refused"] > 0 and stats["messages_in"] >= 50
    assert stats["connected"] == 1 and stats["failures"] == 0


def test_mutual_tls_with_the_certificate_as_identity(world):
    pki = world.pki()
    user = device_user("dev1")
    broker = world.broker(pki=pki)
    cert, key = pki.client(user)
    driver = Driver(world, broker.device_url, id=user, ca=pki.ca, cert=cert, key=key)
    driver.up()
    exchange(world, broker, driver, "secret")
    assert f"u'{user}'" in broker.proc.log()
    driver.stop()


def test_tls_without_a_client_certificate_is_refused_with_a_reason(world):
    pki = world.pki()
    broker = world.broker(pki=pki)
    driver = Driver(world, broker.device_url, ca=pki.ca)
    reason = driver.down()[3]
    assert "TLS" in reason or "closed by the other side" in reason
    assert not driver.lines("^up ")


def test_wrong_authority_and_wrong_name_are_refused(world, tmp_path):
    other = make_pki(tmp_path / "other", "Other CA")
    pki = make_pki(tmp_path / "named")
    broker = world.broker(pki=pki)
    wrong_ca = Driver(world, broker.tls_url, "wrong-ca", ca=other.ca)
    assert "certificate verify failed" in wrong_ca.down()[3]
    Driver(world, broker.tls_url, "right-name", ca=pki.ca).up()
    pki.server = lambda: pki.issue("broker", "serverAuth", "DNS:elsewhere.example")
    foreign = world.broker("foreign", pki=pki)
    wrong_name = Driver(world, foreign.tls_url, "wrong-name", ca=pki.ca)
    assert "not for this name" in wrong_name.down()[3]
    Driver(world, foreign.tls_url, "insecure", ca=pki.ca, insecure=1).up()
    Driver(world, foreign.tls_url, "insecure-wrong-ca", ca=other.ca, insecure=1).down()


def test_missing_certificate_file_is_named(world):
    driver = Driver(world, "mqtts://127.0.0.1:1", ca="/nonexistent/ca.pem")
    assert "ca_file /nonexistent/ca.pem cannot be read" in driver.down()[3]


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
def test_websockets(world, secure):
    broker = world.broker()
    pki = world.pki() if secure else None
    gateway = world.websocket_gateway(broker.port, pki=pki)
    options = {"ca": pki.ca} if secure else {}
    scheme = "wss" if secure else "ws"
    driver = Driver(world, f"{scheme}://127.0.0.1:{gateway.port}/some/path", **options)
    driver.up()
    assert gateway.paths == ["/some/path"]
    exchange(world, broker, driver, "x" * 3000)
    driver.stop()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_http_proxy(world, secure):
    pki = world.pki() if secure else None
    broker = world.broker(pki=pki)
    proxy = world.http_proxy()
    options = {"ca": pki.ca} if secure else {}
    driver = Driver(world, broker.tls_url if secure else broker.url,
                    proxy=f"127.0.0.1:{proxy.port}", **options)
    driver.up()
    assert proxy.requests == [f"CONNECT 127.0.0.1:{broker.tls_port if secure else broker.port}"]
    exchange(world, broker, driver, "through")
    driver.stop()


def test_proxy_of_the_environment_does_not_break_tls(world):
    pki = world.pki()
    broker = world.broker(pki=pki)
    env = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    Driver(world, broker.tls_url, "tls", ca=pki.ca, env=env).up()
    Driver(world, broker.url, "plain", env=env).up()


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_many_reconnects_leak_nothing(world, long, secure):
    pki = world.pki() if secure else None
    broker = world.broker(pki=pki)
    relay = world.relay(broker.tls_port if secure else broker.port)
    options = {"ca": pki.ca} if secure else {}
    scheme = "mqtts" if secure else "mqtt"
    clients, rounds, settled = (8, 1200, 50) if long else (8, 17, 8)
    driver = Driver(world, f"{scheme}://127.0.0.1:{relay.port}", first=1, min=1, max=2,
                    will="will/x", clients=clients - 1, **options)
    done = 0

    def reconnect(times):
        """(open files, kB of memory) when all are connected again"""
        nonlocal done
        for _ in range(times):
            wait_until(lambda: relay.connections() == clients, 20, "all are there again")
            driver.up(count=(done + 1) * clients, timeout=20)
            relay.cut()
            done += 1
        driver.up(count=(done + 1) * clients, timeout=20)
        return driver.proc.open_files(), driver.proc.rss_kb()

    seen = [reconnect(settled)]
    for _ in range(3):  # a leak grows each time; an allocator in a busy machine once
        seen.append(reconnect(rounds))
        (files, memory), (files_now, memory_now) = seen[-2:]
        if files_now <= files + 1 and (driver.proc.sanitized() or memory_now <= memory + 768):
            break
    else:
        raise AssertionError(seen)
    driver.stop()
