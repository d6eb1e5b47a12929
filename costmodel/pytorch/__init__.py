"""Makes a real module of the graph, and measures a real step of it. Needs torch and fvcore."""

import os

# kineto reports the start and end of every profile on stderr; it reads its log level when torch is imported.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")

from .frugal import Frugal, frugal  # noqa: E402
from .measure import Measurement, measure  # noqa: E402
from .realize import realize  # noqa: E402
from .watching import Watch, watch  # noqa: E402

__all__ = ["Frugal", "Measurement", "Watch", "frugal", "measure", "realize", "watch"]
