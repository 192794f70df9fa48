"""What was confirmed, as a table: beside the score that a config was chosen by what it comes to on rows and seeds of its own."""

from dataclasses import dataclass

from tuner.confirmation import Confirmation, Confirmed
from tuner.tables import Column


@dataclass(frozen=True)
class ConfirmedRow:
    """One config that was trained again.

    Attributes:
        trial: of the search, whose config it is; None: the reference, the config that all trials start from.
        score_search: that it was chosen by; None of the reference.
        score_confirm: mean of its trainings on the rows that were kept; `spread` is their standard deviation, None of one.
        interval: 95 % of that mean.
        gain: over the reference's mean; `gain_interval` is its 95 % interval.
        probability_best: that no other config's true mean is higher.
        shrinkage: `score_search` - `score_confirm`.
        trainings: numbers of the trials that trained it again.
    """

    trial: int | None
    score_search: float | None
    score_confirm: float
    spread: float | None
    interval: tuple[float, float]
    gain: float
    gain_interval: tuple[float, float]
    probability_best: float
    shrinkage: float | None
    trainings: tuple[int, ...]


@dataclass(frozen=True)
class ConfirmedTable:
    """What was confirmed, the best first.

    Attributes:
        rows: one a config; empty while or where nothing is confirmed.
        claim: what may be said of the winner, or why nothing may.
        left_out: a sentence for each config that could not be judged.
    """

    rows: tuple[ConfirmedRow, ...]
    claim: str
    left_out: tuple[str, ...]


def confirmed_table(confirmation: Confirmation) -> ConfirmedTable:
    """A confirmation as plain numbers."""
    return ConfirmedTable(tuple(map(_row, confirmation.configs)), confirmation.claim, confirmation.left_out)


def columns(table: ConfirmedTable) -> list[Column]:
    """The table as text; `trained_as` names the trials that trained a config again, for one of them is exported."""
    rows = table.rows
    return [
        Column("confirmed", tuple("reference" if row.trial is None else f"trial {row.trial}" for row in rows), is_number=False),
        Column("score_search", tuple(_number(row.score_search) for row in rows)),
        Column("score_confirm", tuple(_number(row.score_confirm) for row in rows)),
        Column("spread", tuple(_number(row.spread) for row in rows)),
        Column("95 % interval", tuple(_interval(row.interval, "") for row in rows)),
        Column("gain", tuple(_number(row.gain, "+") if row.trial is not None else "-" for row in rows)),
        Column("95 % interval", tuple(_interval(row.gain_interval, "+") if row.trial is not None else "-" for row in rows)),
        Column("P(best)", tuple(f"{row.probability_best:.2f}" for row in rows)),
        Column("shrinkage", tuple(_number(row.shrinkage, "+") for row in rows)),
        Column("trained_as", tuple(",".join(map(str, row.trainings)) for row in rows), is_number=False),
    ]


def _row(config: Confirmed) -> ConfirmedRow:
    found = config.estimate
    return ConfirmedRow(
        trial=config.trial,
        score_search=config.score_search,
        score_confirm=found.mean,
        spread=found.spread,
        interval=(found.low, found.high),
        gain=found.gain,
        gain_interval=(found.gain_low, found.gain_high),
        probability_best=found.probability_best,
        shrinkage=config.shrinkage,
        trainings=config.trainings,
    )


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.4f}"


def _interval(limits: tuple[float, float], sign: str) -> str:
    return f"{limits[0]:{sign}.4f}..{limits[1]:{sign}.4f}"
