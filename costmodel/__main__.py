"""`python -m costmodel`, and what the command `costmodel` runs."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. An interruption while it is imported ends as one later does."""
    try:
        from .cli import main as command
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    command(prog_name="costmodel")


if __name__ == "__main__":
    main()
