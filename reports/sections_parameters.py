"""Sections on parameters: which matter and how the top two act together, all of them at once, each by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports import drawing
from reports.importance import LEAST_AMONG_BEST, LEAST_TRIALS, importances, too_rare
from reports.leaderboard import varying_paths
from reports.page import Drawing, Figures, Paragraph, Section, SectionPart
from reports.parameters import LEAST, Evidence, Interaction, axes, domains, evidence, interaction, slices
from reports.search import Search
from search_spaces.domains import Domain
from tuner.records import searched

MOST_AXES, MOST_SLICES = 8, 12


@dataclass(frozen=True)
class Parameters:
    """What is known of a search's parameters.

    Attributes:
        evidence: trials at one budget.
        paths: of what varies, the most important first, then in the space's order.
        searched: path -> what was searched of it.
        importances: of each; empty where they cannot be told.
        is_full: the trials are compared at their full budget.
        winner: the trial whose config is handed over; None: there is none, or it is the reference.
    """

    evidence: Evidence
    paths: tuple[str, ...]
    searched: Mapping[str, Domain]
    importances: tuple[tuple[str, float], ...]
    is_full: bool
    winner: int | None

    @property
    def compared(self) -> str:
        """At what budget trials are compared, in words."""
        at = "at their full budget" if self.is_full else f"at their report {self.evidence.report}"
        return f"{len(self.evidence.points)} trials, compared {at}"


def read_parameters(search: Search) -> Parameters:
    """What the trials of a search tell of its parameters."""
    found = evidence(search.records)
    paths = varying_paths([point.assignment for point in found.points])
    ranges = domains(paths, search.space, found.points)
    ranked = importances(found.points, ranges) if paths else ()
    names = {path for path, value in ranked if value > 0}
    ordered = [path for path, value in ranked if value > 0] + [path for path in paths if path not in names]
    last = max((len(record.reports) for record in searched(search.records) if record.state == "complete"), default=0)
    return Parameters(found, tuple(ordered), ranges, ranked, bool(found.points) and found.report == last, search.board.best_trial)


def importance(parameters: Parameters) -> Section:
    """PED-ANOVA, and the two that matter most together."""
    sentence = (
        "How much each parameter has to do with being among the best trials (PED-ANOVA), "
        "and how the two that matter most act together."
    )
    why = _why_nothing(parameters)
    if not why and not parameters.importances:
        why = f"It takes {LEAST_TRIALS} trials whose scores differ; here are {len(parameters.evidence.points)}."
    if why:
        return Section("importance", "Which parameters matter", sentence, [Paragraph(why, "empty")])
    rare = too_rare(parameters.evidence.points, parameters.paths)
    few = f"Left out, as fewer than five trials had them, or fewer than {LEAST_AMONG_BEST} of the best: {', '.join(rare)}."
    figures: list[SectionPart] = [
        Paragraph(f"{parameters.compared}."),
        *([Paragraph(few)] if rare else []),
        Figures([Drawing(drawing.as_json(drawing.importance(parameters.importances)), "Importance of each parameter")]),
    ]
    top = [path for path, value in parameters.importances if value > 0][:2]
    if len(top) == 2:
        figures += _together(interaction(parameters.evidence.points, top[0], top[1], parameters.searched))
    return Section("importance", "Which parameters matter", sentence, figures)


def parallel(parameters: Parameters) -> Section:
    """Parallel coordinates."""
    sentence = "A line a trial through its values, each axis from the lowest value that was searched to the highest."
    if why := _why_nothing(parameters):
        return Section("parallel", "Parallel coordinates", sentence, [Paragraph(why, "empty")])
    points = parameters.evidence.points
    chosen = parameters.paths[:MOST_AXES]
    winner = next(
        ((place, f"trial {one.trial}, the winner") for place, one in enumerate(points) if one.trial == parameters.winner), None
    )
    figure = drawing.parallel(axes(points, chosen, parameters.searched), [point.score for point in points], winner)
    told = f"{parameters.compared}; a line below the axis: the parameter plays no part there.{_rest(parameters, chosen)}"
    drawn = Figures([Drawing(drawing.as_json(figure), sentence, is_broad=True)])
    return Section("parallel", "Parallel coordinates", sentence, [Paragraph(told), drawn])


def every_slice(parameters: Parameters) -> Section:
    """A slice of each of the parameters that matter most."""
    sentence = (
        "Each parameter's values against the scores; dashed lines are the ends of what was searched: "
        "a best at an end asks for a wider range."
    )
    if why := _why_nothing(parameters):
        return Section("slices", "Slices", sentence, [Paragraph(why, "empty")])
    chosen = parameters.paths[:MOST_SLICES]
    drawings = [
        Drawing(drawing.as_json(drawing.slice_(found)), f"Scores by {found.path}")
        for found in slices(parameters.evidence.points, chosen, parameters.searched)
    ]
    told = f"{parameters.compared}.{_rest(parameters, chosen)}"
    return Section("slices", "Slices", sentence, [Paragraph(told), Figures(drawings, is_wide=False)])


def all_of_parameters(search: Search) -> Sequence[Section]:
    """The three, of what is read once."""
    found = read_parameters(search)
    return importance(found), parallel(found), every_slice(found)


def _together(both: Interaction) -> list[SectionPart]:
    """The two that matter most; they may exclude each other."""
    if not any(cell.count for row in both.cells for cell in row):
        return [Paragraph(f"In no trial {both.first} and {both.second} both play a part.", "empty")]
    of = (
        "which cannot be told from so few fields"
        if both.strength is None
        else f"{both.strength:.0%} of the variance between fields"
    )
    told = f"Mean score and number of trials by {both.first} and {both.second}; what neither explains by itself: {of}."
    drawn = Drawing(drawing.as_json(drawing.interaction(both)), f"{both.first} and {both.second} together", is_broad=True)
    return [Paragraph(told), Figures([drawn])]


def _rest(parameters: Parameters, chosen: Sequence[str]) -> str:
    """How many parameters are not shown: `Parameters.paths` begins with those that matter most."""
    rest = len(parameters.paths) - len(chosen)
    return f" Left out, as they matter less or cannot be told of: {rest} more." if rest else ""


def _why_nothing(parameters: Parameters) -> str:
    if parameters.evidence.report is None:
        return f"It takes {LEAST} trials that have reported."
    return "" if parameters.paths else "Nothing differs between the trials."
