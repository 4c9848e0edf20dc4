"""hydra: a sweep over three values, each a job by its submitit launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hydra

SWEEP = [
    "--multirun", "hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=5",
    "hydra.launcher.mem_gb=1", "hydra.launcher.cpus_per_task=1", "hydra.sweep.dir=out", "+x=1,2,3",
]  # fmt: skip


@hydra.main(version_base=None, config_path=None)
def app(config: Any) -> float:
    folder = hydra.core.hydra_config.HydraConfig.get().runtime.output_dir
    Path(folder, "said").write_text(f"{config.x} {os.environ['SLURM_ARRAY_JOB_ID']}")
    return float(config.x)


def main() -> None:
    subprocess.run([sys.executable, __file__, *SWEEP], check=True)
    assert [Path("out", name, "said").read_text() for name in "012"] == ["1 1", "2 1", "3 1"]
    print("CLIENT-OK")


if __name__ == "__main__":
    app() if len(sys.argv) > 1 else main()
