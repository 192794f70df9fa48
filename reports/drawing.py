"""Tuples to figures: the one file that knows the drawing library.

Colours are Okabe & Ito's, which people who see few colours tell apart (https://jfly.uni-koeln.de/color/), and never alone: each
has its dash and its marker.  Figures are drawn as SVG: a page with WebGL would need a policy that lets scripts make code.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from reports.confirmed import ConfirmedTable
from reports.curves import ConflictCurve, Curve, Progress, thinned
from reports.mistakes import Confusion, Scatter
from reports.parameters import NOT_USED, Axis, Interaction, Slice
from reports.tradeoffs import Front, Trade
from search_spaces.domains import Categorical
from tuner.console import visible

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
ENDINGS: Mapping[str, tuple[str, str, str]] = {
    "stopped": (ORANGE, "dot", "triangle-down"),
    "complete": (BLUE, "solid", "circle"),
    "failed": (VERMILLION, "dash", "x"),
    "interrupted": (PURPLE, "dashdot", "diamond"),
    "running": (GREEN, "longdash", "square"),
}
"""Colour, dash and marker of each way a trial ends; those that are drawn later lie above."""
MOST_CURVES, MOST_POINTS = 1500, 4000
_DIGITS = 5
_GRID = "#d9d9d9"
_HEAT = "Cividis"


def plotly_js() -> str:
    """The library as it runs in a browser."""
    return str(get_plotlyjs())


def as_json(figure: go.Figure) -> str:
    """A figure as its data and layout."""
    return str(figure.to_json())


def intervals(table: ConfirmedTable) -> go.Figure:
    """Confirmed means with their 95 % intervals, and beside each the score that it was chosen by."""
    rows = table.rows[::-1]
    names = ["reference" if row.trial is None else f"trial {row.trial}" for row in rows]
    means = [row.score_confirm for row in rows]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [row.interval[1] - row.score_confirm for row in rows],
        "arrayminus": [row.score_confirm - row.interval[0] for row in rows],
        "thickness": 2,
    }
    confirmed = go.Scatter(
        x=means,
        y=names,
        error_x=bars,
        mode="markers",
        name="confirmed, with its 95 % interval",
        marker=_marker(BLUE, "circle", 11),
    )
    chosen = go.Scatter(
        x=[row.score_search for row in rows],
        y=names,
        mode="markers",
        name="score that it was chosen by",
        marker=_marker(ORANGE, "diamond-open", 11),
    )
    return _figure([confirmed, chosen], "score", "", hovermode="closest", height=140 + 42 * len(rows))


def progress(found: Progress, *, by_budget: bool) -> go.Figure:
    """The best score so far against the time at work, or against training examples."""
    unit, name = (3600, "hours") if found.seconds >= 7200 else (60, "minutes")
    xs = [float(p.examples) if by_budget else p.seconds / unit for p in found.points]
    end = float(found.examples) if by_budget else found.seconds / unit
    ys = [p.score for p in found.points]
    steps = go.Scatter(
        x=[*xs, end],
        y=[*ys, ys[-1]],
        mode="lines+markers",
        line={"shape": "hv", "color": BLUE, "width": 2.5},
        marker={"symbol": ["circle"] * len(xs) + ["line-ns"], "size": 9},
        customdata=[f"trial {p.trial}" for p in found.points] + ["last trial ended"],
        hovertemplate="%{customdata}<br>%{x:,.6~g}<br>score %{y:.4f}<extra></extra>",
        showlegend=False,
    )
    return _figure([steps], "training examples of all trials" if by_budget else f"{name} at work", "best score")


def learning_curves(found: Sequence[Curve], rungs: Sequence[int]) -> go.Figure:
    """A line a trial, by how it ended; rungs as vertical lines.  Of very many trials some."""
    shown = thinned(found, MOST_CURVES)
    width, opacity = (1.6, 1.0) if len(shown) <= 60 else (0.9, 0.5)
    traces = []
    for ending, (colour, dash, symbol) in ENDINGS.items():
        own = [curve for curve in shown if curve.ending == ending]
        if not own:
            continue
        hover = "trial %{customdata}<br>%{x:,} examples<br>score %{y:.4f}<extra></extra>"
        lines = go.Scatter(
            x=_joined([curve.budgets for curve in own]),
            y=_joined([[round(s, _DIGITS) for s in curve.scores] for curve in own]),
            customdata=_joined([[curve.trial] * len(curve.scores) for curve in own]),
            mode="lines",
            legendgroup=ending,
            showlegend=False,
            opacity=opacity,
            line={"color": colour, "dash": dash, "width": width},
            hovertemplate=hover,
        )
        ends = go.Scatter(
            x=[curve.budgets[-1] for curve in own],
            y=[round(curve.scores[-1], _DIGITS) for curve in own],
            customdata=[curve.trial for curve in own],
            mode="markers",
            legendgroup=ending,
            name=f"{ending} ({sum(curve.ending == ending for curve in found)})",
            marker=_marker(colour, symbol, 8 if len(shown) <= 60 else 5),
            hovertemplate=hover,
        )
        traces += [lines, ends]
    figure = _figure(traces, "training examples", "score")
    for place, budget in enumerate(rungs, start=1):
        figure.add_vline(x=budget, line={"color": BLACK, "width": 1.5, "dash": "dash"})
        figure.add_annotation(
            x=budget, y=0, yref="paper", yanchor="bottom", xanchor="left", text=f"rung {place}", showarrow=False
        )
    return figure


def trade(found: Front, pair: Trade) -> go.Figure:
    """Two tasks' metrics of the trials with their full budget; those that no other betters stand out."""
    traces = []
    for is_best, name, marker in (
        (False, "bettered by another", _marker(ORANGE, "circle-open", 8)),
        (True, "on the front", _marker(BLUE, "star", 13)),
    ):
        own = [point for point in found.points if point.is_best is is_best]
        traces.append(
            go.Scatter(
                x=[point.metrics[pair.first] for point in own],
                y=[point.metrics[pair.second] for point in own],
                customdata=[point.trial for point in own],
                mode="markers",
                name=name,
                marker=marker,
                hovertemplate="trial %{customdata}<br>%{x:.4f}, %{y:.4f}<extra></extra>",
            )
        )
    return _figure(traces, _safe(found.tasks[pair.first]), _safe(found.tasks[pair.second]))


