"""What bench/link.py counts with; the measuring itself needs root and minutes."""

import struct
import sys

import cbor2
import pytest

from runnel_test import ROOT

sys.path.append(str(ROOT / "bench" / "support"))
import link_count as link  # noqa: E402


def mark(at, up, down, samples):
    return link.Mark(at, at, up, down, up // 100, down // 100, samples)


def test_set_up_is_what_the_steady_state_would_not_have_needed():
    k = link.cost([mark(0, 5000, 3000, 1000), mark(600, 6000, 3500, 3000),
                   mark(1200, 7000, 4000, 5000)])
    assert (k.up, k.down, k.steady, k.samples) == (0.5, 0.25, 0.75, 4000)
    assert (k.setup, k.setup_extra) == (8000, 7250)
    samples_a_day = 4000 / 1200 * 86400
    assert k.setup_share == pytest.approx(7250 / samples_a_day)
    assert k.mb_month == pytest.approx((0.75 * samples_a_day + 7250) * 30 / 1e6)
    assert k.packets == 30


def test_interface_bytes_leave_ethernet_headers_out():
    text = "Inter-|\n  lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n link0: 1000 10 0 0 0 0 0 0 500 5 0 0 0 0 0 0\n"
    assert link.interface_bytes(text, "link0") == (860, 430)


def test_counters_are_read_from_what_nft_prints():
    text = '{"nftables": [{"metainfo": {}}, {"counter": {"name": "up1", "bytes": 7, "packets": 1}}]}'
    assert link.nft_counters(text) == {"up1": (7, 1)}


def test_values_of_the_others_are_counted():
    part = struct.pack("!HHH", 6, 6 + 2 * 9, 2) + bytes(18)
    name = struct.pack("!HH", 0, 8) + b"abc\0"
    assert link.collectd_values(name + part + part) == 4
    assert link.collectd_values(name + b"\0\6\0\0") == 0
    assert link.plain_values(b"1795.1:0.5:7\0") == 2
    assert link.line_values(b'm,a\\ b=c\\=d x=1,y="a b=c, d",z=2i 17\nm x=1 17') == 4


def test_messages_are_sorted_by_topic_and_batches_by_encoding():
    batch = cbor2.dumps([1, 2, 0, 0, 0, 1, 2, b"", {}])
    messages = [("rn/u/08/pump-07/m", batch), ("rn/s/08/pump-07", b"1234"), ("rn/d/08/pump-07/a", b"12"),
                ("rn/d/08/pump-07/a", b"1")]
    assert link.split(messages) == {"m": (1, len(batch)), "s": (1, 4), "a": (2, 3)}
    assert link.encodings(messages) == {2: 1}
    assert link.ticks(messages + messages) == {2: 1}


def test_a_log_is_counted_between_two_times():
    log = "".join(f"{at}: Received PINGREQ from 08/x\n" for at in (9, 10, 19, 20))
    assert link.log_count(log, r"Received PINGREQ from 08/x$", 10, 20) == 2
