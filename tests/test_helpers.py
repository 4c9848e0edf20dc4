"""Data frames and files in pieces, and telling people how a job ended."""

from __future__ import annotations

import os
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cluster
from cluster import config_file
from cluster._option_directives import is_address
from cluster.errors import ConfigError, JobFailed, OptionsError
from cluster.helpers import parapply, split_file, splitrun

pandas = pytest.importorskip("pandas")  # of the extra `test`

LIMIT_S = 60.0  # only waited for when a test fails


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here's a dir"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


# ---------------------------------------------------------------- data frames


FRAME = {"a": range(10), "b": range(10, 20)}


@pytest.mark.slow
def test_rows_are_applied_in_pieces_and_come_back_in_order(state_dir: Path) -> None:
    frame = pandas.DataFrame(FRAME, index=list("jihgfedcba"))

    found = parapply(frame, lambda row, n, by: row.a + row.b * n + by, (2,), {"by": 1}, pieces=3)

    wanted = frame.apply(lambda row: row.a + row.b * 2 + 1, axis=1)
    pandas.testing.assert_series_equal(found, wanted)
    assert [job.name for job in cluster.Queue().jobs] == ["parapply <lambda>"] * 3


@pytest.mark.slow
def test_a_function_that_gives_rows_gives_a_frame(state_dir: Path) -> None:
    frame = pandas.DataFrame(FRAME)

    found = parapply(frame, lambda row: row * 2, pieces=2)

    pandas.testing.assert_frame_equal(found, frame * 2)


@pytest.mark.slow
def test_values_of_a_series_are_applied_one_by_one(state_dir: Path) -> None:
    found = parapply(pandas.Series([1, 2, 3]), lambda value: value**2, pieces=99)

    assert list(found) == [1, 4, 9]


@pytest.mark.slow
def test_pieces_are_given_whole_and_their_results_listed(state_dir: Path) -> None:
    found = parapply(
        pandas.DataFrame(FRAME), lambda piece: int(piece.a.sum()), pieces=2, by="piece"
    )

    assert found == [10, 35]


