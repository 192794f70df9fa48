"""A page that is one file: sections of text, tables and figures, with the drawing library in it once.

It opens from disk and asks the network for nothing: its policy forbids that, and lets no script run but the two that it names by
their sums.  All text is escaped here.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tuner.console import visible
from tuner.tables import Column

MARK = "tritune-search"
"""Name of the `meta` that says which search a page is of."""
_CSS = """
:root { font-size: 100%; }
* { box-sizing: border-box; }
body { margin: 0; color: #111; background: #fff; font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
header, main, footer { max-width: 72rem; margin: 0 auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 1.5rem 0 .5rem; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .25rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
nav { position: sticky; top: 0; z-index: 10; background: #fff; border-bottom: 1px solid #767676; }
nav ul { max-width: 72rem; margin: 0 auto; padding: .25rem 1rem; list-style: none;
  display: flex; flex-wrap: wrap; gap: 0 1rem; }
nav li { flex: none; }
nav a { display: inline-block; padding: .3rem 0; }
a { color: #00508a; }
a:focus-visible, .table:focus-visible { outline: 3px solid #d55e00; outline-offset: 2px; }
section { padding: 1.5rem 0; border-bottom: 1px solid #d9d9d9; scroll-margin-top: 5.5rem; }
section > p { max-width: 46rem; margin: .25rem 0 .75rem; }
.claim { font-size: 1.2rem; border-left: .4rem solid #0072b2; padding-left: .75rem; }
.empty { color: #444; font-style: italic; }
.figures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.wide { grid-template-columns: minmax(0, 1fr); }
.scroll { min-width: 0; overflow-x: auto; }
.figure { width: 100%; }
.broad { min-width: 44rem; }
.table { overflow: auto; width: fit-content; max-width: 100%; max-height: 36rem; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
caption span { position: sticky; left: 0; display: inline-block; max-width: calc(100vw - 4rem); }
th, td { padding: .25rem .6rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e5e5e5; }
th { position: sticky; top: 0; background: #fff; box-shadow: 0 2px #555; vertical-align: bottom; }
.n { text-align: right; }
td.n { white-space: nowrap; }
.words td { min-width: 6rem; overflow-wrap: anywhere; }
.words td:first-child { min-width: 0; overflow-wrap: normal; }
.long { min-width: 14rem; max-width: 40rem; overflow-wrap: anywhere; }
@media (max-width: 60rem) { nav ul { flex-wrap: nowrap; overflow-x: auto; } section { scroll-margin-top: 3.5rem; } }
@media print { nav { position: static; } .table { max-height: none; } .figure { break-inside: avoid; } }
"""
_BETWEEN_KEYS = re.compile(r"(?<=\w[._])(?=[^\W\d]|[*])")
"""Where a name may be broken on a narrow screen, as between the keys of a path."""
_DRAW = """
document.querySelectorAll("script[data-figure]").forEach(function (source) {
  var figure = JSON.parse(source.textContent);
  var config = { displaylogo: false, displayModeBar: false };
  var place = document.getElementById(source.dataset.figure);
  Plotly.newPlot(place, figure.data, figure.layout, config);
  new ResizeObserver(function () { Plotly.Plots.resize(place); }).observe(place);
});
"""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `style` is a class of the page: `claim`, `empty` or none."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Link:
    """A cell's text and the file, beside the page, that it leads to."""

    text: str
    target: str


@dataclass(frozen=True)
class TablePart:
    """A table.

    Attributes:
        columns: names and cells.
        caption: what it shows; empty: the section says so.
        links: of each row; a last column, where there are any.
    """

    columns: Sequence[Column]
    caption: str = ""
    links: Sequence[Sequence[Link]] = ()


@dataclass(frozen=True)
class Drawing:
    """A figure.

    Attributes:
        json: its data and layout.
        label: what it shows, for whoever cannot see it.
        is_broad: it scrolls by itself where there is too little room for it.
    """

    json: str
    label: str
    is_broad: bool = False


@dataclass(frozen=True)
class Figures:
    """Figures side by side where there is room; `is_wide`: one below the other."""

    drawings: Sequence[Drawing]
    is_wide: bool = True


SectionPart = Paragraph | TablePart | Figures


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: its anchor.
        title: its heading.
        sentence: what it shows.
        parts: what stands below; where there is nothing, one of them says why.
    """

    key: str
    title: str
    sentence: str
    parts: Sequence[SectionPart]


def page(title: str, search: str, sections: Sequence[Section], library: str) -> str:
    """The whole page.

    Args:
        title: its heading.
        search: name of the search in its ledger, so that a later page knows what it replaces.
        sections: in their order.
        library: the drawing library's script.
    """
    library = library.replace("</script", "<\\/script")
    figures = _Numbered()
    body = "\n".join(_section(section, figures) for section in sections)
    contents = "".join(f'<li><a href="#{_text(s.key)}">{_text(s.title)}</a></li>' for s in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_policy(library, _DRAW)}">
<meta name="{MARK}" content="{_text(search)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title>
<style>{_CSS}</style>
</head>
<body>
<header><h1>{_text(title)}</h1></header>
<nav aria-label="Contents"><ul>{contents}</ul></nav>
<main>
<noscript><p class="empty">Figures are drawn by a script in this page, which this browser does not run; texts and tables are \
all here.</p></noscript>
{body}
</main>
<script>{library}</script>
<script>{_DRAW}</script>
</body>
</html>
"""


class _Numbered:
    """Gives each figure a name of its own."""

    def __init__(self) -> None:
        self._count = 0

    def next(self) -> str:
        self._count += 1
        return f"figure-{self._count}"


def _policy(*scripts: str) -> str:
    """No network, no frames, no forms, no code but these scripts; images that the library makes of its own figures."""
    sums = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in sums)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "connect-src 'none'; base-uri 'none'; form-action 'none'"
    )


def _section(section: Section, figures: _Numbered) -> str:
    parts = "\n".join(_part(part, figures) for part in section.parts)
    key = _text(section.key)
    return (
        f'<section id="{key}" aria-labelledby="{key}-title">\n<h2 id="{key}-title">{_text(section.title)}</h2>\n'
        f"<p>{_text(section.sentence)}</p>\n{parts}\n</section>"
    )


def _part(part: SectionPart, figures: _Numbered) -> str:
    if isinstance(part, Paragraph):
        return f'<p class="{part.style}">{_text(part.text)}</p>' if part.style else f"<p>{_text(part.text)}</p>"
    if isinstance(part, TablePart):
        return _table(part)
    inner = "".join(_drawing(drawing, figures.next()) for drawing in part.drawings)
    return f'<div class="figures{" wide" if part.is_wide else ""}">{inner}</div>'


def _drawing(drawing: Drawing, name: str) -> str:
    data = drawing.json.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    broad = " broad" if drawing.is_broad else ""
    return (
        f'<div class="scroll"><div class="figure{broad}" id="{name}" role="img" aria-label="{_text(drawing.label)}"></div></div>'
        f'<script type="application/json" data-figure="{name}">{data}</script>'
    )


def _table(table: TablePart) -> str:
    heads = [(column.name, "n" if column.is_number else "") for column in table.columns]
    heads += [("files", "")] if any(table.links) else []
    head = "".join(f'<th scope="col"{_class(style)}>{_text(name)}</th>' for name, style in heads)
    lines = []
    for place, cells in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        styles = ("n" if c.is_number else "long" if len(cell) > 60 else "" for c, cell in zip(table.columns, cells, strict=True))
        texts = [_BETWEEN_KEYS.sub("<wbr>", _text(cells[0])), *map(_text, cells[1:])]
        row = "".join(f"<td{_class(style)}>{text}</td>" for text, style in zip(texts, styles, strict=True))
        links = table.links[place] if table.links else ()
        linked = " ".join(f'<a href="{_text(link.target)}">{_text(link.text)}</a>' for link in links)
        lines.append(f"<tr>{row}{f'<td>{linked}</td>' if any(table.links) else ''}</tr>")
    caption = f"<caption><span>{_text(table.caption)}</span></caption>" if table.caption else ""
    style = _class("" if any(column.is_number for column in table.columns) else "words")
    label = _text(table.caption or "table")
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{label}">'
        f"<table{style}>{caption}<thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _class(style: str) -> str:
    return f' class="{style}"' if style else ""


def _text(text: str) -> str:
    return escape(visible(text))
