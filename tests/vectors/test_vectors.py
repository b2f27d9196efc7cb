"""The vectors of schemas/vectors against cbor2, the CDDL, and a second codec of batch columns."""
import json
import pathlib
import re
import sys

import cbor2
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cddl  # noqa: E402
import columns  # noqa: E402
import make  # noqa: E402
import packed  # noqa: E402
from diag import diag  # noqa: E402

SCHEMAS = make.VECTORS.parent
COMMON = (SCHEMAS / "common.cddl").read_text()
MESSAGES = {path.stem: cddl.Cddl(COMMON, path.read_text())
            for path in SCHEMAS.glob("*.cddl") if path.stem != "common"}
VALID = sorted(make.VECTORS.glob("*.cbor"))
PACKED = sorted((make.VECTORS / "packed").glob("batch-*.cbor"))
TOLERATED = sorted((make.VECTORS / "tolerated").glob("*.cbor"))
BATCHES = sorted(make.VECTORS.glob("batch-*.json"))
BAD = [line.split() for line in (make.VECTORS / "bad" / "INDEX").read_text().splitlines()]


def name(path):
    return path.stem


def rules_for(vector):
    message = max((m for m in MESSAGES if vector.startswith(m + "-")), key=len)
    return MESSAGES[message]


def schema_of(batch):
    return cbor2.loads((make.VECTORS / f"schema-{batch.split('-')[1]}.cbor").read_bytes())


def test_every_message_has_a_vector():
    for message in MESSAGES:
        assert any(path.stem.startswith(message + "-") for path in VALID), message


def test_the_files_are_what_the_descriptions_say():
    files = make.files()
    there = {str(path.relative_to(make.VECTORS)) for path in make.VECTORS.rglob("*.*")}
    assert there | {"bad/INDEX"} == set(files)
    for path, data in files.items():
        assert (make.VECTORS / path).read_bytes() == data, path


@pytest.mark.parametrize("path", VALID, ids=name)
def test_a_valid_vector_is_the_canonical_encoding_of_its_content(path):
    data = path.read_bytes()
    assert cbor2.dumps(cddl.decode(data), canonical=True) == data


@pytest.mark.parametrize("path", VALID + TOLERATED, ids=name)
def test_the_diagnostic_notation_is_that_of_the_bytes(path):
    assert path.with_suffix(".diag").read_text() == diag(cddl.decode(path.read_bytes())) + "\n"


@pytest.mark.parametrize("path", VALID, ids=name)
def test_a_valid_vector_fits_the_cddl(path):
    rules_for(path.stem).check(cddl.decode(path.read_bytes()))


@pytest.mark.parametrize("path", BATCHES, ids=name)
def test_the_columns_of_a_batch_are_the_cells_of_the_json(path):
    schema, expected = schema_of(path.stem), json.loads(path.read_text())
    batch = cbor2.loads(path.with_suffix(".cbor").read_bytes())
    times, cells = columns.decode(schema, batch[4], batch[5], batch[7], batch[8].get(3, 255))
    assert times == expected["times"]
    assert cells == expected["columns"]


@pytest.mark.parametrize("path", PACKED, ids=name)
def test_the_columns_of_a_packed_batch_are_the_cells_of_the_json(path):
    data = path.read_bytes()
    rules_for("batch-").check(cddl.decode(data))
    _, key, case = path.stem.split("-")[:3]
    expected = json.loads((make.VECTORS / f"batch-{key}-{case}.json").read_text())
    batch = cbor2.loads(data)
    with_ = {"text_max": batch[8].get(3, 255)}
    if 1 in batch[8]:
        with_["base_object"] = (path.parent / f"base-{key}.cbor").read_bytes()
        with_["base"] = cbor2.loads(with_["base_object"])[1]
    if 2 in batch[8]:
        hints = cbor2.loads((path.parent / f"hints-{key}.cbor").read_bytes())
        with_["hints"] = list(zip(hints[1], hints[2]))
    times, cells = packed.decode(batch[6], schema_of(path.stem), batch[4], batch[5], batch[7], **with_)
    assert times == expected["times"]
    assert cells == expected["columns"]


@pytest.mark.parametrize("path", [p for p in PACKED if p.stem.endswith("-2")], ids=name)
def test_a_changed_byte_of_a_packed_batch_shows_or_changes_nothing(path):
    batch = cbor2.loads(path.read_bytes())
    longest = batch[8].get(3, 255)
    right = packed.decode(2, schema_of(path.stem), batch[4], batch[5], batch[7], text_max=longest)
    for at in range(min(len(batch[7]), 24)):
        data = bytearray(batch[7])
        data[at] ^= 0x10
        try:
            found = packed.decode(2, schema_of(path.stem), batch[4], batch[5], bytes(data), text_max=longest)
        except (packed.Damaged, UnicodeDecodeError):
            continue
        assert found == right and at == len(batch[7]) - 1  # the same interval


@pytest.mark.parametrize("bad", [row[0] for row in BAD if row[2] == "cddl"])
def test_the_cddl_refuses_a_bad_vector(bad):
    value = cddl.decode((make.VECTORS / "bad" / f"{bad}.cbor").read_bytes())
    with pytest.raises(cddl.Mismatch):
        rules_for(bad).check(value)


def test_the_cddl_checker_tells_right_from_wrong():
    rules = cddl.Cddl('root = {1: 0..3, ? 2: [2*3 x], * 9..10 => any} x = tstr .size (1..2) / null')
    rules.check({1: 3, 2: ["a", None], 10: b""})
    for wrong in ({}, {1: 4}, {1: True}, {1: 0, 2: ["a"]}, {1: 0, 2: ["a"] * 4}, {1: 0, 2: ["abc", "a"]},
                  {1: 0, 11: 1}, {1: 0, "a": 1}, [1]):
        with pytest.raises(cddl.Mismatch):
            rules.check(wrong)


@pytest.mark.parametrize("text", ["a = b", "a = uint a = int", "a = ]", "a = {1 uint", "uint = int"])
def test_the_cddl_checker_refuses_a_broken_description(text):
    with pytest.raises(SyntaxError):
        cddl.Cddl(text)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def test_the_example_of_the_protocol_document_is_a_vector():
    text = (SCHEMAS.parent / "docs" / "PROTOCOL.md").read_text()
    batch = (make.VECTORS / "batch-minimal-worked.cbor").read_bytes().hex()
    assert (make.VECTORS / "schema-minimal.cbor").read_bytes().hex() in text
    assert f"`{batch}`" in text
    lines = text.split("89             array of 9")[1].split("```")[0].splitlines()
    spelled = "89" + "".join(re.match(r" *((?:[0-9a-f]{2})+(?: (?:[0-9a-f]{2})+)*)(?:  |$)", line)[1]
                             for line in lines if line).replace(" ", "")
    assert spelled == batch
    body = bytes.fromhex(batch)[8:]
    crc = crc32c(body)
    assert f"CRC-32C is {crc:08x}" in text
    assert f"[7, 1, {crc32c(crc.to_bytes(4, 'big')):#010x}]" in text
