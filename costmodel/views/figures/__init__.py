"""Figures, drawn by matplotlib: a file for each, over a common style."""

from .compare import compare_figure
from .file import save
from .fit import fit_figure
from .pareto import pareto_figure
from .plan import plan_figure
from .sheet import Sheet
from .step import step_figure
from .sweep import sweep_figure

__all__ = [
    "Sheet", "compare_figure", "fit_figure", "pareto_figure", "plan_figure", "save", "step_figure", "sweep_figure",
]  # fmt: skip
