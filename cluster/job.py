"""Jobs: making them, submitting them, writing and deleting their files.

What is known of a job once it is submitted is `_job_view.JobView`.  Nothing
here decides when or where a job runs: a scheduler does.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cluster import config_file, files, options, payload, queue, request
from cluster._clean_dir import clean_dir
from cluster._job_batch import ancestors, make_all, submit_all
from cluster._job_keywords import below, read_options, working_directory
from cluster._job_view import JobView
from cluster.errors import OptionsError, UnknownJob
from cluster.request import Problems
from cluster.schedulers.base import Call, Command, Request, Scheduler, Scripts
from cluster.spec import Dependency

if TYPE_CHECKING:  # 1 ms of each first call
    from cluster.script import Function, Script

__all__ = [
    "Job",
    "clean",
    "clean_dir",
    "function",
    "make_job",
    "make_job_file",
    "submit",
    "submit_file",
    "submit_many",
]


class Job(JobView):
    """One job: a function or a command, and everything that is known of it.

    Attributes:
        options: the keywords it was made with, each with its one name.
    """

    def __init__(
        self,
        command: Any,
        args: Any = None,
        name: str | None = None,
        path: str | os.PathLike[str] | None = None,
        qtype: str | None = None,
        profile: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Make a job; nothing is queued or written yet.

        Args:
            command: a function; a list, which is an argv and never a shell's;
                or a text, which bash runs if it has shell syntax in it.
            args: of a function, a tuple (anything else is its one argument);
                of a command, what stands verbatim behind it.
            name: for people; None is made from the command.
            path: directory for scripts, the same as `filedir=`.
            qtype: which scheduler; None is the current one.
            profile: a set of keywords from the configuration.
            kwargs: keyword arguments of the function.
            options: see `cluster.options.option_help()`.

        Raises:
            OptionsError: every mistake that can be seen without the machine.
            UnknownProfile: there is none of this name.
        """
        super().__init__(queue.scheduler_for(qtype))
        self._scripts: Scripts | None = None
        self._wrote = False
        problems = Problems()
        with problems.collect():
            self._program = request.read_program(command, args, kwargs)
        self.options, self._after = read_options(options, path, profile, problems)
        given = name if name is not None else self.options.pop("name", None)
        for _, other in self._after:
            other._is_awaited = True
        if given is not None:
            problems.add(*request.name_problems(given))
        if problems:
            self._report(problems, given)
        self._given_name = given
        self._name = given if given is not None else request.default_name(self._program)

    def _like(self, command: Any, args: Any = None, kwargs: Any = None) -> Job:
        """Make a job with the same keywords, which are not read again."""
        job = Job._of(None, self.scheduler)
        job._program = request.read_program(command, args, kwargs)
        job.options, job._after = dict(self.options), list(self._after)
        job._given_name = given = self._given_name
        job._name = given if given is not None else request.default_name(job._program)
        return job

    def _report(self, problems: Problems, name: Any) -> None:
        """Raise, after a look at what else would go wrong: all mistakes in one error."""
        if self._made_here:
            self._given_name, self._name = None, str(name)
            self._request(problems)
        problems.raise_all(f"job {name!r}" if name else "the job")

    @classmethod
    def load(cls, id: str | int, qtype: str | None = None) -> Job:
        """Give the job with this id, whichever process submitted it.

        Raises:
            UnknownJob: no job has this id.
        """
        job = cls._of(str(id), queue.scheduler_for(qtype))
        found = job.scheduler.query([str(id)])
        if not found:
            raise UnknownJob(f"there is no job {id}. `cluster list --all` shows those there are.")
        job._learn(found[0])
        return job

    @classmethod
    def _of(cls, id: str | None, scheduler: Scheduler) -> Job:
        job = cls.__new__(cls)
        JobView.__init__(job, scheduler, id)
        job.options, job._after, job._scripts, job._wrote = {}, [], None, False
        return job

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (queue.id_of(self), self.qtype)

    @property
    def _made_here(self) -> bool:
        return hasattr(self, "_program")

    # ------------------------------------------------------------ before

    def after(self, *jobs: Any, type: str = "afterok") -> Job:
        """Let this job wait for others.

        Args:
            jobs: Jobs, ids, or lists of these; they must be submitted before this one.
            type: afterok, afterany, afternotok or after.

        Raises:
            OptionsError: this job was submitted already, an unknown type, or a cycle.
        """
        if self.id is not None:
            raise OptionsError(f"job {self.id} is in the queue already: it cannot wait for more.")
        plain, objects = request.split_jobs({type: list(jobs)})
        for _, job in objects:
            # Whom nobody waits for closes no cycle; a chain of thousands is made so.
            if job is self or (self._is_awaited and self in ancestors(job)):
                raise OptionsError(f"job {self.name!r} would wait for itself: that is a cycle.")
        told = options.check_arguments({"dependencies": plain}) if plain else {}
        self.options["dependencies"] = (
            *self.options.get("dependencies", ()), *told.get("dependencies", ())
        )  # fmt: skip
        self._after += objects
        for _, job in objects:
            job._is_awaited = True
        return self

    def _dependencies(
        self, problems: Problems, together: Mapping[Job, int]
    ) -> tuple[Dependency, ...]:
        found = list(self.options.get("dependencies", ()))
        for kind, job in self._after:
            if job in together:
                found.append(Dependency(f"@{together[job]}", kind))
            elif job.id is None:
                with problems.collect():
                    raise request.unsubmitted(self.name, job.name)
            elif job.qtype != self.qtype:
                problems.add(f"dependency {job.id} is in {job.qtype}, this job in {self.qtype}.")
            else:
                found.append(Dependency(job.id, kind))
        return tuple(dict.fromkeys(found))

    def _request(self, problems: Problems, together: Mapping[Job, int] | None = None) -> Request:
        """Put together what the scheduler is given, and note what cannot work.

        Args:
            problems: gets every mistake.
            together: the jobs submitted in the same call, and their places in it.
        """
        cwd, dumped = b"/", None
        with problems.collect():
            cwd = working_directory(self.options)
        program = self._program
        if isinstance(program, Call):
            with problems.collect():
                dumped = self._dump(program)
        made = Request(
            name=self.name,
            program=program,
            cwd=cwd,
            options=self.options,
            dependencies=self._dependencies(problems, together or {}),
            key=request.learned_key(program, self._given_name),
            payload=dumped,
            stdout=below(cwd, self.options.get("outfile")),
            stderr=below(cwd, self.options.get("errfile")),
        )
        problems.add(*self.scheduler.check(made))
        return made

    def _dump(self, call: Call) -> payload.Payload:
        return payload.dump(
            call.function, call.args, call.kwargs,
            by_value=self.options.get("by_value", ()), imports=self.options.get("imports", ()),
        )  # fmt: skip

    def _checked_request(self) -> Request:
        problems = Problems()
        made = self._request(problems)
        problems.raise_all(f"job {self.name!r}")
        return made

    def preview(self) -> str:
        """Say what `submit()` would hand to the scheduler; nothing is queued or written."""
        return self.scheduler.preview(self._checked_request())

    def submit(self, max_queue_len: int | None = None) -> Job:
        """Queue the job.

        Args:
            max_queue_len: wait until fewer jobs than this are in the queue;
                None is the job's own option or the setting, 0 is no limit.

        Returns:
            The job itself.

        Raises:
            OptionsError: whatever cannot work, all of it; nothing was queued.
            PayloadError: the function or an argument cannot be pickled.
            UnknownDependency: it waits for a job that does not exist.
            QueueError: the queue could not be asked or refused.
        """
        submit_all([self], max_queue_len)
        return self

    def resubmit(self) -> Job:
        """Queue a job like this one, and give it; this one stays as it is."""
        queue.id_of(self)
        if self._made_here:
            again = Job.__new__(Job)
            again.__dict__.update(self.__dict__)
            JobView.__init__(again, self.scheduler, None, self.name)
            again._scripts, again._wrote = None, False
            return again.submit()
        assert self.id is not None
        return Job._of(self.scheduler.resubmit(self.id), self.scheduler)

    # ------------------------------------------------------------ files

    @property
    def scripts(self) -> Scripts:
        """The files that the job has or would have."""
        if self._scripts is None:
            if not self._made_here:
                raise OptionsError(f"job {self.id} was not made here: it has no scripts.")
            self._scripts = self._make_scripts(files.safe_stem(self.name))
        return self._scripts

    def _make_scripts(self, stem: str, made: Request | None = None) -> Scripts:
        return self.scheduler.scripts(
            made or self._checked_request(),
            directory=self._filedir(),
            stem=stem,
            suffix=self._suffix(),
        )

    def _filedir(self) -> str:
        chosen = self.options.get("filedir") or config_file.get("jobs", "filedir") or "."
        return os.path.abspath(chosen)

    def _suffix(self) -> str:
        return str(self.options.get("suffix") or config_file.get("jobs", "suffix"))

    @property
    def submission(self) -> Script:
        """What is handed to the scheduler: `.script`, `.file_name`, `.written`."""
        return self.scripts.submission

    @property
    def exec_script(self) -> Script | None:
        """What the submission runs, where that is a file of its own."""
        return self.scripts.exec_script

    @property
    def function(self) -> Function | None:
        """The Python script of a function job; None for a command."""
        return self.scripts.function

    def write(self, overwrite: bool = True) -> Job:
        """Write all scripts.

        A file that another job wrote is never replaced: this job's files then
        take the next free name.

        Args:
            overwrite: write again what this job wrote before.
        """
        return self._write(overwrite, None)

    def _write(self, overwrite: bool, made: Request | None) -> Job:
        if not self._wrote:
            ends = files.endings(self.qtype, self._suffix())
            stem = files.free_stem(self._filedir(), files.safe_stem(self.name), ends)
            self._scripts = self._make_scripts(stem, made)
        for script in self.scripts.all():
            script.write(overwrite)
        self._wrote = True
        return self

    def clean(self, delete_outputs: bool = False) -> Job:
        """Delete the scripts that this job wrote.

        Args:
            delete_outputs: delete the files named with `outfile` and `errfile`
                too, after reading them.
        """
        if self._wrote and self._scripts is not None:
            for script in self._scripts.all():
                script.remove()
            self._wrote = False
        if delete_outputs and self.id is not None:
            for path in self._keep_outputs() & self._named_files():
                if os.path.isfile(path):  # never a device that the user named
                    os.unlink(path)
        return self

    def _named_files(self) -> set[bytes]:
        if not self._made_here:
            return set()
        cwd = working_directory(self.options)
        return {below(cwd, self.options.get(key)) for key in ("outfile", "errfile")}


