"""Draw the curves of `scale.py`: one plot, each curve over n, both axes logarithmic.

    .venvs/plot/bin/python plot.py SCALE.json PLOT.svg

It is the one part of the benchmarks that needs matplotlib (requirements.txt).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

TITLES = {"s": "seconds", "MiB": "MiB of the server", "us": "one decision, us", "ms": "ms"}


def main() -> None:
    """Draw."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    found = json.loads(source.read_text())
    units = list(dict.fromkeys(found["units"].values()))
    mpl.rcParams["svg.fonttype"] = "none"  # letters as letters: a third of the size
    mpl.rcParams["svg.hashsalt"] = "cluster"  # the same figures give the same file
    figure, axes = plt.subplots(1, len(units), figsize=(5 * len(units), 6), layout="constrained")
    for axis, unit in zip(axes, units, strict=True):
        for number, (what, points) in enumerate(found["points"].items()):
            if found["units"][what] == unit:
                line = "-o" if number % 2 else "--s"
                axis.loglog([int(n) for n in points], list(points.values()), line, label=what)
        axis.set(title=TITLES[unit], xlabel="n")
        axis.grid(visible=True, alpha=0.3)
        axis.legend(fontsize="x-small")
    figure.suptitle(f"{found['machine']['date']}, {found['machine']['cores']} cores")
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
