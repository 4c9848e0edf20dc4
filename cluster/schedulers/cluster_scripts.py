"""The scripts of a cluster job: what a node needs to run it, and to say how it ended.

    submission     directives | how it ends is written down | job() { its surroundings, program }
    exec script    Slurm only: modules, prologue, program, epilogue, which job() runs
    function       the runner, with the call beside it

The submission is plain bash and needs nothing of this package.  Its exit code
is the program's.  When the program has ended by itself, the exit record says
so; when the scheduler ended it, there is no record, and the scheduler's books
say what happened.  What a user named is quoted; only what the user wrote as
shell text is read by a shell.  Nothing is written here.
"""

from __future__ import annotations

import os
import shlex
import signal as signals
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cluster import files, script
from cluster.errors import OptionsError
from cluster.schedulers._script_text import AROUND, AROUND_WARNED, REQUIRE, TIMES
from cluster.schedulers.base import Command, Request, Scripts
from cluster.schedulers.dialect import Dialect, Outputs
from cluster.script import Function, Script, quote

__all__ = ["Paths", "make", "paths", "problems", "python_of"]

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
# bash does not let go of them: `export UID=1` is an error.
_READONLY = {"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"}
_BASH = ("/bin/bash", "bash", "/usr/bin/bash")


class Paths(NamedTuple):
    """Where the files of a job stand that it writes itself.

    Attributes:
        record: the exit record; an element adds `.<index>`.
        stdout, stderr: for the dialect: `{index}` is an element's.
        result: what a function returned; an element adds `.<index>`.
    """

    record: str
    stdout: str
    stderr: str
    result: str


def paths(request: Request, *, directory: str, stem: str, suffix: str) -> Paths:
    """Name the files that a job writes itself."""
    base = os.path.join(directory, stem)
    index = ".{index}" if _is_array(request) else ""
    return Paths(
        record=f"{base}.{suffix}.exit",
        stdout=os.fsdecode(request.stdout) or f"{base}.{suffix}.out{index}",
        stderr=os.fsdecode(request.stderr) or f"{base}.{suffix}.err{index}",
        result=f"{base}_func.{suffix}.py.pickle.out",
    )


def _is_array(request: Request) -> bool:
    return bool(request.options.get("array"))


def python_of(options: Mapping[str, Any]) -> str:
    """Give the interpreter of a function job: the one asked for, else this one."""
    if options.get("python"):
        return os.path.abspath(str(options["python"]))
    if options.get("venv"):
        return os.path.join(os.path.abspath(str(options["venv"])), "bin", "python")
    return sys.executable


def problems(request: Request) -> list[str]:
    """Say what of a request cannot stand in a script, each in a sentence."""
    options = request.options
    names = [
        *(options.get("env") or ()), *(options.get("env_unset") or ()),
        *(options.get("env_prepend") or ()), *(options.get("env_append") or ()),
    ]  # fmt: skip
    return [
        f"variable {os.fsdecode(name)!r} cannot be set in a script of bash. Use a name of letters, "
        "digits and underscores that bash does not keep for itself, or start the command by env."
        for name in names
        if not script.is_name(os.fsdecode(name)) or os.fsdecode(name) in _READONLY
    ]


