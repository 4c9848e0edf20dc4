"""The cases of slurm.cases, on a real Slurm and on its emulation.

    python tests/clusters/differential_slurm.py [WORD...]

shows how the cases differ whose names have a WORD in them.  SLURM_CONF names the real one; see
`tests/clusters/slurm env`.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import side_by_side
from side_by_side import Place

__all__ = ["CASES", "emulated_place", "real_place"]

HERE = Path(__file__).resolve().parent
CASES = side_by_side.read(HERE / "slurm.cases")
PRELUDE = (HERE / "slurm.bash").read_text(encoding="utf-8")
MANY = 1400  # ids that a run may take; few, for other numbers are not to be taken for ids
FIRST = 60_000  # and the emulation begins where there are no other numbers
_OTHERS = re.compile(r"(SLURM_(?!CONF)|SBATCH_|SQUEUE_|SINFO_|SACCT_)")


@contextlib.contextmanager
def real_place() -> Iterator[Place]:
    """The Slurm that answers here."""
    env = _plain(os.environ)
    with tempfile.TemporaryDirectory(prefix="real-") as folder:
        submit = ["sbatch", "--parsable", "-H", "--wrap", "true"]
        said = subprocess.check_output(submit, env=env, text=True, cwd=folder).strip()
        subprocess.run(["scancel", said], env=env, check=True)
        yield Place(
            env=env,
            folder=Path(folder),
            first_id=int(said),
            many=MANY,
            prelude=PRELUDE,
            blur=[
                (r"\S*/job\d+/slurm_script", "<spool>/slurm_script"),
                (r"(?<=CLUSTER_NAME=)test", "<cluster>"),
            ],
        )


@contextlib.contextmanager
def emulated_place() -> Iterator[Place]:
    """One that looks like the real one, strictly."""
    from cluster.emulation import emulate

    partitions = ("debug:cores=8:memory=16000M", "short:cores=8:memory=16000M:time=10m")
    with (
        tempfile.TemporaryDirectory(prefix="emulated-") as folder,
        emulate("slurm", cores=8, memory="16000M", partitions=partitions, strict=True) as env,
    ):
        _use_up_ids(env["CLUSTER_STATE_DIR"], FIRST)
        yield Place(
            env=_plain(env),
            folder=Path(folder),
            first_id=FIRST,
            prelude=PRELUDE,
            blur=[
                (r"\S*/slurm_script", "<spool>/slurm_script"),
                (r"(?<=CLUSTER_NAME=)cluster", "<cluster>"),
            ],
            at_once=3,
        )


def _use_up_ids(state_dir: str, number: int) -> None:
    from cluster.emulation.machine import Extra, Machine
    from cluster.spec import ArraySpec, Launch

    machine = Machine(state_dir, "before")
    spec = {"name": "ids", "hold": True, "array": ArraySpec(1, number)}
    machine.act("cancel", [machine.submit(Launch(argv=(b"true",)), spec, Extra(), {}, clamp=True)])


def _plain(env: Mapping[str, str]) -> dict[str, str]:
    """Leave out what an outer job or the user's habits put into the environment."""
    return {name: value for name, value in env.items() if not _OTHERS.match(name)}


def main(words: Sequence[str]) -> int:
    """Run the cases that are named, and show how they part."""
    cases = [case for case in CASES if not words or any(word in case.name for word in words)]
    with real_place() as place:
        real = side_by_side.run_all(cases, place)
    with emulated_place() as place:
        emulated = side_by_side.run_all(cases, place)
    results = side_by_side.compare(cases, real, emulated)
    for result in results:
        if result.verdict != "same":
            print(f"=== {result.case.name} [{result.verdict}] {result.case.differs}")
            print(f"{result.case.text}\n{result.diff()}\n")
    print(side_by_side.counts(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
