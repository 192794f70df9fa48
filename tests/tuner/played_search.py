"""A search without Ray: workers are played by a loop whose next step depends on nothing but the ledger."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuner.ledger import Ledger
from tuner.records import TrialRecord
from tuner.referee import Order, Referee

Curve = Callable[[TrialRecord, int], float]


def by_number(record: TrialRecord, index: int) -> float:
    """Learning curves that cross."""
    return round(0.5 + 0.3 * math.sin(1 + 2.3 * record.number) + 0.05 * index * math.cos(record.number), 6)


def by_config(record: TrialRecord, index: int) -> float:
    """The nearer to 1e-4 the learning rate, the better."""
    return round(0.8 - 0.1 * abs(math.log10(record.config["optimizer"]["lr"]) + 4) + 0.01 * index, 6)


def referee_of(toy: Any, ledger: Ledger, listener: Any = lambda _event, _record: None, **changes: Any) -> Referee:
    attributes = {"git_commit": "c0ffee"}
    return Referee(ledger, toy.settings(**changes), toy.space, toy.base, Path("/s"), attributes=attributes, listener=listener)


def drive(
    toy: Any,
    ledger: Ledger,
    curve: Curve,
    listener: Any = lambda _event, _record: None,
    is_lost: Callable[[TrialRecord], bool] = lambda _record: False,
    **changes: Any,
) -> list[Order]:
    """Plays the driver to the end: slots are filled, then the trial with the fewest reports sends its next one, or is lost."""
    referee = referee_of(toy, ledger, listener, **changes)
    orders, slots = [], {}
    while True:
        while len(slots) < (changes.get("concurrency") or 1) and isinstance(order := referee.next_order(), Order):
            orders.append(order)
            slots[order.number] = order.known_reports
        if not slots:
            return orders
        number = min(slots, key=lambda n: (slots[n], n))
        if is_lost(ledger.record(number)):
            referee.end(number, "failed", "lost")
            del slots[number]
            continue
        slots[number] += 1
        score = curve(ledger.record(number), slots[number])
        if referee.hear(number, toy.report(slots[number], score)) == "stop":
            del slots[number]


def outcome(ledger: Ledger) -> list[Any]:
    """All that a search comes to, times apart."""
    return [
        (r.number, r.state, r.reason, r.assignment, r.config, r.reports, sorted(r.passed_rungs), r.score)
        for r in ledger.records()
    ]