def make(
    dialect: Dialect,
    request: Request,
    *,
    directory: str,
    stem: str,
    suffix: str,
    mark: str,
    records: Mapping[str, Sequence[str]] | None = None,
    launcher: Sequence[str] = (),
) -> Scripts:
    """Make the text of a job's files; write none.

    Args:
        dialect: of the scheduler that will read the directives.
        request: checked; its dependencies are ids of this scheduler.
        directory, stem, suffix: the files are `directory/stem.suffix...`.
        mark: a word unique to this submission.
        records: exit records of the predecessors that `dialect.guards` names, by
            id; those of its elements for an array.
        launcher: words put in front of the program: those that start ranks.

    Raises:
        OptionsError: a wish that this scheduler has no words for.
        KeyError: `records` lacks a predecessor.
    """
    where = paths(request, directory=directory, stem=stem, suffix=suffix)
    base = os.path.join(directory, stem)
    python = python_of(request.options)
    function, program = None, request.program
    if isinstance(program, Command):
        command = _command_text(program, launcher)
    else:
        function = _function(request, f"{base}_func.{suffix}.py", where.result, python)
        command = _exec([*launcher, python, function.file_name])
    body = _body(request.options, command, dialect.prefix)
    exec_script, run = None, body
    if dialect.qtype == "slurm":
        shell = request.options.get("shell") or "/bin/bash"
        path = f"{base}.{suffix}.script"
        text = f"#!{shell}\n# What job {_shown(request.name)} runs.\n" + "\n".join(body) + "\n"
        exec_script = Script(text, path, files.Disk())
        run = [_exec([*shlex.split(shell), path])]
    elif request.options.get("shell") not in (None, *_BASH):
        run = [_exec([*shlex.split(request.options["shell"]), "-c", "\n".join(body)])]
    array = _is_array(request)
    outputs = Outputs("", "", array) if dialect.redirects else Outputs(*where[1:3], array)
    head = _directives(dialect, request, outputs, mark)
    written = _submission(dialect, request, where, head, run, _guards(dialect, request, records))
    ending = files.submission_ending(dialect.qtype, suffix)
    return Scripts(Script(written, base + ending, files.Disk()), exec_script, function)


# ---------------------------------------------------------------- the submission


def _directives(dialect: Dialect, request: Request, outputs: Outputs, mark: str) -> list[str]:
    lines = dialect.directives(request, outputs, mark=mark)
    for line in lines:
        if "\n" in line or "\r" in line:
            raise OptionsError(f"{line!r} has a newline in it; a directive cannot hold it.")
    return [f"{dialect.prefix} {line}" for line in lines]


def _submission(
    dialect: Dialect,
    request: Request,
    where: Paths,
    head: Sequence[str],
    run: Sequence[str],
    guards: Sequence[str],
) -> str:
    removed = ['"$cluster_record"']
    if not isinstance(request.program, Command):
        removed.append(quote(where.result) + '"${cluster_index:+.$cluster_index}"')
    warning = _warning(dialect, request)
    parts = [
        "#!/bin/bash",
        *head,
        f"# job {_shown(request.name)}",
        "",
        f"cluster_job={dialect.job_id}",
        f"cluster_index={dialect.array_index}",
        f"cluster_attempt=$(( {dialect.restarts} + 1 ))",
        f'cluster_record={quote(where.record)}"${{cluster_index:+.$cluster_index}}"',
        *([f"cluster_warning={warning}"] if warning else []),
        f"command rm -f -- {' '.join(removed)}  # what an earlier attempt left",
        "",
        TIMES,
        *_redirection(dialect, request, where),
        *(["", REQUIRE, *guards] if guards else []),
        "",
        "job() {",
        *_indented([*_environment(request), *run]),
        "}",
        "",
        AROUND_WARNED if warning else AROUND,
        *_exit(dialect.reserved_codes),
    ]
    return "\n".join(parts) + "\n"


def _redirection(dialect: Dialect, request: Request, where: Paths) -> list[str]:
    """Open the files of output in the script where a directive is no good for it.

    Grid Engine cuts a path at a quote or a #, appends always, and puts a job
    whose file cannot be opened into a state of error, for ever; LSF writes a
    report into them; Torque names an element's file as it likes.
    """
    if not dialect.redirects:
        return []
    sign = ">>" if request.options.get("append") else ">"
    stdout, stderr = (_place(path, _is_array(request)) for path in (where.stdout, where.stderr))
    both = "2>&1" if stdout == stderr else f"2{sign}{stderr}"
    failed = "{ cluster_leave_record 1; exit 1; }"
    return ["", _environment(request)[0], f"exec {sign}{stdout} {both} || {failed}"]


