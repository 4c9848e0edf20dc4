"""The program `cluster`, also `python -m cluster`.

The verbs and the exit codes are in `cluster.cli.app`.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from cluster.cli.app import run

    sys.exit(run())


if __name__ == "__main__":
    main()
