"""slurm2sql: jobs of several kinds, and what sacct says of them in a database."""

from __future__ import annotations

import sqlite3
import subprocess


def sbatch(*words: str) -> str:
    argv = ["sbatch", "--parsable", "-o", "/dev/null", *words]
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True).stdout.strip()


one = sbatch("-W", "--mem=200M", "-c", "2", "-t", "10", "-J", "a | b", "--wrap", "exit 3")
array = sbatch("-W", "-a", "1-2", "--mem-per-cpu=100M", "--wrap", "srun true")
held = sbatch("-H", "--wrap", "true")
subprocess.run(["slurm2sql", "books.sqlite", "--", "-S", "now-1hour"], check=True)

books = sqlite3.connect("books.sqlite")
books.row_factory = sqlite3.Row
rows = {row["JobID"]: row for row in books.execute("select * from slurm")}
assert [id for id in rows if "." not in id] == [one, f"{array}_1", f"{array}_2", held]
first = rows[one]
assert (first["JobName"], first["State"], first["ExitCode"]) == ("a | b", "FAILED", 3)
assert (first["NCPUS"], first["Timelimit"], first["ReqMem"]) == (2, 600, 200 * 2**20)
assert rows[f"{one}.batch"]["MaxRSS"] > 2**16
assert rows[f"{array}_2.0"]["JobName"] == "true"
assert rows[f"{array}_2"]["ArrayTaskID"] == 2
assert (rows[held]["State"], rows[held]["Start"]) == ("PENDING", None)
print("CLIENT-OK")
