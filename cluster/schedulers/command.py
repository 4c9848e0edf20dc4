"""A scheduler that is reached through its client programs: Slurm, Torque, Grid Engine, LSF.

What they are called and print is in the dialect; what the answers mean is in
`_tracking`.  Here jobs are submitted, looked at and steered, and their files found.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import msgspec

from cluster import config_file, files, logme, states
from cluster.errors import ClusterError, OptionsError, QueueError, UnknownJob, WaitTimeout
from cluster.registry import Entry, Registry
from cluster.schedulers import checks, cluster_scripts
from cluster.schedulers._asking import Poller
from cluster.schedulers._begun import begin, settle
from cluster.schedulers._copying import copy_scripts
from cluster.schedulers._dependents import judge
from cluster.schedulers._endings import Policy, summary
from cluster.schedulers._entries import (
    Place,
    arguments_of,
    entry_of,
    missing,
    records_of,
    resolved,
    suffix_of,
    told,
)
from cluster.schedulers._late import wait_for
from cluster.schedulers._launching import problems as launcher_problems
from cluster.schedulers._launching import with_launcher
from cluster.schedulers._patience import Patience
from cluster.schedulers._programs import Programs
from cluster.schedulers._submitting import Submitter, mark_of, new_mark
from cluster.schedulers._watch import EndingsSource
from cluster.schedulers.base import (
    Content,
    Ending,
    JobInfo,
    Output,
    Request,
    Resources,
    Scripts,
)
from cluster.schedulers.dialect import Dialect, Outputs, split_id
from cluster.states import FINAL

__all__ = ["CommandScheduler", "settings"]

RECENT_S = 86400.0  # `jobs` lists what was submitted or ended in the last day
_UNKNOWN = "no such job"


def settings() -> Policy:
    """Read how patient to be from the configuration."""
    get = partial(config_file.get, "scheduler")
    return Policy(
        shortest_s=get("poll_s"),
        longest_s=max(get("poll_s"), get("poll_longest_s")),
        grace_s=get("grace_s"),
    )


class CommandScheduler:
    """One scheduler of this site.

    Args:
        dialect: its words.
        registry: where its jobs are remembered; None is the user's own.
        policy: how patient to be; None is as configured.
        programs: runs the client programs; None runs them as configured.
    """

    needs_files = True

    def __init__(
        self,
        dialect: Dialect,
        *,
        registry: Registry | None = None,
        policy: Policy | None = None,
        programs: Programs | None = None,
    ) -> None:
        import getpass

        self.dialect, self.qtype = dialect, dialect.qtype
        self.registry = registry or Registry(dialect.qtype)
        self.user = getpass.getuser()
        self.programs = programs or Programs(
            timeout_s=config_file.get("scheduler", "timeout_s"),
            scrubbed=dialect.scrubbed,
        )
        self._policy = policy or settings()
        self._submitter = Submitter(dialect, self.programs, self.user)
        self._poller_of: tuple[int, Poller] | None = None
        self._patience = Patience()

    @property
    def poller(self) -> Poller:
        """What this process knows; a fork starts with its own, for its locks may be held."""
        if self._poller_of is None or self._poller_of[0] != os.getpid():
            made = Poller(
                self.dialect, self.programs, self.registry, self._policy, user=self.user,
                give_up_s=config_file.get("scheduler", "give_up_s"),
            )  # fmt: skip
            self._poller_of = os.getpid(), made
        return self._poller_of[1]

    # ------------------------------------------------------------ making jobs

    def scripts(self, request: Request, *, directory: str, stem: str, suffix: str) -> Scripts:
        """Make the text of the job's files; write none."""
        kept = replace(request, dependencies=told(request.dependencies))
        return cluster_scripts.make(
            self.dialect, with_launcher(kept), directory=directory, stem=stem, suffix=suffix,
            mark=new_mark(), records=records_of(kept, self.dialect, self.registry),
        )  # fmt: skip

    def preview(self, request: Request) -> str:
        """Say in text what `submit` would do."""
        scripts = self.scripts(
            request, directory=os.getcwd(), stem=files.safe_stem(request.name), suffix="cluster"
        )
        argv = self.dialect.submit(scripts.submission.file_name, arguments_of(request))
        return f"# submitted with: {' '.join(argv)}\n{scripts.submission}"

    def check(self, request: Request) -> list[str]:
        """Say what of the request cannot work here, each in a sentence."""
        problems = checks.path_problems(
            request.cwd, {"outfile": request.stdout, "errfile": request.stderr}
        )
        problems += cluster_scripts.problems(request) + launcher_problems(request)
        problems += [self.dialect.missing[key] for key in missing(request, self.dialect)]
        kept = replace(request, dependencies=told(request.dependencies))
        try:
            records_of(kept, self.dialect, self.registry)
            self.dialect.directives(kept, Outputs("/out", "/err"), mark=new_mark())
        except OptionsError as error:
            problems.append(str(error))
        return problems

    # ------------------------------------------------------------ submitting

    def submit(
        self, requests: Sequence[Request], scripts: Sequence[Scripts | None] = ()
    ) -> list[str]:
        """Queue jobs, all or none, and give their ids in order."""
        ids: list[str] = []
        try:
            for request, made in zip(requests, scripts, strict=True):
                assert made is not None, "needs_files"
                ids.append(self._submit(request, made, ids))
        except BaseException as error:
            if ids:
                _add(error, self._take_back(ids))
            raise
        self.registry.prune(config_file.get("retention", "records_days"))
        return ids

    def _submit(self, request: Request, made: Scripts, before: Sequence[str]) -> str:
        written = told(request.dependencies)
        dependencies = tuple(resolved(each, before) for each in request.dependencies)
        choice = request.options.get("on_unsatisfiable", "cancel")
        kept, never = judge(dependencies, choice, self._ended)
        file, suffix = made.submission.file_name, suffix_of(request)
        stem = os.path.basename(file).removesuffix(files.submission_ending(self.qtype, suffix))
        place = Place(directory=os.path.dirname(file), stem=stem, suffix=suffix)
        request = replace(request, dependencies=kept)
        if never:
            # The scheduler may have forgotten why it can never start: it is not asked.
            request = replace(request, options={**request.options, "hold": True})
        if never or kept != written:
            made = self._rewrite(request, made, place)
        text = str(made.submission)
        entry = entry_of(
            "", replace(request, dependencies=dependencies), place,
            mark=mark_of(text), submission=file,
        )  # fmt: skip
        with begin(self.registry, entry):
            id, repeated = self._submitter.hand_over(file, arguments_of(request), text)
            info = msgspec.structs.replace(entry.info, id=id, submitted=time.time())
            self._remember(msgspec.structs.replace(entry, info=info, repeated=repeated))
        if never and choice == "cancel":
            self._submitter.cancel([id])
            self.poller.end(id, states.CANCELLED, never)
        return id

    def _remember(self, entry: Entry) -> None:
        self.poller.remember(entry)
        try:
            self.registry.remember(entry)
        except OSError as error:  # the job is in the queue: that is no reason to fail
            logme.log(
                f"job {entry.id} is submitted, but other processes will not find it: "
                f"{self.registry.directory} cannot be written ({error.strerror or error})",
                "warn",
            )
        if entry.repeated:
            self.poller.look_for_copies()

    def _rewrite(self, request: Request, made: Scripts, place: Place) -> Scripts:
        again = self.scripts(request, **place)
        again.submission.write()
        if again.exec_script is not None:
            again.exec_script.write()
        return replace(made, submission=again.submission, exec_script=again.exec_script)

    def _ended(self, id: str) -> JobInfo | None:
        """Give how a job ended, if that is known without asking anybody."""
        whole = split_id(id)[0]
        self.poller.look([whole])
        info = self.poller.part_info(id)
        return info if info is not None and info.state in FINAL else None

    def _take_back(self, ids: Sequence[str]) -> str:
        many = f"{len(ids)} jobs submitted before it"
        try:
            wrong = self._submitter.cancel(ids)
        except ClusterError as error:
            return f"{many} are still queued ({', '.join(ids)}): {error}"
        for id in ids:
            self.poller.note_cancelled(id)
        left = [id for id in ids if id in wrong or "" in wrong]
        if left:
            return f"{many} were to be cancelled again; still queued are {', '.join(left)}."
        return f"{many} were cancelled again: {', '.join(ids)}."

    def resubmit(self, id: str) -> str:
        """Queue a job like this one, from copies of its scripts."""
        whole = split_id(id)[0]
        entry = self.registry.recall(whole)
        if entry is None or not os.path.isfile(entry.submission):
            raise UnknownJob(
                f"job {id} cannot be submitted again: "
                + ("it was not submitted from here." if entry is None else "its script is gone.")
            )
        again, text = copy_scripts(entry, self.qtype, new_mark())
        new, repeated = self._submitter.hand_over(again.submission, again.arguments, text)
        info = msgspec.structs.replace(again.info, id=new, submitted=time.time())
        again = msgspec.structs.replace(again, info=info, repeated=repeated)
        self._remember(again)
        return new

    # ------------------------------------------------------------ asking

    def query(self, ids: Sequence[str], *, elements: bool = False) -> list[JobInfo]:
        """Ask for jobs; those that nobody ever heard of are left out."""
        whole = list(dict.fromkeys(split_id(id)[0] for id in ids))
        try:
            self.poller.ask(whole)
        finally:
            self.poller.keep_absences(whole)
        found: list[JobInfo] = []
        for id in ids:
            track = self.poller.follow(split_id(id)[0])
            if elements and id == track.base.id and track.is_array:
                found += track.elements()
            elif (info := self.poller.part_info(id)) is not None:
                found.append(info)
        return found

    def jobs(self, *, user: str | None, partition: str | None) -> list[JobInfo]:
        """List the jobs in the queue, and one's own of the last day."""
        whose = self.user if user is None else user
        seen = self.programs.ask(self.dialect.poll((), whose), self.dialect.parse_poll)
        queued = [each for each in seen if partition in (None, each.partition)]
        groups: dict[str, list[JobInfo]] = {}
        for each in queued:
            groups.setdefault(split_id(each.info.id)[0], []).append(each.info)
        mine: dict[str, JobInfo] = {}
        if whose == self.user:
            self.poller.hear(seen)
            mine = {info.id: info for info in self._remembered(set(groups), partition)}
        shown = {id: _as_one(id, infos) for id, infos in groups.items()} | mine
        return sorted(shown.values(), key=lambda info: _in_order(info.id))

    def _remembered(self, queued: set[str], partition: str | None) -> list[JobInfo]:
        since = time.time() - RECENT_S
        entries = list(self.registry.entries(since=since))
        entries += [
            entry for id in queued if (entry := self.registry.recall(id)) and entry not in entries
        ]
        ids = [
            entry.id for entry in entries if entry.id in queued or partition is None
        ]  # of one that is gone, nobody says where it was
        self.poller.ask(ids)
        return [info for id in ids if (info := self.poller.part_info(id)) is not None]

    def named(self, pattern: str) -> list[JobInfo]:
        """Give the jobs submitted from here, whenever, whose name is like `pattern`."""
        settle(self.registry, self._submitter.find, now=time.time)
        ids = [entry.id for entry in self.registry.entries(name=pattern)]
        return self.query(sorted(ids, key=_in_order))

    def remembered(self, id: str) -> Entry | None:
        """Give what was written down when a job was submitted; None if not from here."""
        return self.registry.recall(split_id(id)[0])

    def endings(
        self, ids: Sequence[str], *, timeout: float | None = None, content: bool = False
    ) -> Iterator[Ending]:
        """Give each job as it reaches its final state, until all have."""
        return self._endings(ids, timeout, content, stop=None)

    def watch(self) -> EndingsSource:
        """Give what one thread watches any number of jobs with."""

        def endings(ids: Sequence[str], stop: Callable[[], bool]) -> Iterator[Ending]:
            return self._endings(ids, None, False, stop=stop)

        return EndingsSource(endings, self.query, wake=lambda: self.poller.wake())

    def _endings(
        self,
        ids: Sequence[str],
        timeout: float | None,
        content: bool,
        *,
        stop: Callable[[], bool] | None,
    ) -> Iterator[Ending]:
        deadline = None if timeout is None else time.monotonic() + timeout
        left = dict.fromkeys(ids)
        whole = list(dict.fromkeys(split_id(id)[0] for id in ids))
        poller = self.poller
        poller.look(whole)
        yield from self._ended_of(left, content)
        if not left:
            return
        with poller.watching(list(dict.fromkeys(split_id(id)[0] for id in left))):
            self._check_known(left)
            while True:
                yield from self._ended_of(left, content)
                if not left or (stop is not None and stop()):
                    return
                self._patience.check(poller, list(left), each=stop is not None)
                rest = 3600.0 if deadline is None else deadline - time.monotonic()
                if rest <= 0:
                    raise WaitTimeout(f"{len(left)} jobs have not ended after {timeout:g} s.")
                poller.step(time.time() + rest)

    def _check_known(self, ids: Iterable[str]) -> None:
        """Make sure that somebody knows these jobs.

        Raises:
            UnknownJob: nobody does.
        """
        unsure = [
            id for id in ids if not self.poller.follow(split_id(id)[0]).known
            or self.poller.part_info(id) is None
        ]  # fmt: skip
        if not unsure:
            return
        known = {info.id for info in self.query(unsure)}
        for id in unsure:
            if id not in known:
                raise UnknownJob(f"there is no job {id} in {self.dialect.title}.")

    def _ended_of(self, left: dict[str, None], content: bool) -> Iterator[Ending]:
        for id in list(left):
            if not self.poller.has_ended(id):
                continue
            info = self.poller.part_info(id)
            assert info is not None
            del left[id]
            yield Ending(info, self.content(id) if content else None)

    # ------------------------------------------------------------ files

    def content(self, id: str) -> Content:
        """Give what a job wrote so far."""
        whole, index = split_id(id)
        info, entry = self.poller.part_info(id), self.registry.recall(whole)
        if info is None:
            raise UnknownJob(f"there is no job {id} in {self.dialect.title}.")
        if info.counts:
            return Content()  # each element has its own
        result = entry.result if entry is not None else ""
        if result and index:
            result = f"{result}.{index}"
        if info.state in FINAL and info.started and entry is not None:
            self._await(info, result)
        return Content(
            Output(file=os.fsencode(result) if result and os.path.exists(result) else b""),
            Output(file=info.stdout),
            Output(file=info.stderr),
        )

    def _await(self, info: JobInfo, result: str) -> None:
        """Wait for files that a network file system does not show yet."""
        if info.state == states.COMPLETED:
            wait_for([result] if result else [], self._policy.grace_s)
        if info.state in (states.COMPLETED, states.FAILED):
            outputs = [os.fsdecode(path) for path in (info.stdout, info.stderr) if path]
            wait_for([*outputs, *([result] if result else [])], self._policy.settle_s / 5)

    # ------------------------------------------------------------ steering

    def act(self, verb: str, ids: Sequence[str], number: int = 0) -> dict[str, str]:
        """Do `verb` to jobs; say what happened to each."""
        if verb in self.dialect.missing:
            raise OptionsError(self.dialect.missing[verb])
        known = {info.id: info for info in self.query(ids)}
        answers = {id: _refusal(verb, known.get(id)) for id in ids}
        wanted = [id for id, refusal in answers.items() if not refusal]
        wrong: dict[str, str] = {}
        for argv in self.dialect.act(verb, wanted, number) if wanted else ():
            wrong.update(self.programs.ask(argv, partial(self.dialect.parse_act, verb)))
        for id in wanted:
            problem = wrong.get(id) or wrong.get("", "")
            answers[id] = f"no {verb}: {problem}" if problem else _DONE[verb]
            if verb == "cancel" and not problem:
                self.poller.note_cancelled(id)
            elif verb == "release" and not problem:
                self.poller.note_released(id)
            elif verb == "requeue" and not problem:
                self.poller.begin_again(id)
        self.poller.hurry()
        return answers

    def resources(self, partition: str | None = None) -> Resources:
        """Say what the cluster or the partition has."""
        argv = self.dialect.show_resources(partition)
        return self.programs.ask(
            argv, lambda answer: self.dialect.parse_resources(answer, partition)
        )


_DONE = {
    "cancel": "cancelled", "hold": "held", "release": "released", "requeue": "requeued",
    "suspend": "suspended", "resume": "resumed", "signal": "signalled",
}  # fmt: skip


def _refusal(verb: str, info: JobInfo | None) -> str:
    if info is None:
        return _UNKNOWN
    if info.state in FINAL and verb != "requeue":
        return f"already {info.state}"
    return ""


def _add(error: BaseException, words: str) -> None:
    """Tell the user in the error itself: a note would not be in its text."""
    if isinstance(error, OptionsError | QueueError) and len(error.args) == 1:
        error.args = (f"{error.args[0]}\nNothing was queued: {words}",)


def _in_order(id: str) -> tuple[int, str]:
    return len(split_id(id)[0]), id


def _as_one(id: str, infos: Sequence[JobInfo]) -> JobInfo:
    if len(infos) == 1 and infos[0].id == id:
        return infos[0]
    return summary(msgspec.structs.replace(infos[0], id=id, index=None), infos)
