"""Writing figures to files: checked before the work, whole or not at all, and the same bytes every time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple
from warnings import catch_warnings, filterwarnings

import matplotlib
from matplotlib.figure import Figure

from ...errors import CostmodelError
from ...files.whole import check_free, write_all
from .sheet import NO_GLYPH, SETTINGS, Sheet, sheet_size

SUFFIXES = (".png", ".svg", ".pdf")
#: What each format would say of the time at which it was written.
UNDATED = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


class FigureFile(NamedTuple):
    """A file that will hold a figure, and the sheet that the figure is drawn on."""

    path: Path
    sheet: Sheet
    force: bool = True  # whether to replace files that are there

    def save(self, figure: Figure, beside: dict[Path, str] | None = None) -> None:
        """Write a figure, and beside it other files: all of them or none. Raises CostmodelError if writing fails."""
        texts = {path: text.encode() for path, text in (beside or {}).items()}
        write_all({self.path: drawn(figure, self.path.suffix), **texts}, "figure", force=self.force)


def figure_file(path: str, size: str | None, titled: bool, force: bool) -> FigureFile:
    """The file that is asked for.

    size: as people write it. force: whether to replace a file that is there. Raises CostmodelError if a figure of this
    type or size cannot be drawn, or if the file cannot or must not be written.
    """
    check_figure(path)
    width, height = (None, None) if size is None else sheet_size(size)
    target = Path(path)
    check_free(target, force)
    write_all({target: b""}, "figure", really=False)
    return FigureFile(target, Sheet(width, height, titled), force)


def check_figure(path: str) -> None:
    """Raise CostmodelError unless a figure's name ends in one of SUFFIXES."""
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise CostmodelError(f"figure {path!r}: found the type {suffix!r}; allowed: {', '.join(SUFFIXES)}")


def save(figure: Figure, path: str) -> None:
    """Write a figure to a file in the format of its suffix. Raises CostmodelError if none is, or if writing fails."""
    check_figure(path)
    write_all({Path(path): drawn(figure, Path(path).suffix)}, "figure")


def drawn(figure: Figure, suffix: str) -> bytes:
    """A figure in the format of a suffix. Equal figures give equal bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(SETTINGS), catch_warnings():
        filterwarnings("ignore", NO_GLYPH, UserWarning)
        figure.savefig(buffer, format=suffix[1:], metadata=UNDATED[suffix])
    return buffer.getvalue()
