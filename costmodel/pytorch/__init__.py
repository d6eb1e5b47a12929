"""The graph as a real module, and what a real step of it costs. Needs torch (`pip install costmodel[torch]`)."""

import os

# kineto tells on stderr of every profile that begins and ends; it reads its log level when torch is imported.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

from .measure import Measurement, measure  # noqa: E402
from .realize import realize  # noqa: E402

__all__ = ["Measurement", "measure", "realize"]
