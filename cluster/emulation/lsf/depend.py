"""The dependency conditions of `bsub -w`: read, judged, and written as the queue has them.

Pure.  A condition is a tree of tuples: ("and", a, b), ("or", a, b), ("not", a),
and a leaf `Term`.  What the queue can watch by itself (all of, or one of, plain
conditions) is handed to it; the rest is judged again after each ending.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.spec import Dependency

__all__ = [
    "FALSE",
    "NEVER",
    "TRUE",
    "BadCondition",
    "Fact",
    "Term",
    "judge",
    "native",
    "parse",
    "terms",
]

TRUE, FALSE, NEVER = "true", "false", "never"
_TYPES = {"done": "afterok", "ended": "afterany", "exit": "afternotok", "started": "after",
          "post_done": "afterok", "post_err": "never"}  # fmt: skip
_COUNTS = ("numdone", "numended", "numexit", "numhold", "numpend", "numrun", "numstart")
_TOKEN = re.compile(
    r"""\s*(?:(?P<op>&&|\|\||!(?!=)|\(|\)|,)|(?P<cmp>>=|<=|==|!=|>|<)|"(?P<quoted>[^"]*)"|"""
    r"""'(?P<single>[^']*)'|(?P<word>[^\s&|!(),<>="']+))"""
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


class BadCondition(ValueError):
    """It cannot be read."""


@dataclass(frozen=True)
class Term:
    """One condition: `kind(job, op number)`; number -1 is none, "*" all elements."""

    kind: str
    job: str
    op: str = ""
    number: int = -1


@dataclass(frozen=True)
class Fact:
    """What is known of one job or element: its state (ours) and its exit code."""

    state: str
    code: int = 0
    begun: bool = False


def parse(text: str) -> Any:
    """Read a condition."""
    tokens: list[tuple[str, str]] = []
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadCondition(text)
        kind = str(match.lastgroup)
        tokens.append(("word" if kind in ("quoted", "single") else kind, match[kind]))
        at = match.end()
    tree = _either(tokens)
    if tokens:
        raise BadCondition(text)
    return tree


def _either(tokens: list[tuple[str, str]]) -> Any:
    left = _both(tokens)
    while tokens and tokens[0] == ("op", "||"):
        tokens.pop(0)
        left = ("or", left, _both(tokens))
    return left


def _both(tokens: list[tuple[str, str]]) -> Any:
    left = _one(tokens)
    while tokens and tokens[0] == ("op", "&&"):
        tokens.pop(0)
        left = ("and", left, _one(tokens))
    return left


def _one(tokens: list[tuple[str, str]]) -> Any:
    if not tokens:
        raise BadCondition("")
    kind, text = tokens.pop(0)
    if (kind, text) == ("op", "!"):
        return ("not", _one(tokens))
    if (kind, text) == ("op", "("):
        inner = _either(tokens)
        _take(tokens, ")")
        return inner
    if kind != "word":
        raise BadCondition(text)
    if tokens and tokens[0] == ("op", "(") and (text in _TYPES or text in _COUNTS):
        tokens.pop(0)
        return _call(text, tokens)
    return Term("done", text)  # a bare name or id


def _take(tokens: list[tuple[str, str]], text: str) -> None:
    if not tokens or tokens.pop(0) != ("op", text):
        raise BadCondition(text)


def _call(kind: str, tokens: list[tuple[str, str]]) -> Term:
    if not tokens or tokens[0][0] != "word":
        raise BadCondition(kind)
    job, op, number = tokens.pop(0)[1], "", -1
    if tokens and tokens[0] == ("op", ","):
        tokens.pop(0)
        op = tokens.pop(0)[1] if tokens and tokens[0][0] == "cmp" else "=="
        word = tokens.pop(0) if tokens else ("", "")
        if word == ("word", "*"):
            op, number = "*", 0
        elif word[0] == "word" and word[1].isdigit():
            number = int(word[1])
        else:
            raise BadCondition(kind)
    if kind in _COUNTS and not op:
        raise BadCondition(kind)
    _take(tokens, ")")
    return Term(kind, job, op, number)


