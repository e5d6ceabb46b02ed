#!/usr/bin/env python3
"""Recomputes the hash chain of cashbox entries, and prints the hash of the last one.

Reads what `cashbox follow --from start` gives, one entry as JSON a line, from the first entry on. The same entry may come
again. Ends with 1 at an entry that does not follow from the one before it, and needs nothing from cashbox.
"""
import calendar
import hashlib
import json
import sys
import time


def integer(value):
    return None if value is None else value.to_bytes(8, "big", signed=True)


def text(value):
    return None if value is None else value.encode()


def cents(value):
    return None if value is None else integer(int(value.replace(".", "")))


def milliseconds(value):
    if value is None:
        return None
    seconds, rest = value.rstrip("Z").split(".")
    return integer(calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) * 1000 + int(rest))


def pairs(value):
    return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


ORDER = [
    ("id", integer), ("at", milliseconds), ("kind", text), ("from", text), ("to", text), ("amount", cents),
    ("from_balance", cents), ("to_balance", cents), ("by", text), ("coupon", text), ("gross", cents),
    ("discount", cents), ("refunds", integer), ("reference", text), ("metadata", pairs), ("fence", integer),
]
OF_HOLDS = [("hold", integer), ("hold_to", text), ("hold_until", milliseconds)]


def hash_after(previous, entry):
    """SHA-256 of the hash before, the version of the layout, and each field behind its length (all ones if it is absent)."""
    of_hold = entry["kind"] in ("hold", "capture", "release")
    digest = hashlib.sha256(previous + bytes([2 if of_hold else 1]))
    for name, form in ORDER + (OF_HOLDS if of_hold else []):
        value = form(entry[name])
        digest.update(b"\xff" * 4 if value is None else len(value).to_bytes(4, "big") + value)
    return digest.digest()


def last_hash(lines):
    number, last, line = 0, bytes(32), None
    for again in lines:
        if again == line:
            continue
        line = again
        entry = json.loads(line)
        number += 1
        if entry["id"] != number:
            sys.exit(f"entry {number} is missing: entry {entry['id']} comes after entry {number - 1}")
        last = hash_after(last, entry)
        if entry["hash"] != last.hex():
            sys.exit(f"entry {number} does not follow from what came before it, or is not as it was made")
    return last.hex()


if __name__ == "__main__":
    print(last_hash(sys.stdin))
