"""The sheet that a figure is drawn on: its size, its fonts, whether it has a title, and the places of legends.

What fits a screen beside the axes stands above them where the sheet is as narrow as a paper's column.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from warnings import catch_warnings, filterwarnings

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from ...errors import CostmodelError
from ...escapes import visible

#: Widths that have a name, in inches: a column and the text of a two-column paper (ACM's; IEEE's and ICML's are close).
WIDTHS = {"column": 3.33, "page": 7.0}
#: Inches in a unit; pt are TeX's, as in \columnwidth.
INCHES = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27}
LEAST, MOST = 1.5, 40.0  # inches
ALLOWED = (
    f"WIDTHxHEIGHT or a width, in {', '.join(INCHES)}, as in 3.3x2.4in or 84mm, from {LEAST:g} to {MOST:g} inches; "
    f"{', '.join(f'{name} ({width:g}in)' for name, width in WIDTHS.items())}"
)
SMALLEST = 0.4  # inches of axes in which anything can be seen
LOW = 3.4  # inches
NARROW = 5.6  # inches; below it, fonts are smaller and legends stand above the axes
NO_GLYPH = "Glyph .* missing from font"  # a name may be in any script; then a box stands for the letter
#: Settings that do not depend on the size. Text stays text that can be edited and searched; nothing depends on the day.
SETTINGS = {
    "font.family": "DejaVu Sans",
    "pdf.fonttype": 42,  # TrueType: publishers refuse Type 3
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "costmodel",
    "text.parse_math": False,  # a name may have dollar signs
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelsize": "medium",
    "xtick.labelsize": "small",
    "ytick.labelsize": "small",
    "legend.fontsize": "small",
    "legend.frameon": False,
    "legend.handlelength": 2.0,
    "hatch.linewidth": 0.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
}


class Sheet(NamedTuple):
    """Width and height of a figure in inches, its own where None; and whether it says above what it shows."""

    width: float | None = None
    height: float | None = None
    titled: bool = True

    @contextmanager
    def open(self, own: tuple[float, float], tall: float) -> Iterator[Figure]:
        """An empty figure, with the settings that hold while it is drawn.

        own: its own width and height; tall: height over width on a narrow sheet.
        """
        width = self.width or own[0]
        height = self.height or width * (tall if width < NARROW else own[1] / own[0])
        with matplotlib.rc_context({**SETTINGS, "font.size": 7.2 if width < NARROW else 9}), catch_warnings():
            filterwarnings("error", "constrained_layout not applied", UserWarning)
            filterwarnings("ignore", NO_GLYPH, UserWarning)
            figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
            FigureCanvasAgg(figure)
            try:
                yield figure
                figure.draw_without_rendering()
            except UserWarning:
                raise too_small(figure) from None
            figure.set_layout_engine("none")  # laid out once: all formats and copies are alike
            if any(min(axes.get_window_extent().size) < SMALLEST * figure.dpi for axes in figure.axes):
                raise too_small(figure)

    def title(self, figure: Figure, above: str, below: str = "") -> None:
        """Write what a figure shows above it, and in small letters below it how it was counted."""
        if self.titled:
            figure.suptitle(_wrapped(figure, above, 1.0))
            if below:
                figure.supxlabel(
                    _wrapped(figure, below, 0.8), fontsize=0.75 * matplotlib.rcParams["font.size"], color="#555555"
                )


SCREEN = Sheet()


def sheet_size(text: str) -> tuple[float, float | None]:
    """Inches of a size such as 3.3x2.4in, 84mm or column; the height is None where there is only a width."""
    if text in WIDTHS:
        return WIDTHS[text], None
    number = r"(\d{1,5}(?:\.\d{1,5})?)"
    match = re.fullmatch(rf"{number}\s*([a-z]+)?(?:\s*x\s*{number}\s*([a-z]+))?", text.strip())
    units = [unit for unit in (match[2], match[4]) if unit] if match else []
    if match and units and all(unit in INCHES for unit in units) and (match[2] or match[3]):
        width = float(match[1]) * INCHES[units[0]]
        height = float(match[3]) * INCHES[units[-1]] if match[3] else None
        if all(LEAST <= side <= MOST for side in (width, height) if side is not None):
            return width, height
    raise CostmodelError(f"figure-size is {text!r}; allowed: {ALLOWED}")


def too_small(figure: Figure) -> CostmodelError:
    """The error for a sheet on which letters would leave no room for what they are about."""
    width, height = figure.get_size_inches()
    return CostmodelError(f"figure of {width:.2f}x{height:.2f} inches has no room for its axes; allowed: a larger one")


def is_low(figure: Figure) -> bool:
    """Whether a figure is so low that it has room for one of two axes above each other."""
    return figure.get_figheight() < LOW


def is_narrow(figure: Figure) -> bool:
    """Whether a figure is as narrow as a paper's column."""
    return figure.get_figwidth() < NARROW


def legend(axes: Axes, handles: Sequence[Any]) -> None:
    """A legend of these handles beside the axes; where that would leave them too narrow, above them and their title."""
    figure = axes.get_figure()
    labels = [textwrap.fill(visible(handle.get_label()), 30, break_long_words=False) for handle in handles]
    if not is_narrow(figure):
        axes.legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return
    for columns in range(min(len(handles), 4), 0, -1):
        labels = [label.replace("\n", " ") if columns == 1 else label for label in labels]
        box = axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0.01, 1.0),
            bbox_transform=blended_transform_factory(figure.transFigure, axes.transAxes),
            ncols=columns,
            columnspacing=1.0,
            borderaxespad=2.0 if axes.get_title(loc="left") else 0.2,
            handletextpad=0.5,
        )
        if box.get_window_extent(figure.canvas.get_renderer()).width < 0.97 * figure.bbox.width:
            return


def _wrapped(figure: Figure, text: str, size: float) -> str:
    """A text in lines that are not wider than a figure. size: of its letters, relative to a title's."""
    letters = figure.get_figwidth() * 72 / (0.62 * size * 1.2 * matplotlib.rcParams["font.size"])
    return textwrap.fill(visible(text), int(letters), break_long_words=False)