def _unpickled(id: str, qtype: str) -> Job:
    return Job._of(id, queue.scheduler_for(qtype))


# ---------------------------------------------------------------- functions


def submit(
    command: Any,
    args: Any = None,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    qtype: str | None = None,
    profile: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Job:
    """Queue a function or a command.

    The arguments are those of `Job`; `cluster.options.option_help()` lists the
    keywords.

    Returns:
        The job, queued for good: it runs whatever becomes of this process.

    Raises:
        OptionsError: everything that cannot work, in one error; nothing was queued.
        PayloadError: the function or an argument cannot be pickled.
        QueueError: the queue could not be asked or refused.
    """
    return Job(command, args, name, path, qtype, profile, kwargs, **options).submit()


def submit_many(jobs: Iterable[Any], max_queue_len: int | None = None, **options: Any) -> list[Job]:
    """Queue many jobs at once: all of them, or none.

    Jobs may depend on others of the list; those are queued first.

    Args:
        jobs: Jobs, commands, or mappings of the arguments of `Job`.
        max_queue_len: see `Job.submit`.
        options: keywords for all of them that are not Jobs already.

    Returns:
        The jobs, in order.
    """
    made = make_all(Job, jobs, options)
    submit_all(made, max_queue_len)
    return made


def make_job(
    command: Any,
    args: Any = None,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    qtype: str | None = None,
    profile: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> Job:
    """Make a job without queueing it or writing anything; see `Job`."""
    return Job(command, args, name, path, qtype, profile, kwargs, **options)


def make_job_file(
    command: Any,
    args: Any = None,
    name: str | None = None,
    path: str | os.PathLike[str] | None = None,
    qtype: str | None = None,
    profile: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> str:
    """Make a job, write its files, and give the path of the one to submit; see `Job`."""
    job = Job(command, args, name, path, qtype, profile, kwargs, **options)
    return job.write().submission.file_name


def submit_file(
    script_file: str | os.PathLike[str],
    dependencies: Any = None,
    threads: int | None = None,
    qtype: str | None = None,
) -> str:
    """Queue a script that exists.

    Args:
        script_file: its `#!` line is honoured, whether or not it may be
            executed; without one, bash runs it.
        dependencies: jobs or ids it waits for.
        threads: cores that it takes.
        qtype: which scheduler; None is the current one.

    Returns:
        The id of the job.

    Raises:
        OptionsError: there is no such file.
    """
    path = os.path.abspath(os.fspath(script_file))
    argv = request.script_argv(os.fsencode(path))
    name = request.default_name(Command((os.fsencode(path),)))
    job = submit(argv, None, name, qtype=qtype, dependencies=dependencies, cores=threads)
    return queue.id_of(job)


def clean(jobs: Any, delete_outputs: bool = False) -> None:
    """Delete the files that jobs wrote; see `Job.clean`."""
    for job in queue.flatten(jobs):
        job.clean(delete_outputs)


def function(target: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make a function submit itself: calling it queues a job and gives the `Job`.

    Used as `@cluster.function` or `@cluster.function(cores=4)`; the function
    itself stays at `.__wrapped__`.

    Args:
        target: the function.
        options: keywords of its jobs.
    """

    def decorate(inner: Callable[..., Any]) -> Callable[..., Job]:
        @functools.wraps(inner)
        def submitting(*args: Any, **kwargs: Any) -> Job:
            return submit(inner, args, kwargs=kwargs, **options)

        return submitting

    return decorate if target is None else decorate(target)
