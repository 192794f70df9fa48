"""Seals of the ledger's header: what each entry may be, by its sha256; a bit that changed in one by itself is noticed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEALS = "seals"
_ABSENT = "absent"


def digest(value: Any) -> str:
    """sha256 of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def seals(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[str]]:
    """What each entry of a header may be from now on: as it was, or, once it is written, as it is to be.

    Written first, it is true at every moment after; written again once all entries are, it lets none of them be absent.  The
    seals have a sum of their own among them.
    """
    plain = json.loads(json.dumps(after))
    sums = {key: sorted({digest(value), digest(before[key]) if key in before else _ABSENT}) for key, value in plain.items()}
    return {**sums, SEALS: [digest(sums)]}


def broken_seals(header: Mapping[str, Any]) -> list[str]:
    """Keys of a header whose value is none that was ever written there, or that are missing."""
    sealed = header.get(SEALS, {})
    if not isinstance(sealed, dict) or not all(isinstance(sums, list) for sums in sealed.values()):
        return [SEALS]
    others = {key: sums for key, sums in sealed.items() if key != SEALS}
    if digest(others) not in sealed.get(SEALS, [digest(others)]):  # of an older ledger without a sum of their own
        return [SEALS]
    return sorted(key for key, sums in others.items() if _sum_of(header, key) not in sums)


def _sum_of(header: Mapping[str, Any], key: str) -> str:
    return digest(header[key]) if key in header else _ABSENT
