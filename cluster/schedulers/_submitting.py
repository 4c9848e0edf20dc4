"""Handing a script to a scheduler once, however often its answer gets lost.

Every submission carries a unique mark.  When nobody can tell whether a job was
taken, the scheduler is asked for the mark before the submission is repeated.

    submit -> id                              taken
    submit -> refused (OptionsError)          never taken: say why
    submit -> no answer -> find mark -> id    taken after all
                        -> find mark -> none  ask once more, then submit again
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cluster.errors import OptionsError, QueueError, ServerTimeout, ServerUnavailable
from cluster.schedulers._programs import Programs
from cluster.schedulers.dialect import Answer, Dialect, Seen, split_id

__all__ = ["MARK", "Submitter", "Taken", "mark_of", "new_mark"]

MARK = re.compile(r"cluster-[0-9a-f]{16}")
_TRIES = 4
_FIRST_PAUSE_S = 1.0
# A request that was on its way when its program was ended may still be taken: so
# long after, what the scheduler does not show it has not got.
_ARRIVES_S = 3.0


def new_mark() -> str:
    """Make a word that no other submission has."""
    return f"cluster-{os.urandom(8).hex()}"


def mark_of(text: str) -> str:
    """Find the mark of a submission in its script."""
    found = MARK.search(text)
    return found[0] if found else ""


class Taken(NamedTuple):
    """A job that the scheduler has.

    Attributes:
        id: the job's.
        repeated: when its submission was last repeated, seconds since the epoch;
            0 if it was not.  An earlier request may still arrive, see `_duplicates`.
    """

    id: str
    repeated: float


class Submitter:
    """Submits scripts.

    Args:
        dialect: the scheduler's words.
        programs: runs them.
        user: whose jobs they are.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        dialect: Dialect,
        programs: Programs,
        user: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._dialect, self._programs, self._user = dialect, programs, user
        self._sleep = sleep

    def hand_over(self, script: str, arguments: Sequence[str], text: str) -> Taken:
        """Submit a script file, once if that is in our power.

        Args:
            script: its path.
            arguments: the user's own.
            text: what stands in it.

        Raises:
            OptionsError: the scheduler refused it.
            QueueError: it could not be asked, or is full; the message says if
                it is not known whether the job was taken.
        """
        mark = mark_of(text)
        argv = self._dialect.submit(script, arguments)
        without = self._overriding(text)
        pause, repeated = _FIRST_PAUSE_S, 0.0
        for left in reversed(range(_TRIES)):
            try:
                answer = self._programs.run(argv, without=without, plain=False)
                id = self._dialect.parse_submit(answer)
            except (OptionsError, ServerUnavailable):
                raise  # it was refused, or there is no program to send it
            except QueueError as error:
                id = self._look_up(mark, script, error)
                if not id and not left:
                    raise
            except BaseException:
                self._withdraw(mark)
                raise
            if id:
                return Taken(id, repeated)
            self._sleep(pause)
            pause, repeated = pause * 2, time.time()
        raise AssertionError("the last try returns or raises")

    def _overriding(self, text: str) -> tuple[str, ...]:
        prefix = self._dialect.prefix
        lines = [
            line.removeprefix(prefix).strip()
            for line in text.splitlines()
            if line.startswith(prefix)
        ]
        ask = getattr(self._dialect, "overriding", None)
        return tuple(ask(lines)) if ask is not None else ()

    def _look_up(self, mark: str, script: str, error: QueueError) -> str:
        """Find out whether the job was taken; "" if it certainly was not."""
        try:
            id = self.find(mark)
            if not id and isinstance(error, ServerTimeout):
                self._sleep(_ARRIVES_S)
                id = self.find(mark)
        except QueueError as silence:
            raise QueueError(
                f"{error}\nWhether the job of {script} was taken is not known: {silence} "
                f"If it was, it carries the mark {mark}. Look for it before you submit again."
            ) from error
        return id

    def find(self, mark: str) -> str:
        """Give the id of the job with this mark; "" if the scheduler shows none."""
        argv = self._dialect.find(mark, self._user)
        seen = self._programs.ask(argv, self._dialect.parse_poll)
        return next(iter(_ids(one for one in seen if one.mark == mark)), "")

    def _withdraw(self, mark: str) -> None:
        """Ctrl-C came while the scheduler was thinking: it shall not keep the job."""
        try:
            id = self.find(mark)
            if id:
                self.cancel([id])
        except QueueError:
            from cluster import logme

            logme.log(f"a job with the mark {mark} may have been submitted", "warn")

    def cancel(self, ids: Sequence[str]) -> dict[str, str]:
        """End jobs; give what went wrong."""
        wrong: dict[str, str] = {}
        for argv in self._dialect.act("cancel", ids, 0):
            wrong.update(self._programs.ask(argv, self._parse_cancel))
        return wrong

    def _parse_cancel(self, answer: Answer) -> dict[str, str]:
        return self._dialect.parse_act("cancel", answer)


def _ids(seen: Iterable[Seen]) -> list[str]:
    return sorted({split_id(each.info.id)[0] for each in seen}, key=lambda id: (len(id), id))