def importance(found: Sequence[tuple[str, float]], most: int = 15) -> go.Figure:
    """Bars, the most important on top."""
    shown = found[:most][::-1]
    bars = go.Bar(
        x=[value for _, value in shown],
        y=[_safe(path) for path, _ in shown],
        orientation="h",
        marker={"color": BLUE},
        text=[f"{value:.2f}" for _, value in shown],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    figure = _figure([bars], "importance", "", height=130 + 26 * len(shown))
    return figure.update_xaxes(range=[0, 1.25 * max(value for _, value in shown)])


def interaction(found: Interaction) -> go.Figure:
    """The mean score of each field, with the number of its trials."""
    values = [[cell.mean for cell in row] for row in found.cells]
    texts = [[f"{cell.mean:.3f}<br>{cell.count}" if cell.mean is not None else "" for cell in row] for row in found.cells]
    heat = go.Heatmap(
        z=values,
        x=[_safe(name) for name in found.second_bins],
        y=[_safe(name) for name in found.first_bins],
        text=texts,
        texttemplate="%{text}",
        colorscale=_HEAT,
        colorbar={"title": {"text": "score"}, "thickness": 12},
        hovertemplate="%{y}; %{x}<br>%{text}<extra></extra>",
        xgap=2,
        ygap=2,
    )
    figure = _figure([heat], _safe(found.second), _safe(found.first), height=200 + 52 * len(found.first_bins))
    return figure.update_xaxes(type="category").update_yaxes(type="category")


def parallel(axes: Sequence[Axis], scores: Sequence[float], winner: tuple[int, str] | None = None) -> go.Figure:
    """A line a trial over all axes, in three groups by score: the best tenth, the rest of the better half, the others.

    Above them, where there is a `winner`, its line by itself: its place among the scores, and its name.
    """
    ordered = sorted(range(len(scores)), key=lambda index: -scores[index])
    top, half = max(1, len(ordered) // 10), max(1, len(ordered) // 2)
    every = max(1, len(ordered) // MOST_CURVES)
    groups = (
        ("others", ordered[half:][::every], {"color": ORANGE, "dash": "dot", "width": 1}, 0.35),
        ("better half", ordered[top:half][::every], {"color": SKY, "dash": "dash", "width": 1}, 0.6),
        ("best tenth", ordered[:top], {"color": BLUE, "width": 2.2}, 1.0),
    )
    traces = [_through(axes, own, f"{name} ({len(own)})", line, opacity) for name, own, line, opacity in groups if own]
    if winner is not None:
        traces.append(_through(axes, [winner[0]], winner[1], {"color": BLACK, "width": 3.2}))
    figure = _figure(traces, "", "", height=480)
    for x, axis in enumerate(axes):
        figure.add_vline(x=x, line={"color": "#555555", "width": 1})
        for y, tick in _spread(axis.ticks):
            figure.add_annotation(
                x=x, y=y, text=_safe(tick), showarrow=False, bgcolor="rgba(255,255,255,0.85)", font={"size": 12, "color": BLACK}
            )
    figure.update_yaxes(showticklabels=False, range=[NOT_USED - 0.06, 1.06], showgrid=False)
    return figure.update_xaxes(
        tickvals=list(range(len(axes))),
        ticktext=[_folded(axis.path) for axis in axes],
        range=[-0.4, len(axes) - 0.6],
        showgrid=False,
        tickangle=-60 if len(axes) > 4 else 0,
    )


def _through(axes: Sequence[Axis], trials: Sequence[int], name: str, line: Mapping[str, Any], opacity: float = 1.0) -> go.Scatter:
    """Lines of some trials, by their places, over all axes."""
    return go.Scatter(
        x=_joined([range(len(axes))] * len(trials)),
        y=_joined([[round(axis.places[trial], 4) for axis in axes] for trial in trials]),
        mode="lines",
        name=_safe(name),
        line=dict(line),
        opacity=opacity,
        hoverinfo="skip",
    )


def slice_(found: Slice) -> go.Figure:
    """A parameter's values against the scores, over all that was searched."""
    domain = found.domain
    traces = []
    for ending, (colour, _, symbol) in ENDINGS.items():
        own = [point for point in found.points if point[3] == ending]
        own = own[:: max(1, len(own) // MOST_POINTS)]
        if own:
            words = isinstance(domain, Categorical)
            traces.append(
                go.Scatter(
                    x=[_safe(_word(value)) if words else value for _, value, _, _ in own],
                    y=[round(score, _DIGITS) for _, _, score, _ in own],
                    customdata=[trial for trial, _, _, _ in own],
                    mode="markers",
                    name=ending,
                    marker=_marker(colour, symbol, 7, opacity=0.75),
                    hovertemplate="trial %{customdata}<br>%{x}<br>score %{y:.4f}<extra></extra>",
                )
            )
    figure = _figure(traces, _safe(found.path), "score", height=300)
    if isinstance(domain, Categorical):
        names = [_safe(_word(choice)) for choice in domain.choices]
        return figure.update_xaxes(type="category", categoryorder="array", categoryarray=names, range=[-0.5, len(names) - 0.5])
    for bound in (domain.low, domain.high):
        figure.add_vline(x=bound, line={"color": BLACK, "width": 1.5, "dash": "dash"})
    return figure.update_xaxes(type="log", exponentformat="power") if domain.log else figure


def confusion(found: Confusion) -> go.Figure:
    """Counts by true label (row) and prediction (column), coloured by the share of the row."""
    shares = [[count / max(1, sum(row)) for count in row] for row in found.counts]
    names = [_safe(name) for name in found.names]
    heat = go.Heatmap(
        z=shares,
        x=names,
        y=names,
        text=[list(row) for row in found.counts],
        texttemplate="%{text}",
        colorscale=_HEAT,
        zmin=0,
        zmax=1,
        colorbar={"title": {"text": "share"}, "thickness": 12},
        hovertemplate="is %{y}, predicted %{x}: %{text}<extra></extra>",
        xgap=2,
        ygap=2,
    )
    figure = _figure([heat], "predicted", "true label", height=190 + 46 * len(names))
    return figure.update_xaxes(type="category").update_yaxes(type="category", autorange="reversed")


def scatter(found: Scatter) -> go.Figure:
    """Labels and predictions, with the line on which they agree."""
    points = found.points[:: max(1, len(found.points) // MOST_POINTS)]
    rows = go.Scatter(
        x=[label for label, _ in points],
        y=[round(value, 3) for _, value in points],
        mode="markers",
        name="a row each",
        marker=_marker(BLUE, "circle", 6, opacity=0.45),
        hovertemplate="label %{x}, predicted %{y:.2f}<extra></extra>",
    )
    ends = [found.low, found.high]
    right = go.Scatter(x=ends, y=ends, mode="lines", name="right", line={"color": VERMILLION, "dash": "dash"})
    return _figure([rows, right], "label", "predicted", height=440)


def conflicts(found: Sequence[ConflictCurve]) -> go.Figure:
    """A line a trial: how many of the pairs of tasks had gradients that conflict."""
    dashes, symbols = ("solid", "dash", "dot", "dashdot"), ("circle", "square", "diamond", "cross")
    colours = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY)
    traces = [
        go.Scatter(
            x=curve.budgets,
            y=[round(share, _DIGITS) for share in curve.shares],
            mode="lines+markers",
            name=f"trial {curve.trial}",
            line={"color": colours[place % 6], "dash": dashes[place // 6 % 4], "width": 1.6},
            marker=_marker(colours[place % 6], symbols[place // 6 % 4], 6),
            showlegend=len(found) <= 24,
            hovertemplate="trial " + str(curve.trial) + "<br>%{x:,} examples<br>%{y:.1%}<extra></extra>",
        )
        for place, curve in enumerate(found)
    ]
    return _figure(traces, "training examples", "pairs in conflict").update_yaxes(tickformat=".0%", rangemode="tozero")


def _figure(traces: Sequence[Any], x: str, y: str, *, height: int = 420, hovermode: str = "closest") -> go.Figure:
    axis = {"gridcolor": _GRID, "zeroline": False, "automargin": True, "linecolor": "#555555", "showline": True}
    return go.Figure(
        data=list(traces),
        layout={
            "template": "none",
            "height": height,
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "font": {"family": "system-ui, sans-serif", "size": 14, "color": "#111111"},
            "margin": {"l": 56, "r": 16, "t": 24, "b": 48},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "xaxis": {**axis, "title": {"text": x}},
            "yaxis": {**axis, "title": {"text": y}},
            "hovermode": hovermode,
            "dragmode": False,  # a finger that scrolls the page would draw a box
        },
    )


def _marker(colour: str, symbol: str, size: int, **more: Any) -> dict[str, Any]:
    return {"color": colour, "symbol": symbol, "size": size, **more}


def _joined(parts: Sequence[Sequence[Any]]) -> list[Any]:
    """All lines in one, with a gap behind each."""
    return [value for part in parts for value in (*part, None)]


def _spread(ticks: Sequence[tuple[float, str]], most: int = 12) -> Sequence[tuple[float, str]]:
    return ticks[:: max(1, -(-len(ticks) // most))]


def _folded(path: str) -> str:
    """A path in lines of its keys."""
    return "<br>".join(_safe(key) for key in path.split("."))


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _safe(text: str) -> str:
    """The library reads texts as a little HTML, links among it."""
    return escape(visible(text))
