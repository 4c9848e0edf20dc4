"""nipype: two nodes submitted at once, the second depending on the first."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

os.environ.setdefault("LOGNAME", "nobody")  # it looks there for the user's name

from nipype import Function, Node, Workflow
from nipype.utils.filemanip import loadpkl


def add(a: int, b: int) -> int:
    return a + b


def node(name: str) -> Any:
    return Node(Function(input_names=["a", "b"], output_names=["sum"], function=add), name=name)


first, second = node("first"), node("second")
first.inputs.a, first.inputs.b, second.inputs.b = 1, 2, 5
workflow = Workflow("sums", base_dir=os.getcwd())
workflow.connect(first, "sum", second, "a")
workflow.run("SLURMGraph", plugin_args={"dont_resubmit_completed_jobs": True})

end = time.monotonic() + 60
while subprocess.check_output(["squeue", "-h"]):
    assert time.monotonic() < end, "the nodes are still queued"
    time.sleep(0.2)
assert loadpkl("sums/second/result_second.pklz").outputs.sum == 8
print("CLIENT-OK")