@pytest.mark.slow
def test_what_the_function_raised_is_raised(state_dir: Path) -> None:
    def fail(row: object) -> None:
        raise LookupError("row")

    with pytest.raises(LookupError, match="row"):
        parapply(pandas.DataFrame(FRAME), fail, pieces=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [({"by": "column"}, "neither 'row' nor 'piece'"), ({"pieces": 0}, "no number of pieces")],
)
def test_what_parapply_cannot_mean_is_told(words: dict[str, object], message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        parapply(pandas.DataFrame(FRAME), len, **words)  # type: ignore[arg-type]


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(
    "text", [b"a\nbb\nccc\n\ndddd\n" * 5, b"one\nlast has no end", b"\xff\r\n\r\n", b"x" * 50, b""]
)
def test_pieces_are_whole_lines_and_together_the_file(
    text: bytes, pieces: int, tmp_path: Path
) -> None:
    (tmp_path / "all").write_bytes(text)
    (tmp_path / "pieces").mkdir()

    files = split_file(tmp_path / "all", pieces, tmp_path / "pieces")

    found = [Path(file).read_bytes() for file in files]
    assert b"".join(found) == text
    assert 1 <= len(files) <= pieces
    assert all(piece.endswith(b"\n") for piece in found[:-1])
    assert all(found) or text == b""


def test_each_piece_gets_the_header(tmp_path: Path) -> None:
    (tmp_path / "all").write_text("head\n" + "".join(f"{n}\n" for n in range(100)))
    (tmp_path / "pieces").mkdir()

    files = split_file(tmp_path / "all", 4, tmp_path / "pieces", header=True)

    found = [Path(file).read_text().splitlines() for file in files]
    assert [piece[0] for piece in found] == ["head"] * 4
    assert [line for piece in found for line in piece[1:]] == [str(n) for n in range(100)]
    assert max(map(len, found)) - min(map(len, found)) < 10


@pytest.mark.slow
def test_a_command_runs_over_each_piece_and_its_output_is_joined(
    state_dir: Path, here: Path
) -> None:
    (here / "in.txt").write_text("".join(f"{n}\n" for n in range(50)))

    told = splitrun("in.txt", "sed 's/$/!/' {file} | tee /dev/stderr", 3)
    path = splitrun("in.txt", ["cp", "{file}", "{out}"], 3, outfile="out.txt")

    assert told == "".join(f"{n}!\n" for n in range(50))
    assert path == str(here / "out.txt")
    assert (here / "out.txt").read_text() == (here / "in.txt").read_text()
    assert sorted(os.listdir(here)) == ["in.txt", "out.txt"]


@pytest.mark.slow
def test_of_the_headers_of_outputs_one_is_kept(state_dir: Path, here: Path) -> None:
    (here / "in.csv").write_text("n,m\n" + "".join(f"{n},{n}\n" for n in range(20)))

    same = splitrun("in.csv", "cat {file}", 4, header=True)
    fewer = splitrun("in.csv", "wc -l < {file}", 2, header=True, out_header=False)

    assert same == (here / "in.csv").read_text()
    assert sum(map(int, fewer.split())) == 22


@pytest.mark.slow
def test_a_function_is_called_with_each_path(state_dir: Path, here: Path) -> None:
    (here / "in.txt").write_text("a\nb\nc\nd\n")

    assert splitrun("in.txt", lambda path: Path(path).read_text(), 2) == ["a\nb\n", "c\nd\n"]
    assert os.listdir(here) == ["in.txt"]


@pytest.mark.slow
def test_a_piece_that_fails_is_named_and_kept(state_dir: Path, here: Path) -> None:
    (here / "in.txt").write_text("good\nbad\n")

    with pytest.raises(JobFailed, match="its piece is kept in") as caught:
        splitrun("in.txt", "grep good {file} || { echo sorry >&2; exit 3; }", 2, outfile="out.txt")

    kept = Path(caught.value.reason.partition("kept in ")[2])
    assert kept.read_text() == "bad\n"
    assert (caught.value.exitcode, caught.value.stderr_tail) == (3, "sorry\n")
    assert not (here / "out.txt").exists()


@pytest.mark.slow
def test_when_it_takes_too_long_all_jobs_are_cancelled(state_dir: Path, here: Path) -> None:
    (here / "in.txt").write_text("a\nb\n")

    with pytest.raises(TimeoutError):
        splitrun("in.txt", "sleep 600; cat {file}", 2, timeout=0.1)

    assert {job.state for job in cluster.Queue().jobs} == {"CANCELLED"}
    assert os.listdir(here) == ["in.txt"]


def test_what_splitrun_cannot_mean_is_told(here: Path) -> None:
    (here / "in.txt").write_text("a\n")

    with pytest.raises(OptionsError, match=r"'sort' has no \{file\} in it"):
        splitrun("in.txt", "sort", 2)
    with pytest.raises(OptionsError, match="outfile= is for commands"):
        splitrun("in.txt", len, 2, outfile="x")
    with pytest.raises(FileNotFoundError, match="nothing"):
        splitrun("nothing", "sort {file}", 2)
    assert os.listdir(here) == ["in.txt"]


# ---------------------------------------------------------------- notify


@pytest.mark.parametrize("wish", ["me@example.org", "root@localhost", "a.b+c@x"])
def test_this_is_an_address(wish: str) -> None:
    assert is_address(wish)


@pytest.mark.parametrize("wish", ["touch x", "mail a@b", "/bin/a@b", "a@b; rm c", "done", "a@"])
def test_this_is_a_command(wish: str) -> None:
    assert not is_address(wish)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "told"), [("exit 3", "FAILED 3 exit code 3"), ("true", "COMPLETED 0")]
)
def test_a_command_is_run_when_the_job_has_ended(
    command: str, told: str, state_dir: Path, here: Path
) -> None:
    words = "$CLUSTER_ENDED_ID $CLUSTER_ENDED_NAME $CLUSTER_ENDED_STATE $CLUSTER_ENDED_EXITCODE"
    tell = f"echo {words} $CLUSTER_ENDED_REASON > told.new; mv told.new told"

    job = cluster.submit(command, name="it's", notify=tell)

    until((here / "told").exists)
    assert (here / "told").read_text() == f"{job.id} it's {told}\n"
    follower = cluster.Job.load(2)
    assert (follower.name, follower.wait()) == ("notify it's", True)


