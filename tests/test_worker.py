"""What a warm worker runs, where nothing of this package is; see `test_executor` for the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cluster import runner
from cluster._warm_workers import call_of_worker

_LOAD = """
import importlib.util, sys
sys.modules["cluster"] = None  # from here on it cannot be imported
spec = importlib.util.spec_from_file_location("alone", sys.argv[1])
alone = sys.modules["alone"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(alone)
function, args, kwargs = alone.load_call(sys.argv[2])
try:
    function(*args, **kwargs)
finally:
    print(function.__module__, function.__qualname__, args[1:], sorted(kwargs))
"""


def test_a_worker_needs_nothing_of_this_package_and_leaves_when_its_executor_has_gone(
    tmp_path: Path,
) -> None:
    made = call_of_worker(str(tmp_path / "no socket"), b"token", 0, ())
    made.write(str(tmp_path / "call"))

    seen = subprocess.run(
        [sys.executable, "-c", _LOAD, str(runner.__file__), str(tmp_path / "call")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (seen.stderr, seen.returncode) == ("", 0)
    assert seen.stdout == "cluster.executor worker (b'token', 0, ()) []\n"
    assert made.calls == "cluster.executor.worker"
