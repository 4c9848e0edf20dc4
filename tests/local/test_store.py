"""The store: what was committed is there again, and only that."""

import sqlite3

import msgspec
import pytest

from cluster.errors import QueueError
from cluster.local import resources
from cluster.local.events import Array, Changes, Job
from cluster.local.resources import Allocation
from cluster.local.store import FORMAT, Store
from cluster.local.wire import Content, Output
from cluster.spec import ArraySpec, JobSpec, Launch

NAMES = resources.names()
NEED = (1, 0, 0)
DAY = 86400.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "queue.db"


def spec(**options) -> JobSpec:
    launch = msgspec.Raw(msgspec.msgpack.encode(Launch(argv=(b"true", b"\xff"))))
    return JobSpec(name="j", launch=launch, **options)


def job(id: int, state: str = "PENDING", **fields) -> Job:
    return Job(id=id, label=str(id), spec=spec(), need=NEED, state=state, submitted=5.0, **fields)


def written(*records: Job | Array, **more) -> Changes:
    changes = Changes(requests={r.id: r.spec for r in records}, **more)
    for record in records:
        (changes.arrays if isinstance(record, Array) else changes.jobs)[record.id] = record
    return changes


def plain(record):
    return {f: getattr(record, f) for f in record.__struct_fields__ if f != "spec"}


def test_unfinished_records_come_back_as_they_were(path):
    running = job(1, "RUNNING", allocation=Allocation(NEED, (0,)), unmet={(9, "afterok")})
    array = Array(id=2, spec=spec(array=ArraySpec(0, 3)), need=NEED, count=3, touched={2})
    store = Store(path)
    store.commit(written(running, array, job(9, "COMPLETED", ended=8.0)), 1.0)
    store.close()

    jobs, arrays = Store(path).unfinished()

    assert [plain(j) for j in jobs] == [plain(running)]
    assert [plain(a) for a in arrays] == [plain(array)]
    assert arrays[0].spec.array == ArraySpec(0, 3)


def test_neighbours_with_equal_specs_share_one_when_they_come_back(path):
    store = Store(path)
    other = Job(id=4, label="4", spec=spec(cores=2), need=NEED, state="PENDING")
    store.commit(written(job(1), job(2), other, job(5)), 1.0)

    first, second, third, last = store.unfinished()[0]

    assert first.spec is second.spec
    assert (first.spec.cores, third.spec.cores, last.spec.cores) == (1, 2, 1)


def test_a_job_that_is_being_ended_is_unfinished_too(path):
    store = Store(path)

    store.commit(written(job(1, "CANCELLED", ending=True, ended=3.0)), 1.0)

    assert [j.id for j in store.unfinished()[0]] == [1]


def test_the_launch_comes_back_byte_for_byte(path):
    store = Store(path)
    store.commit(written(job(1)), 1.0)

    launch = msgspec.msgpack.decode(store.launch(1), type=Launch)

    assert launch.argv == (b"true", b"\xff")
    assert store.launch(2) is None


def test_environments_and_submissions_are_found_by_their_keys(path):
    store = Store(path)
    store.keep_env("h", {b"A": b"\xff"})
    store.commit(Changes(keys={b"k": ["1", "2"]}), 1.0)

    assert store.env("h") == {b"A": b"\xff"}
    assert store.env("other") is None
    assert store.labels(b"k") == ["1", "2"]
    assert store.labels(b"other") is None


def test_what_a_job_wrote_comes_back(path):
    content = Content(Output(b"value"), Output(file=b"/tmp/out"), Output(b"\xff"))
    store = Store(path)

    store.commit(written(job(1, "COMPLETED", ended=2.0), contents={1: content}), 1.0)

    assert store.content(1) == content
    assert store.content(2) == Content()


def test_the_final_state_of_a_job_an_array_and_an_untouched_element_is_known(path):
    array = Array(
        id=2, spec=spec(array=ArraySpec(0, 3)), need=NEED, count=3, rest="CANCELLED",
        counts={"CANCELLED": 3}, ended=4.0,
    )  # fmt: skip
    store = Store(path)
    store.commit(written(job(1, "FAILED", ended=2.0, exitcode=3), array), 1.0)

    assert (store.known("1").state, store.known("1").exitcode) == ("FAILED", 3)
    assert store.known("2").state == "CANCELLED"
    assert store.known("2_1").state == "CANCELLED"
    assert store.known("2_7") is None
    assert store.known("99") is None
    assert store.known("nonsense") is None


def test_closed_records_are_selected_by_state_time_and_namespace(path):
    store = Store(path)
    store.commit(
        written(job(1, "COMPLETED", ended=10.0), job(2, "FAILED", ended=20.0), job(3)), 1.0
    )

    def ids(**how):
        how = {"states": (), "since": 0.0, "limit": 0, "namespace": "", "elements": False} | how
        return [record.id for record in store.select(**how)]

    assert ids() == [1, 2]
    assert ids(states=("FAILED",)) == [2]
    assert ids(since=15.0) == [2]
    assert ids(limit=1) == [2]
    assert ids(namespace="slurm") == []


def test_a_turn_is_written_whole_or_not_at_all(path):
    store = Store(path)
    store.commit(written(job(1)), 1.0)

    with pytest.raises(sqlite3.Error):
        store.commit(written(job(2), job(1)), 2.0)  # request 1 is there already

    assert [j.id for j in store.unfinished()[0]] == [1]


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 0)])
def test_a_durable_store_syncs_its_log_with_each_commit(path, durable, synchronous):
    store = Store(path, durable=durable)  # 2 is FULL: with it SQLite syncs a WAL at each COMMIT

    assert store._db.execute("PRAGMA synchronous").fetchone() == (synchronous,)


def test_old_contents_go_first_then_records_but_a_final_state_is_kept(path):
    store = Store(path)
    content = Content(Output(file=b"/queue/outputs/1.1.res"))
    store.commit(
        written(job(1, "FAILED", ended=DAY, exitcode=3), job(2), contents={1: content}), 1.0
    )

    files, _ = store.forget(contents_before=2 * DAY, records_before=0.0, limit=10)
    after_contents = store.content(1), store.known("1").state
    store.forget(contents_before=2 * DAY, records_before=2 * DAY, limit=10)

    assert files == [b"/queue/outputs/1.1.res"]
    assert after_contents == (Content(), "FAILED")
    assert store.find("1") is None
    assert (store.known("1").state, store.known("1").exitcode) == ("FAILED", 3)
    assert [j.id for j in store.unfinished()[0]] == [2]


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(path):
    Store(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version={FORMAT + 1}")
    db.close()
    before = path.read_bytes()

    with pytest.raises(QueueError, match="has format 2"):
        Store(path)

    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_to_open_a_store_writes_nothing(path):
    Store(path).close()
    before = path.read_bytes()

    Store(path).close()

    assert path.read_bytes() == before
    assert before[64:68] == b"\0\0\0\1"  # incremental vacuum: housekeeping makes it shrink


def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(path):
    path.write_bytes(b"these are my notes, not a queue" * 100)

    with pytest.raises(QueueError, match="cannot be opened"):
        Store(path)

    assert path.read_bytes().startswith(b"these are my notes")


def test_nobody_else_can_open_the_store_while_the_server_has_it(path):
    store = Store(path)
    store.commit(written(job(1)), 1.0)

    other = sqlite3.connect(path, timeout=0)
    with pytest.raises(sqlite3.OperationalError):
        other.execute("SELECT * FROM job")
    other.close()
    store.close()