@pytest.mark.slow
def test_each_of_many_jobs_is_told_of(state_dir: Path, here: Path) -> None:
    jobs = cluster.submit_many(["true", "true"], notify="touch told-$CLUSTER_ENDED_ID")

    until(lambda: all((here / f"told-{job.id}").exists() for job in jobs))
    assert cluster.wait(cluster.Queue().jobs)


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server that keeps what it is sent."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Smtp)
        self.mails: list[str] = []
        self.commands: list[str] = []


class _Smtp(socketserver.StreamRequestHandler):
    server: Mailbox

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        for line in self.rfile:
            self.server.commands.append(line.decode().strip())
            word = line.split()[0].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                lines = iter(self.rfile.readline, b".\r\n")
                self.server.mails.append(b"".join(lines).decode())
            if word == b"EHLO":
                self.wfile.write(b"250-here\r\n250 AUTH PLAIN\r\n")
            else:
                replies = {b"AUTH": b"235 in\r\n", b"QUIT": b"221 bye\r\n"}
                self.wfile.write(replies.get(word, b"250 done\r\n"))


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_mail_is_sent_through_the_server_of_the_configuration(
    state_dir: Path, here: Path, mailbox: Mailbox
) -> None:
    (here / "password").write_text("secret\n")
    settings = {
        "smtp_host": "127.0.0.1", "smtp_port": mailbox.server_address[1], "smtp_user": "me",
        "smtp_password_file": here / "password", "sender": "cluster@example.org",
    }  # fmt: skip
    for name, value in settings.items():
        config_file.set("notify", name, str(value))

    cluster.submit("echo it broke >&2; exit 3", name="my job", notify="me@example.org")

    until(lambda: bool(mailbox.mails))
    (mail,) = mailbox.mails
    assert "Subject: job 1 (my job) is FAILED" in mail
    assert "To: me@example.org" in mail
    assert "From: cluster@example.org" in mail
    assert "it broke" in mail
    assert any(line.startswith("AUTH PLAIN") for line in mailbox.commands)
    assert cluster.Job.load(2).wait()


def test_an_address_without_a_mail_server_is_refused_before_it_is_queued(here: Path) -> None:
    with pytest.raises(OptionsError, match=r"notify\.smtp_host"):
        cluster.make_job("true", notify="me@example.org").preview()


def test_without_a_mail_server_nothing_can_be_sent() -> None:
    from email.message import EmailMessage

    from cluster._notifier import send

    with pytest.raises(ConfigError, match=r"cluster config set notify\.smtp_host"):
        send(EmailMessage())


# ---------------------------------------------------------------- what there was before


@pytest.mark.slow
def test_a_decorated_function_submits_itself(state_dir: Path) -> None:
    @cluster.function(cores=2, name="twice")
    def twice(x: int) -> int:
        return 2 * x

    job = twice(4)

    assert (job.get(), job.name, twice.__wrapped__(3)) == (8, "twice", 6)
    assert job.queue_info.cores == 2


@pytest.mark.slow
def test_jobs_are_found_again_by_the_beginning_of_their_name(state_dir: Path) -> None:
    jobs = [cluster.submit(["echo", str(n)], name=f"run [{n}]") for n in range(2)]
    cluster.submit("true", name="another")

    found = cluster.Queue.reconnect("run [")

    assert [job.id for job in found] == [job.id for job in jobs]
    assert [job.get().stdout for job in found] == ["0\n", "1\n"]