def _place(path: str, array: bool) -> str:
    parts = path.split("{index}") if array else [path]
    return '"$cluster_index"'.join(quote(part) for part in parts)


def _warning(dialect: Dialect, request: Request) -> str:
    wanted = request.options.get("signal")
    if not wanted or not dialect.warns_script_only:
        return ""
    return signals.Signals(wanted[0]).name.removeprefix("SIG")


def _shown(name: str) -> str:
    return name if name.isprintable() else repr(name)[:200]


def _indented(lines: Sequence[str]) -> list[str]:
    # A text of several lines stays where it is: a blank in front would change
    # what is in its quotes and here-documents.
    return [line if "\n" in line else f"    {line}" for line in lines]


def _exit(reserved: Sequence[int]) -> list[str]:
    if not reserved:
        return ['exit "$cluster_code"']
    codes = "|".join(str(code) for code in reserved)
    return [
        'case "$cluster_code" in',
        f"    {codes}) exit 1 ;;  # this scheduler takes these for orders; the record has the code",
        '    *) exit "$cluster_code" ;;',
        "esac",
    ]


def _guards(
    dialect: Dialect, request: Request, records: Mapping[str, Sequence[str]] | None
) -> list[str]:
    lines = []
    for kind, id in dialect.guards(request):
        words = [kind, id, *(records or {})[id]]
        lines.append("cluster_require " + " ".join(quote(word) for word in words))
    return lines


# ---------------------------------------------------------------- the environment


def _environment(request: Request) -> list[str]:
    """Write what stands before the program: variables, umask, working directory."""
    options = request.options
    mask = options.get("umask")
    lines = [f"umask {files.current_umask() if mask is None else mask:04o}"]
    lines += _variables(request)
    lines += [f"unset {name}" for name in map(os.fsdecode, options.get("env_unset") or ())]
    lines += [
        f"export {os.fsdecode(name)}={quote(os.fsdecode(value))}"
        for name, value in (options.get("env") or {}).items()
    ]
    lines.append(f"cd {script.quote_path(os.fsdecode(request.cwd))} || exit")
    return lines


def _variables(request: Request) -> list[str]:
    get = request.options.get
    cores, mib = get("cores", 1), get("mem", 0)
    lines = [
        'export CLUSTER_JOB_ID="$cluster_job${cluster_index:+_$cluster_index}"',
        f"export CLUSTER_JOB_NAME={quote(request.name)}",
        f"export CLUSTER_CORES={cores * get('tasks', 1)}",
        "unset CLUSTER_MEMORY_MIB CLUSTER_ARRAY_ID CLUSTER_ARRAY_INDEX CLUSTER_RAW_ID",
    ]
    if mib:
        lines.append(f"export CLUSTER_MEMORY_MIB={mib}")
    if _is_array(request):
        lines.append('export CLUSTER_ARRAY_ID="$cluster_job" CLUSTER_ARRAY_INDEX="$cluster_index"')
    lines.append("export " + " ".join(f"{name}={cores}" for name in THREADS))
    return lines


def _late_variables(options: Mapping[str, Any]) -> list[str]:
    """Write what changes variables that modules change too: it has the last word."""
    lines = []
    if options.get("venv"):
        lines += _activate(os.path.abspath(os.fsdecode(options["venv"])))
    for keyword in ("env_prepend", "env_append"):
        for name, part in (options.get(keyword) or {}).items():
            key, piece = os.fsdecode(name), quote(os.fsdecode(part))
            joined = f'{piece}"${{{key}:+:${key}}}"'
            if keyword == "env_append":
                joined = f'"${{{key}:+${key}:}}"{piece}'
            lines.append(f"export {key}={joined}")
    return lines


