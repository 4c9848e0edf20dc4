"""The keywords of a job and of its profile, as one checked dict."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from cluster import config_file, options, request
from cluster.errors import OptionsError
from cluster.request import Problems

__all__ = ["below", "read_options", "working_directory"]


def read_options(
    given: Mapping[str, Any],
    path: str | os.PathLike[str] | None,
    profile: str | None,
    problems: Problems,
) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """Lay the user's keywords over the profile's, and take out the jobs among dependencies.

    A keyword given as None takes the profile's away.

    Args:
        given: keywords as the user wrote them.
        path: another word for `filedir`.
        profile: its name; None is the default one.
        problems: gets every mistake.

    Returns:
        Canonical keywords, and (type, job) for each job object.
    """
    mine = dict(given)
    after: list[tuple[str, Any]] = []
    for key in [key for key in mine if options.canonical_name(key) == "dependencies"]:
        with problems.collect():
            mine[key], jobs = request.split_jobs(mine[key])
            after += jobs
        mine[key] = mine[key] or None
    if path is not None:
        mine["filedir"] = path
    found: dict[str, Any] = {}
    with problems.collect():
        found = options.check_arguments(config_file.job_options(profile))
    said = {options.canonical_name(key) for key in mine}
    found = {key: value for key, value in found.items() if key not in said}
    return found | _check(mine, problems), after


def _check(mine: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    try:
        return options.check_arguments(mine)
    except OptionsError as error:
        whole = error
    # One by one: what is right is needed to find what else is wrong.
    right: dict[str, Any] = {}
    wrong = False
    for key, value in mine.items():
        try:
            right |= options.check_arguments({key: value})
        except OptionsError as error:
            problems.add(str(error))
            wrong = True
    if not wrong:
        problems.add(str(whole))
    return right


def working_directory(given: Mapping[str, Any]) -> bytes:
    """Give the absolute directory that a job starts in.

    Raises:
        OptionsError: it is not said, and the current one was deleted.
    """
    try:
        here = os.getcwdb()
    except FileNotFoundError:
        if os.path.isabs(given.get("dir") or ""):
            here = b"/"
        else:
            raise OptionsError(
                "the current directory was deleted. Change to another, or give dir=."
            ) from None
    # Not shortened: what `..` means behind a link, only the file system knows.
    return os.path.join(here, os.fsencode(given["dir"])) if given.get("dir") else here


def below(cwd: bytes, path: str | None) -> bytes:
    """Give the absolute path of a file that was named from `cwd`; empty if none was."""
    return os.path.join(cwd, os.fsencode(path)) if path else b""
