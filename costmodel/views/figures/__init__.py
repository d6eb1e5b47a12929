"""Figures, drawn by matplotlib: a file for each, over a common style."""

from .pareto import pareto_figure
from .plan import plan_figure
from .step import step_figure
from .style import save

__all__ = ["pareto_figure", "plan_figure", "save", "step_figure"]