def _activate(venv: str) -> list[str]:
    place = quote(venv)
    return [
        f"if [ -d {place}/conda-meta ]; then export CONDA_PREFIX={place}; "
        f"else export VIRTUAL_ENV={place}; fi",
        f'export PATH={place}/bin"${{PATH:+:$PATH}}"',
        "unset PYTHONHOME",
    ]


# ---------------------------------------------------------------- the program


def _body(options: Mapping[str, Any], command: str, prefix: str) -> list[str]:
    """Write what the job's shell runs, a line (or a text of the user's) each."""
    lines = _modules(options.get("modules") or ())
    lines += _late_variables(options)
    if options.get("prologue"):
        lines.append(_verbatim(options["prologue"], prefix))
    command = _verbatim(command, prefix)
    epilogue = options.get("epilogue")
    ending = [_verbatim(epilogue, prefix)] if epilogue else []
    return [*lines, *script.with_epilogue(command, ending, guarded=bool(options.get("prologue")))]


def _modules(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    find = (
        "for cluster_init in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh "
        '"${MODULESHOME:-/usr/share/modules}/init/sh"; do'
    )
    missing = f"no command 'module' on this machine; going on without: {' '.join(names)}"
    return [
        "# A shell that is no login shell may not know `module` yet.",
        find,
        "    if command -v module >/dev/null 2>&1; then break; fi",
        "    # shellcheck disable=SC1090  # the node has it",
        '    if [ -r "$cluster_init" ]; then . "$cluster_init"; fi',
        "done",
        "if command -v module >/dev/null 2>&1; then",
        *(f"    module {' '.join(script.module_words(name))}" for name in names),
        "else",
        f"    printf '%s\\n' {quote(missing)} >&2",
        "fi",
    ]


def _verbatim(text: str, prefix: str) -> str:
    """Give shell text such that no scheduler reads a directive in it."""
    if "\r" in text or any(line.startswith(prefix) for line in text.split("\n")):
        return f"eval {quote(text)}"
    return text.rstrip("\n")


def _command_text(program: Command, launcher: Sequence[str]) -> str:
    words = [os.fsdecode(word) for word in program.argv]
    if not program.text:
        return _exec([*launcher, *words])
    if launcher:
        behind = ["bash", *words] if words else []
        text = f'{program.text.rstrip()} "$@"' if words else program.text
        return _exec([*launcher, "/bin/bash", "-c", text, *behind])
    arguments = " ".join(quote(word) for word in words)
    return f"{program.text.rstrip()} {arguments}" if words else program.text


def _exec(words: Sequence[str]) -> str:
    # exec: a program, whatever builtin or function has its name, and one that
    # gets the signals itself.
    return f"exec -- {' '.join(quote(word) for word in words)}"


def _function(request: Request, path: str, outfile: str, python: str) -> Function:
    from inspect import getsource

    from cluster import runner

    assert request.payload is not None
    infile = f"{path}.pickle.in"
    text = script.render_function(
        getsource(runner),
        python=python,
        infile=infile,
        outfile=outfile,
        sys_path=_sys_path(request.options, python),
        per_index=_is_array(request),
    )
    disk = files.Disk()
    # Only its owner may be able to write what is unpickled: the runner looks.
    pickle = Script(request.payload.data, infile, disk, mode=0o600)
    return Function(text, path, disk, mode=0o755, pickle=pickle, outfile=outfile)


def _sys_path(options: Mapping[str, Any], python: str) -> list[str]:
    """List where a function looks for modules: where its submitter does.

    Another interpreter has libraries of its own.
    """
    mine = [os.path.abspath(os.fsdecode(path)) for path in options.get("syspaths") or ()]
    here = [path or os.getcwd() for path in sys.path if isinstance(path, str)]
    if python != sys.executable:
        ours = tuple(os.path.join(prefix, "") for prefix in {sys.prefix, sys.base_prefix})
        here = [path for path in here if not path.startswith(ours)]
    return list(dict.fromkeys([*mine, *here]))
