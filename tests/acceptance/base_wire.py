"""The base protocol's bytes, read and written by hand: Protobuf's wire format, and nothing of our own code.

A field that base peers do not have is an error here, so that these bytes show what really goes out to them.
"""

from __future__ import annotations

from typing import Any

PREFIX = "type.googleapis.com/caroni."
STATUS = ("UNSPECIFICED", "PENDING", "QUEUED", "RUNNING", "COMPLETED", "FAILED", "PAUSED")

#: number of a field -> its name and kind; field 1 of each is an empty signature
MESSAGES: dict[str, dict[int, tuple[str, str]]] = {
    "JobFulfillmentRequest": {
        2: ("request_uuid", "uuid"),
        3: ("job_type_name", "text"),
        4: ("parameters", "pairs"),
    },
    "JobFulfillmentDecline": {
        2: ("request_uuid", "uuid"),
        3: ("site", "site"),
        4: ("decline_message", "text"),
    },
    "JobFulfillmentOffer": {
        2: ("request_uuid", "uuid"),
        3: ("offer_uuid", "uuid"),
        4: ("site", "site"),
        5: ("offer_message", "text"),
        6: ("expiration", "time"),
    },
    "JobFulfillmentOfferAccept": {
        2: ("request_uuid", "uuid"),
        3: ("offer_uuid", "uuid"),
        4: ("accept_message", "text"),
    },
    "JobFulfillmentOfferReject": {
        2: ("request_uuid", "uuid"),
        3: ("offer_uuid", "uuid"),
        4: ("reject_message", "text"),
    },
    "JobAccepted": {2: ("job_uuid", "uuid"), 3: ("offer_uuid", "uuid")},
    "JobStatusRequest": {2: ("job_uuid", "uuid")},
    "JobStatusUpdate": {2: ("job_uuid", "uuid"), 3: ("job_status", "status"), 4: ("status_info", "text")},
    "JobKill": {2: ("job_uuid", "uuid"), 3: ("kill_info", "text")},
    "JobDataAvailable": {2: ("job_uuid", "uuid"), 3: ("parameters", "pairs")},
    "WorkFlowCreate": {2: ("template_name", "text"), 3: ("wf_name", "text"), 4: ("inputs", "pairs")},
}
SITE = {1: ("site_identifier", "text"), 2: ("site_uuid", "bytes"), 3: ("site_contact", "text")}
TIME = {1: ("seconds", "number"), 2: ("nanos", "number")}
PAIR = {1: ("key", "text"), 2: ("value", "text")}


def encode(name: str, **values: Any) -> bytes:
    """The body of a message with an unsigned envelope."""
    inner = b"\x0a\x00" + _fields(MESSAGES[name], values)
    return b"\x0a\x00" + _bytes(2, _bytes(1, (PREFIX + name).encode()) + _bytes(2, inner))


def decode(body: bytes) -> tuple[str, dict[str, Any]]:
    """Name and fields of a message. ``ValueError``: base peers do not know this."""
    envelope = dict(_parse(body))
    if set(envelope) - {1, 2} or envelope.get(1):
        raise ValueError(f"the envelope has fields {sorted(envelope)} or a signature: {envelope.get(1)!r}")
    payload = dict(_parse(_raw(envelope[2])))
    url = _raw(payload[1]).decode()
    name = url.removeprefix(PREFIX)
    if not url.startswith(PREFIX) or name not in MESSAGES:
        raise ValueError(f"unknown message {url}")
    fields = list(_parse(_raw(payload[2])))
    if fields[0] != (1, b""):
        raise ValueError(f"{name} does not begin with an empty signature")
    return name, _read(name, MESSAGES[name], fields[1:])


def _fields(schema: dict[int, tuple[str, str]], values: dict[str, Any]) -> bytes:
    made = b""
    for number, (field, kind) in schema.items():
        if field not in values:
            continue
        value = values[field]
        if kind == "pairs":
            for key, text in value.items():
                made += _bytes(number, _fields(PAIR, {"key": key, "value": text}))
        elif kind == "site":
            made += _bytes(number, _fields(SITE, value))
        elif kind == "time":
            made += _bytes(number, _fields(TIME, value))
        elif kind == "status":
            made += _varint(number << 3) + _varint(STATUS.index(value))
        elif kind == "number":
            made += _varint(number << 3) + _varint(value)
        else:
            made += _bytes(number, value.encode() if isinstance(value, str) else value)
    return made


def _read(name: str, schema: dict[int, tuple[str, str]], fields: list[tuple[int, bytes | int]]) -> Any:
    found: dict[str, Any] = {field: {} for field, kind in schema.values() if kind == "pairs"}
    for number, value in fields:
        if number not in schema:
            raise ValueError(f"{name} has a field {number}")
        field, kind = schema[number]
        if kind == "pairs":
            pair = _read(field, PAIR, list(_parse(_raw(value))))
            if pair["key"] in found[field]:
                raise ValueError(f"{name} names {pair['key']} twice")
            found[field][pair["key"]] = pair.get("value", "")
        elif field in found:
            raise ValueError(f"{name} has {field} twice")
        elif kind == "site":
            found[field] = _read(field, SITE, list(_parse(_raw(value))))
        elif kind == "time":
            found[field] = _read(field, TIME, list(_parse(_raw(value))))
        elif kind == "status":
            if not isinstance(value, int) or value >= len(STATUS):
                raise ValueError(f"unknown status {value!r}")
            found[field] = STATUS[value]
        elif kind == "text":
            found[field] = _raw(value).decode()
        elif kind == "uuid" and len(_raw(value)) != 16:
            raise ValueError(f"{name} has a uuid of {len(_raw(value))} bytes")
        else:
            found[field] = value
    return found


def _raw(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where text or a message belongs")
    return value


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _parse(data: bytes) -> list[tuple[int, bytes | int]]:
    found: list[tuple[int, bytes | int]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            found.append((tag >> 3, varint()))
        elif tag & 7 == 2:
            length = varint()
            found.append((tag >> 3, data[at : at + length]))
            at += length
        else:
            raise ValueError(f"wire type {tag & 7}")
    return found
