"""Helpers: functions that submit themselves, data frames and files in pieces."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import cluster
from cluster.helpers import parapply, splitrun
from cluster.testing import work
from cluster.testing.contract.site import Site

__all__ = [
    "test_a_decorated_function_submits_itself",
    "test_a_file_is_run_in_pieces_and_put_together_with_one_header",
    "test_a_piece_of_a_file_that_fails_is_told_and_kept",
    "test_rows_of_a_data_frame_are_applied_in_pieces",
]


def test_a_decorated_function_submits_itself(site: Site) -> None:
    submitting = cluster.function(name="decorated", **site.words())(work.add)

    job = submitting(2, b=3)
    site.jobs.append(job)

    assert job.get(site.patience_s) == 5
    assert (job.name, submitting.__wrapped__(2, 3)) == ("decorated", 5)


def _words(site: Site) -> dict[str, Any]:
    """The keywords of jobs whose files are where their pieces are."""
    words = site.words()
    del words["filedir"]
    return words


def test_a_file_is_run_in_pieces_and_put_together_with_one_header(site: Site) -> None:
    infile = site.folder / f"split-{os.urandom(4).hex()}"
    infile.write_text("word number\n" + "".join(f"line {n}\n" for n in range(9)))
    command = "head -n 1 {file}; tail -n +2 {file} | tr a-z A-Z"

    path = splitrun(
        infile, command, 2, header=True, outfile=f"{infile}.out", folder=site.folder,
        timeout=site.patience_s, **_words(site),
    )  # fmt: skip

    assert Path(path).read_text() == "word number\n" + "".join(f"LINE {n}\n" for n in range(9))
    assert list(site.folder.glob(".splitrun-*")) == []


def test_a_piece_of_a_file_that_fails_is_told_and_kept(site: Site) -> None:
    infile = site.folder / f"split-{os.urandom(4).hex()}"
    infile.write_text("one\ntwo\n")
    folder = site.folder / "kept"
    folder.mkdir()

    with pytest.raises(cluster.JobFailed, match=r"exit code 3; its piece is kept in (\S+)"):
        splitrun(
            infile, "cat {file} >&2; exit 3", 1, folder=folder, timeout=site.patience_s,
            **_words(site),
        )  # fmt: skip

    (piece,) = folder.glob(".splitrun-*/piece-0001")
    assert piece.read_text() == "one\ntwo\n"


def test_rows_of_a_data_frame_are_applied_in_pieces(site: Site) -> None:
    pandas = pytest.importorskip(
        "pandas", reason="parapply needs pandas, which is not installed here (extra `data`)"
    )
    frame = pandas.DataFrame({"a": range(5), "b": range(10, 15)})

    found = parapply(
        frame, lambda row: row.a * row.b, pieces=2, timeout=site.patience_s, **site.words()
    )

    assert list(found) == [0, 11, 24, 39, 56]
