"""Run histories of the queue in memory.

One that failed, again:   .venv/bin/python tests/simulation/simulate.py --seed 17 --trace
Many:                     .venv/bin/python tests/simulation/simulate.py --seeds 5000
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter

from sim_world import World


def main() -> int:
    """Run by hand."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--trace", action="store_true", help="show each step")
    args = parser.parse_args()
    seeds = range(args.first, args.first + args.seeds) if args.seed is None else [args.seed]
    counts: Counter[str] = Counter()
    failed = 0
    began = time.monotonic()
    for seed in seeds:
        world = World(seed, trace=args.trace)
        faults = world.run(args.steps)
        counts += world.counts + Counter(
            commits=world.judge.commits,
            jobs=len(world.judge._ids),
            started=len(world.machine.begun),
        )
        if world.trace is not None:
            print("\n".join(world.trace))
        failed += bool(faults)
        for text in faults:
            print(f"seed {seed}: {text}")
    seconds = round(time.monotonic() - began, 1)
    print(json.dumps({"seeds": len(seeds), "failed": failed, "seconds": seconds, **counts}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
