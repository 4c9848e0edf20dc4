"""Options of qsub: from words and scripts, one over the other."""

from __future__ import annotations

import pytest

from cluster.emulation.call import Stop
from cluster.emulation.sge import options
from cluster.emulation.sge.options import directives, pairs, read


def test_options_end_at_the_first_word_that_is_none() -> None:
    asked = read(["-cwd", "-N", "x", "-pe", "smp", "2-4", "job.sh", "-N", "y"], "qsub")

    assert asked.values == {"cwd": "y", "N": "x", "pe": "smp 2-4"}
    assert asked.rest == ["job.sh", "-N", "y"]


def test_requests_after_soft_are_soft_until_hard() -> None:
    asked = read(["-soft", "-l", "a=1", "-hard", "-l", "b=2", "-l", "c=3"], "qsub")

    assert asked.values == {"soft l": "a=1", "l": "b=2,c=3"}


def test_the_command_line_beats_the_script_but_lists_grow_together() -> None:
    script = read(
        [
            "-N",
            "s",
            "-l",
            "h_rt=10",
            "-q",
            "all.q",
            "-v",
            "A=1,B=2",
            "-hold_jid",
            "1",
            "-o",
            "so",
            "-cwd",
        ],
        "qsub",
    )
    typed = read(
        [
            "-N",
            "t",
            "-l",
            "s_rt=5",
            "-q",
            "other",
            "-v",
            "B=3,C=4",
            "-hold_jid",
            "2",
            "-o",
            "co",
            "-wd",
            "/x",
        ],
        "qsub",
    )

    both = typed.over(script)

    assert both.values == {
        "N": "t",
        "l": "h_rt=10,s_rt=5",
        "q": "other",
        "v": "A=1,B=2,B=3,C=4",
        "hold_jid": "1,2",
        "o": "co",
        "wd": "/x",
    }
    assert pairs(both.get("v")) == {"A": "1", "B": "3", "C": "4"}


def test_clear_forgets_what_was_said_before() -> None:
    assert read(["-N", "x", "-clear", "-cwd"], "qsub").over(read(["-N", "y"], "qsub")).values == {
        "cwd": "y"
    }


def test_a_script_may_have_options_on_any_line_that_begins_so() -> None:
    text = "#!/bin/sh\n#$ -N a -l x=1\necho\n#$ -j y -o 'a b'\n #$ -N no\n#SGE -N other\n"

    assert directives(text, "#$") == ["-N", "a", "-l", "x=1", "-j", "y", "-o", "a b"]
    assert directives(text, "#SGE") == ["-N", "other"]
    assert directives(text, "") == []


def test_a_file_of_options_is_read_where_it_is_named() -> None:
    asked = read(["-@", "opts", "s.sh"], "qsub", load=lambda name: "# note\n-cwd -N 'a b'\n")

    assert asked.values == {"cwd": "y", "N": "a b"}
    assert asked.rest == ["s.sh"]


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["-zzz"], 'qsub: invalid option argument "-zzz"\n', 2),
        (["-N"], "qsub: -N option must have argument\n", 2),
        (["-pe", "smp"], "qsub: -pe option must have range as 2nd argument\n", 2),
        (["-j", "q"], 'qsub: invalid option argument "-j q"\n', 7),
        (["-p", "2000"], 'qsub: invalid priority "2000".  Must be an integer from -1023 to 1024\n',
         7),
        (["-hold_jid", ""], 'qsub: Wrong jid_hold list format "" specified to -hold_jid option\n',
         7),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_as_grid_engine_tells_it(
    words: list[str], said: str, code: int
) -> None:
    with pytest.raises(Stop) as stop:
        options.read(words, "qsub")

    assert (stop.value.text, stop.value.code) == (said, code)


def test_a_command_does_not_take_the_options_of_another() -> None:
    with pytest.raises(Stop, match="invalid option"):
        read(["-terse"], "qalter")
    assert read(["-h", "u", "7"], "qalter").values == {"h": "u"}
