"""nipype: two nodes, one after the other, through a plug-in for a scheduler."""

from __future__ import annotations

import os
import sys
from typing import Any

os.environ.setdefault("LOGNAME", "nobody")  # it looks there for the user's name

from nipype import Function, Node, Workflow

PLUGIN = sys.argv[1]  # SLURM, SGE, PBS, LSF


def add(a: int, b: int) -> int:
    return a + b


def node(name: str) -> Any:
    return Node(Function(input_names=["a", "b"], output_names=["sum"], function=add), name=name)


first, second = node("first"), node("second")
first.inputs.a, first.inputs.b, second.inputs.b = 1, 2, 5
workflow = Workflow("sums", base_dir=os.getcwd())
workflow.connect(first, "sum", second, "a")
workflow.config["execution"] = {
    "poll_sleep_duration": 1, "job_finished_timeout": 10, "crashdump_dir": os.getcwd()
}  # fmt: skip
ran = workflow.run(PLUGIN)
assert [each.result.outputs.sum for each in ran.nodes() if each.name == "second"] == [8]
print("CLIENT-OK")
