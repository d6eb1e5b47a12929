"""The graph as a real module, and what a real step of it costs. Needs torch (`pip install costmodel[torch]`)."""

from .measure import Measurement, measure
from .realize import realize

__all__ = ["Measurement", "measure", "realize"]