def terms(tree: Any) -> list[Term]:
    """Give all conditions of a tree."""
    if isinstance(tree, Term):
        return [tree]
    return [term for branch in tree[1:] for term in terms(branch)]


def native(
    tree: Any, ids: Callable[[str], Sequence[str]]
) -> tuple[tuple[Dependency, ...], bool] | None:
    """Write a condition as the queue's own; None if the queue has no words for it.

    Args:
        tree: as `parse` gave it.
        ids: jobs that a name or id means.

    Returns:
        The dependencies, and whether one of them is enough.
    """
    for word, either in (("and", False), ("or", True)):
        leaves = _flat(tree, word)
        if leaves is None:
            continue
        found: list[Dependency] = []
        for term in leaves:
            jobs = ids(term.job)
            if term.op or term.kind not in _TYPES or term.kind == "post_err":
                return None
            if either and len(leaves) > 1 and len(jobs) > 1:
                return None  # all jobs of one name, or another condition
            kind = "aftercorr" if term.job.endswith("[*]") else _TYPES[term.kind]
            if kind == "aftercorr" and term.kind != "done":
                return None
            found += [Dependency(job, kind) for job in jobs]
        return tuple(dict.fromkeys(found)), either and len(leaves) > 1
    return None


def _flat(tree: Any, word: str) -> list[Term] | None:
    if isinstance(tree, Term):
        return [tree]
    if tree[0] != word:
        return None
    parts = [_flat(branch, word) for branch in tree[1:]]
    if any(part is None for part in parts):
        return None
    return [term for part in parts if part for term in part]


# ---------------------------------------------------------------- judging

_FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "LOST")


def judge(tree: Any, facts: Callable[[str], Iterable[Fact]]) -> str:
    """Say whether a condition holds now, does not hold yet, or never can any more."""
    if isinstance(tree, Term):
        return _judge_term(tree, list(facts(tree.job)))
    found = [judge(branch, facts) for branch in tree[1:]]
    if tree[0] == "not":
        return NEVER if found[0] == TRUE else TRUE
    if tree[0] == "and":
        return NEVER if NEVER in found else TRUE if set(found) == {TRUE} else FALSE
    return TRUE if TRUE in found else NEVER if set(found) == {NEVER} else FALSE


def _judge_term(term: Term, jobs: list[Fact]) -> str:
    over = [job for job in jobs if job.state in _FINAL]
    bad = [job for job in over if job.state != "COMPLETED"]
    is_over = len(over) == len(jobs)
    if term.kind in _COUNTS:
        return _judge_count(term, jobs)
    if term.kind == "started":
        return TRUE if all(job.begun for job in jobs) else NEVER if is_over else FALSE
    if term.kind == "ended":
        return TRUE if is_over else FALSE
    if term.kind in ("done", "post_done"):
        return NEVER if bad else TRUE if is_over else FALSE
    if term.kind == "post_err":
        return NEVER if is_over else FALSE
    if not is_over:
        return FALSE
    if term.op:
        fits = any(_COMPARE[term.op](job.code, term.number) for job in bad)
        return TRUE if fits else NEVER
    return TRUE if bad else NEVER


def _judge_count(term: Term, jobs: list[Fact]) -> str:
    states = {
        "numdone": ("COMPLETED",), "numended": _FINAL, "numexit": _FINAL[1:], "numhold": ("HELD",),
        "numpend": ("PENDING",), "numrun": ("RUNNING",), "numstart": ("RUNNING", "SUSPENDED"),
    }[term.kind]  # fmt: skip
    count = sum(job.state in states for job in jobs)
    holds = count == len(jobs) if term.op == "*" else _COMPARE[term.op](count, term.number)
    if holds:
        return TRUE
    return NEVER if all(job.state in _FINAL for job in jobs) else FALSE
