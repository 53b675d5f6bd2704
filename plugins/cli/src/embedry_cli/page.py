"""The page of a map: one HTML file with everything in it, drawn by Bokeh. Importing this needs Bokeh."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedry_cli.errors import MissingExtraError

try:
    from bokeh.core.properties import value
    from bokeh.embed import file_html
    from bokeh.layouts import column, row
    from bokeh.models.annotations import ColorBar, Legend, LegendItem
    from bokeh.models.callbacks import CustomJS
    from bokeh.models.filters import IndexFilter
    from bokeh.models.mappers import LinearColorMapper
    from bokeh.models.ranges import DataRange1d
    from bokeh.models.renderers import GlyphRenderer  # generic for type checkers only
    from bokeh.models.sources import CDSView, ColumnDataSource
    from bokeh.models.tools import HoverTool
    from bokeh.models.widgets import Div, TextInput
    from bokeh.plotting import figure
    from bokeh.resources import INLINE
except ImportError as error:
    raise MissingExtraError("a map needs Bokeh; try: pip install 'embedry-cli[map]'") from error

PALETTE = (
    "#4269d0", "#f2a900", "#e0483e", "#2f9e4f", "#9a5cf0", "#8a5a3c", "#18a5a0", "#f77fb0", "#f47b20",
    "#86b3f5", "#7a8b1e", "#8c1d5b", "#1f3b73", "#a5cf4c", "#c39be0", "#0b6b4f", "#c9a06a", "#56616d",
)  # fmt: skip
"""Colours of groups, distinguishable on white, the first ones best."""

REST = "#c4c8cd"
"""The colour of points that belong to no group."""

_LONGEST_NAME = 40
"""Characters of a name in the legend, which takes its width from the map."""

_FONT = "'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_INK = "#1f2430"

_STYLE = f":host {{ font-family: {_FONT}; color: {_INK}; }}"
_SEARCH_STYLE = f"""
input.bk-input {{ font: 15px {_FONT}; height: 38px; padding: 0 14px; border: 1.5px solid #9aa3b2; border-radius: 8px; }}
input.bk-input:focus {{ border-color: #4269d0; outline: 2px solid #4269d040; }}
"""

_CUT = "display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:{};overflow:hidden;overflow-wrap:anywhere"
"""The style of what is cut after so many lines."""

_SEARCH = """
const wanted = box.value_input.trim().toLowerCase();
const found = [];
if (wanted) source.data.text.forEach((text, index) => { if (text.toLowerCase().includes(wanted)) found.push(index); });
source.selected.indices = found;
const all = source.data.text.length.toLocaleString("en");
count.text = wanted ? `<b>${found.length.toLocaleString("en")}</b> of ${all} match` : "";
"""


class Groups(NamedTuple):
    """Points coloured by their group."""

    names: Sequence[str]
    """At most as many as `PALETTE` has colours."""
    labels: NDArray[np.intp]
    """The position of each point's name; -1 for none."""
    written: bool
    """Whether the names stand on the map too."""
    rest: str
    """The label of the points without a name."""


class Scale(NamedTuple):
    """Points coloured by a number."""

    name: str
    values: NDArray[np.float64]
    """One a point; nan for none."""


def html(
    title: str,
    facts: str,
    points: NDArray[np.float32],
    texts: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    colours: Groups | Scale,
) -> str:
    """The page.

    Args:
        title: stands above the map.
        facts: one line below the title.
        points: float32 (n, 2).
        texts: n, shown when a point is hovered over, and searched.
        columns: what else is shown of each point, n values by the column's name.
        colours: of n points.
    """
    data: dict[str, Any] = {"x": points[:, 0], "y": points[:, 1], "text": list(texts)}
    data |= {f"column{number}": list(values) for number, values in enumerate(columns.values())}
    source = ColumnDataSource(data, name="texts")
    plot = figure(
        x_range=DataRange1d(range_padding=0.04), y_range=DataRange1d(range_padding=0.04),
        sizing_mode="stretch_both", match_aspect=True, output_backend="webgl", tools="pan,wheel_zoom,box_zoom,reset",
        active_scroll="wheel_zoom", toolbar_location="above", outline_line_color=None, background_fill_color="#fbfbfc",
    )  # fmt: skip
    plot.axis.visible = False  # only distances mean something, not the axes
    plot.grid.visible = False
    plot.toolbar.logo = None
    drawn = _grouped(plot, source, colours) if isinstance(colours, Groups) else _scaled(plot, source, colours)
    plot.add_tools(
        HoverTool(renderers=[*drawn], tooltips=_tooltip(list(columns)), limit=3, point_policy="follow_mouse")
    )
    return file_html(
        column(_head(title, facts, source), plot, sizing_mode="stretch_both", margin=12, spacing=4), INLINE, title
    )


def _head(title: str, facts: str, source: ColumnDataSource) -> Any:
    heading = (
        f'<div style="font-size:22px;font-weight:650">{escape(title)}</div>'
        f'<div style="color:#5b6472">{escape(facts)}</div>'
    )
    box = TextInput(
        placeholder="Search the texts", width=320, stylesheets=[_STYLE, _SEARCH_STYLE], margin=(8, 10, 0, 10)
    )
    count = Div(text="", width=170, stylesheets=[_STYLE], styles={"font-size": "14px"}, margin=(17, 5, 0, 5))
    box.js_on_change("value_input", CustomJS(args={"source": source, "count": count, "box": box}, code=_SEARCH))
    name = Div(text=heading, disable_math=True, sizing_mode="stretch_width", stylesheets=[_STYLE])
    return row(name, count, box, sizing_mode="stretch_width")


def _grouped(plot: figure, source: ColumnDataSource, groups: Groups) -> "list[GlyphRenderer[Any]]":
    shown = [*zip(range(len(groups.names)), groups.names, PALETTE, strict=False)]
    if (groups.labels == -1).any():
        shown.insert(0, (-1, groups.rest, REST))  # drawn first, below the others
    items = []
    drawn: list[GlyphRenderer[Any]] = []
    for label, name, colour in shown:
        members = np.flatnonzero(groups.labels == label)
        dots = _dots(plot, source, members, colour)
        renderers = [dots]
        if groups.written and label >= 0:
            renderers += _written(plot, *_middle(source, members), ", ".join(name.split(", ")[:2]))
        drawn.append(dots)
        items.append(LegendItem(label=f"{_short(name)}  ({len(members):,})", renderers=renderers))
    legend = Legend(
        items=items[1:] + items[:1] if shown[0][0] == -1 else items, click_policy="hide", border_line_color=None,
        label_text_font=_FONT, label_text_font_size="13px", label_text_color=_INK, glyph_width=24, glyph_height=24,
        spacing=0, background_fill_color=None,
    )  # fmt: skip
    plot.add_layout(legend, "right")
    return drawn


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _middle(source: ColumnDataSource, members: NDArray[np.intp]) -> tuple[float, float]:
    """The point nearest to the middle of these, which for a cluster in pieces may lie between them."""
    points = np.column_stack([np.asarray(source.data[axis])[members] for axis in "xy"])
    x, y = points[np.linalg.norm(points - np.median(points, axis=0), axis=1).argmin()].tolist()
    return x, y


def _written(plot: figure, x: float, y: float, name: str) -> "list[GlyphRenderer[Any]]":
    """A name on the map: first the halo, then the letters, because an outline is drawn over its own letters."""
    look: dict[str, Any] = {
        "text_align": "center", "text_baseline": "middle", "text_font": value(_FONT), "text_font_size": "14px",
        "text_font_style": "bold", "text_color": _INK, "level": "overlay",
    }  # fmt: skip
    return [
        plot.text([x], [y], [name], **look | {"text_outline_color": "white", "text_outline_width": 4}),
        plot.text([x], [y], [name], **look),
    ]


def _scaled(plot: figure, source: ColumnDataSource, scale: Scale) -> "list[GlyphRenderer[Any]]":
    source.data["number"] = scale.values
    low, high = np.nanpercentile(scale.values, (1, 99)).tolist()  # so that a few extremes do not take all colours
    mapper = LinearColorMapper(palette="Viridis256", low=low, high=high, nan_color=REST)
    plot.add_layout(
        ColorBar(color_mapper=mapper, title=scale.name, title_text_font=_FONT, major_label_text_font=_FONT), "right"
    )
    return [_dots(plot, source, np.arange(len(scale.values)), {"field": "number", "transform": mapper})]


def _dots(plot: figure, source: ColumnDataSource, members: NDArray[np.intp], colour: Any) -> "GlyphRenderer[Any]":
    count = len(source.data["text"])
    size = float(np.clip(500 / count**0.5, 3.5, 11))  # pixels: many points stay apart, few are easy to hit
    return plot.scatter(
        "x", "y", source=source, view=CDSView(filter=IndexFilter(indices=members.tolist())), size=size, color=colour,
        line_color=None, fill_alpha=0.6 if count > 2000 else 0.8, selection_fill_alpha=1.0, nonselection_fill_alpha=0.06,
    )  # fmt: skip


def _tooltip(columns: Sequence[str]) -> str:
    """The template of what hovering shows. Bokeh puts values in as text; names become part of the template."""
    lines = "".join(
        f'<div style="{_CUT.format(3)};color:#5b6472"><b>{_literal(name)}</b> @column{number}</div>'
        for number, name in enumerate(columns)
    )
    return (
        f'<div style="width:380px;font:13px/1.4 {_FONT};color:{_INK};padding:4px 2px">'
        f'<div style="{_CUT.format(9)};white-space:pre-line">@text</div>{lines}</div>'
    )


def _literal(name: str) -> str:
    return escape(name).replace("@", "&#64;").replace("$", "&#36;")
