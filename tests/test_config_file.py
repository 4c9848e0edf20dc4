"""Settings and profiles: where a value comes from, how one is written, what is refused."""

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster import _config_store, config_file, logme
from cluster._config_store import Edit, new_parser
from cluster._settings_table import SETTINGS
from cluster.errors import ConfigError
from cluster.options import check_arguments

BIN = Path(__file__).parent.parent / "bin"


@pytest.fixture(autouse=True)
def user_file(tmp_path, monkeypatch):
    """A private home without any configuration; gives the user file's path."""
    for name in [name for name in os.environ if name.startswith("CLUSTER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(_config_store, "_warned", set())
    yield tmp_path / "config" / "cluster" / "cluster.cfg"
    config_file.use(None)


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(logme, "log", lambda message, level="info", **_: said.append(message))
    return said


def write(path, text, mode=0o600):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


# ---------------------------------------------------------------- reading


def test_without_files_the_defaults_hold_with_their_types():
    assert config_file.get("local", "idle_s") == 600.0
    assert config_file.get("local", "default_expect_s") == 3600.0
    assert config_file.get("local", "cores") is None
    assert config_file.get("retention", "outputs_days") == 30.0
    assert config_file.get("queue", "qtype") == "auto"


def test_reading_with_a_default_writes_nothing(tmp_path, user_file):
    assert config_file.get("mine", "key", default=7) == 7
    assert config_file.get("local", "idle_s", default=7) == 7
    assert config_file.get("mine", "key") is None

    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]


def test_each_place_wins_over_the_ones_below_it(tmp_path, user_file, monkeypatch):
    seen = [config_file.get("local", "grace_s")]
    write(user_file, "[local]\ngrace_s = 1\n")
    seen.append(config_file.get("local", "grace_s"))
    write(Path("cluster.cfg"), "[local]\ngrace_s = 2\n")
    seen.append(config_file.get("local", "grace_s"))
    monkeypatch.setenv("CLUSTER_CONFIG", str(write(tmp_path / "named", "[local]\ngrace_s=3\n")))
    seen.append(config_file.get("local", "grace_s"))
    config_file.use(write(tmp_path / "explicit", "[local]\ngrace_s=4\n"))
    seen.append(config_file.get("local", "grace_s"))
    monkeypatch.setenv("CLUSTER_CFG_LOCAL_GRACE_S", "5.5")
    seen.append(config_file.get("local", "grace_s"))

    assert seen == [5.0, 1, 2, 3, 4, 5.5]


def test_a_value_missing_above_is_taken_from_below(user_file):
    write(user_file, "[local]\nidle_s = 9\n")
    write(Path("cluster.cfg"), "[local]\ngrace_s = 2\n")

    assert config_file.get("local", "idle_s") == 9


def test_sources_tell_where_each_value_came_from(user_file, monkeypatch):
    write(user_file, "[local]\nidle_s = 9\n[mine]\nx = 50%% of $y\n")
    monkeypatch.setenv("CLUSTER_CFG_QUEUE_MAX_JOBS", "3")
    monkeypatch.setenv("CLUSTER_CFG_OTHER_THING", "t")

    found = {(one.section, one.key): (one.value, one.where) for one in config_file.sources()}

    assert found["local", "idle_s"] == (9.0, str(user_file))
    assert found["local", "grace_s"] == (5.0, "default")
    assert found["queue", "max_jobs"] == (3, "$CLUSTER_CFG_QUEUE_MAX_JOBS")
    assert found["other", "thing"] == ("t", "$CLUSTER_CFG_OTHER_THING")
    assert found["mine", "x"] == ("50%% of $y", str(user_file))


def test_a_section_and_everything_can_be_read_at_once(user_file):
    write(user_file, "[local]\nresources = license=2, gpfs=1\nmemory = 2G\n")

    assert config_file.get("local")["resources"] == {"license": 2, "gpfs": 1}
    assert config_file.get()["local"]["memory"] == 2048
    assert config_file.get("nothing") is None
    assert config_file.get_config().get("local", "memory") == "2048M"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_here_that_others_can_write_is_ignored_with_one_warning(mode, warnings):
    path = write(Path("cluster.cfg"), "[local]\ngrace_s = 2\n", mode)

    assert [config_file.get("local", "grace_s") for _ in range(3)] == [5.0] * 3
    assert len(warnings) == 1
    assert str(path.absolute()) in warnings[0]


def test_a_file_here_of_somebody_else_is_ignored(warnings, monkeypatch):
    write(Path("cluster.cfg"), "[local]\ngrace_s = 2\n")
    monkeypatch.setattr(os, "getuid", lambda: 12345)

    assert config_file.get("local", "grace_s") == 5.0
    assert "somebody else" in warnings[0]


def test_a_changed_file_is_read_again(user_file):
    write(user_file, "[local]\ngrace_s = 1\n")
    before = config_file.get("local", "grace_s")
    write(user_file, "[local]\ngrace_s = 22\n")

    assert (before, config_file.get("local", "grace_s")) == (1, 22)


@pytest.mark.parametrize(
    ("section", "key", "text", "words"),
    [
        ("local", "cores", "zero", "whole number, 1 or more"),
        ("local", "cores", "0", "whole number, 1 or more"),
        ("local", "memory", "4000", "no unit"),
        ("local", "idle_s", "10m", "a number"),
        ("local", "idle_s", "nan", "a number"),
        ("local", "resources", "license", "name=count"),
        ("queue", "qtype", "slurn", "one of auto, slurm"),
        ("local", "fsync", "maybe", "yes or no"),
    ],
)
def test_a_bad_value_names_file_section_key_and_what_is_accepted(
    user_file, section, key, text, words
):
    write(user_file, f"[{section}]\n{key} = {text}\n")

    with pytest.raises(ConfigError, match=words) as caught:
        config_file.get(section, key)

    assert all(word in str(caught.value) for word in (str(user_file), f"[{section}]", key, text))
    with pytest.raises(ConfigError, match=words):
        config_file.set(section, key, text)


def test_a_bad_value_in_the_environment_names_the_variable(monkeypatch):
    monkeypatch.setenv("CLUSTER_CFG_LOCAL_CORES", "many")

    with pytest.raises(ConfigError, match="CLUSTER_CFG_LOCAL_CORES"):
        config_file.get("local", "cores")


@pytest.mark.parametrize("text", ["key = 1\n", "[a]\nx = 1\nx = 2\n", "[a]\nnonsense\n"])
def test_a_broken_file_is_named_and_left_alone(user_file, text):
    write(user_file, text)

    with pytest.raises(ConfigError, match=r"cluster\.cfg is not a configuration file"):
        config_file.get("local", "cores")
    with pytest.raises(ConfigError, match="not a configuration file"):
        config_file.set("local", "cores", 1)
    assert user_file.read_text() == text


# ---------------------------------------------------------------- writing


def test_a_set_value_reads_back_and_the_file_is_private(user_file):
    config_file.set("local", "cores", 3)
    config_file.set("local", "memory", 4000)
    config_file.set("local", "fsync", True)

    assert config_file.get("local", "cores") == 3
    assert config_file.get("local", "memory") == 4000
    assert config_file.get("local", "fsync") is True
    assert user_file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in user_file.parent.iterdir()) == [
        "cluster.cfg", "cluster.cfg.lock",
    ]  # fmt: skip


def test_writing_keeps_comments_order_and_other_keys(user_file):
    text = "# mine\n[b]\nx = 1\n  more\n; why\ny : z = 2\n\n[local]\ncores = 1\n# end\n"
    write(user_file, text)

    config_file.set("local", "cores", 2)
    config_file.set("b", "x", "9")
    config_file.set("b", "new", "n")

    assert user_file.read_text() == (
        "# mine\n[b]\nx = 9\n; why\ny : z = 2\nnew = n\n\n[local]\ncores = 2\n# end\n"
    )


def test_a_key_and_a_section_are_deleted(user_file):
    write(user_file, "[a]\nx = 1\n  2\ny = 3\n[b]\nz = 4\n")

    assert config_file.delete("a", "x") is True
    assert config_file.delete("a", "x") is False
    assert config_file.delete("b") is True
    assert config_file.delete("nothing") is False
    assert user_file.read_text() == "[a]\ny = 3\n"


def test_writing_a_value_that_is_overridden_says_so(warnings, monkeypatch):
    monkeypatch.setenv("CLUSTER_CFG_LOCAL_CORES", "2")

    config_file.set("local", "cores", 3)

    assert "$CLUSTER_CFG_LOCAL_CORES overrides it" in warnings[0]


@pytest.mark.parametrize("text", [" x", "x ", "a\n\nb", "a\n# b", "a\r\nb", "a\0b"])
def test_a_value_that_a_file_would_change_is_refused(text, user_file):
    with pytest.raises(ConfigError):
        config_file.set("mine", "key", text)

    assert not user_file.exists()


@pytest.mark.parametrize(
    ("section", "key"),
    [("a]b", "k"), ("a\nb", "k"), ("a", "k=v"), ("a", "#k"), ("a", "k\nx"), ("", "k")],
)
def test_a_name_that_a_file_would_change_is_refused(section, key, user_file):
    with pytest.raises(ConfigError):
        config_file.set(section, key, "1")

    assert not user_file.exists()


def test_a_failed_replace_leaves_the_old_file_and_no_other(user_file, monkeypatch):
    write(user_file, "[a]\nx = 1\n")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ConfigError, match="No space left"):
        config_file.set("a", "x", "2")

    assert user_file.read_text() == "[a]\nx = 1\n"
    assert not list(user_file.parent.glob(".*"))


def test_a_linked_file_stays_a_link(tmp_path, user_file):
    real = write(tmp_path / "dotfiles" / "cfg", "[a]\nx = 1\n")
    user_file.parent.mkdir(parents=True)
    user_file.symlink_to(real)

    config_file.set("a", "x", "2")

    assert user_file.is_symlink()
    assert real.read_text() == "[a]\nx = 2\n"


def test_two_processes_that_write_at_once_lose_nothing(user_file):
    code = (
        "import sys; from cluster import config_file\n"
        "for n in range(10): config_file.set('s', f'k{sys.argv[1]}x{n}', n)"
    )
    root = str(Path(__file__).parent.parent)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(n)], env={**os.environ, "PYTHONPATH": root}
        )
        for n in range(3)
    ]

    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert len(config_file.get("s")) == 30


NAME = st.text("abcXYZ09_", min_size=1, max_size=6)
VALUE = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)


@given(st.lists(st.tuples(NAME, NAME, VALUE), max_size=12))
def test_any_accepted_value_is_read_back_as_it_was_written(changes):
    edit, expected = Edit(""), {}
    for section, key, value in changes:
        try:
            edit.set(section, key, value)
        except ConfigError:
            continue
        expected[section, key.lower()] = value

    parser = new_parser()
    parser.read_string("".join(f"{line}\n" for line in edit.lines))

    assert {(s, k): parser.get(s, k) for s in parser.sections() for k in parser[s]} == expected


# ---------------------------------------------------------------- profiles


def test_a_profile_keeps_the_meaning_of_its_values():
    given = {
        "mem": 4000,
        "time": 90,
        "expect": timedelta(minutes=2),
        "cores": 4,
        "exclusive": True,
        "env": {"A": "x y", "B": "1"},
        "modules": ["gcc/12", "python"],
        "prologue": "set -e\ncd /x",
        "submit_args": ["--x", "a b"],
        "outfile": Path("/a b/c"),
        "resources": {"lic": 2},
        "imports": ["import os, sys", "import re"],
        "qos": None,
    }
    config_file.set_profile("big", given)

    read = config_file.get_profile("big")

    assert check_arguments(read.kwds) == check_arguments(given)
    assert read.mem == "4000M"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.integers(1, 10**9), st.floats(0.001, 10**7), st.dictionaries(NAME, VALUE, min_size=1))
def test_numbers_and_environments_survive_a_profile(mem, time, env):
    given = {"mem": mem, "time": round(time, 3), "env": env}
    try:
        config_file.Profile("p", given).write()
    except ConfigError:
        return

    assert check_arguments(config_file.get_profile("p").kwds) == check_arguments(given)


def test_a_profile_inherits_and_overrides_by_meaning():
    config_file.set_profile("base", {"cores": 4, "memory": "1G", "time": "1h"})
    config_file.set_profile("wide", {"inherits": "base", "threads": 16})

    assert config_file.get_profile("wide").kwds == {"memory": "1G", "time": "1h", "threads": "16"}


def test_inheriting_in_a_circle_or_from_nobody_is_an_error():
    config_file.set_profile("a", {"inherits": "b"})
    config_file.set_profile("b", {"inherits": "a"})
    config_file.set_profile("c", {"inherits": "nobody"})

    with pytest.raises(ConfigError, match="a -> b -> a"):
        config_file.get_profile("a")
    with pytest.raises(ConfigError, match="'nobody', which does not exist"):
        config_file.get_profile("c")


def test_every_job_gets_default_then_global_then_its_profile(user_file):
    config_file.set_profile("default", {"cores": 1, "mem": "1G", "qos": "low"})
    config_file.add_global({"memory": "2G", "account": "bio"})
    config_file.set_profile("big", {"account": "geo"})

    assert config_file.job_options() == {
        "cores": "1", "qos": "low", "memory": "2G", "account": "bio",
    }  # fmt: skip
    assert config_file.job_options("big")["account"] == "geo"
    assert user_file.read_text().startswith("[default]\n")


def test_a_profile_that_does_not_exist_is_named_with_those_that_do():
    config_file.set_profile("big", {"cores": 2})

    assert config_file.get_profile("bigg") is None
    with pytest.raises(ConfigError, match="no profile 'bigg'; profiles: big"):
        config_file.job_options("bigg")


def test_a_written_profile_replaces_the_earlier_one():
    config_file.set_profile("big", {"cores": 2, "qos": "x"})
    config_file.set_profile("big", {"cores": 3})

    assert config_file.get_profile() == {"big": config_file.Profile("big", {"cores": "3"})}


@pytest.mark.parametrize("name", ["", "a b", "a]", "-x", "a\nb"])
def test_a_bad_profile_name_is_refused(name):
    with pytest.raises(ConfigError, match="cannot name a profile"):
        config_file.set_profile(name, {})


def test_defaults_of_a_command_have_a_section_of_their_own(user_file, monkeypatch):
    write(user_file, "[command run]\ncores = 2\n")
    monkeypatch.setenv("CLUSTER_CFG_COMMAND_RUN_MEM", "1G")

    assert config_file.command_options("run") == {"cores": "2", "mem": "1G"}


def test_importing_reads_nothing_and_loads_no_parser():
    code = (
        "import sys; import cluster.config_file; "
        "print([m for m in ('configparser','filelock','platformdirs','subprocess') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(BIN.parent)},
    )

    assert done.stdout.strip() == "[]"


# ---------------------------------------------------------------- bin/


def tool(name, *words, stdin=""):
    done = subprocess.run(
        [sys.executable, str(BIN / name), *words],
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(BIN.parent)},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_cluster_profile_adds_edits_lists_and_removes():
    assert tool("cluster-profile", "add", "big", "cores=4", "mem=1G") == (0, "", "")
    assert tool("cluster-profile", "add", "big", "cores=4")[0] == 1
    assert tool("cluster-profile", "edit", "big", "threads=8", "--remove", "memory")[0] == 0
    assert tool("cluster-profile", "add-global", "partition=short")[0] == 0
    code, out, _ = tool("cluster-profile", "list")
    assert (code, out) == (0, "big\n    threads = 8\nevery job\n    partition = short\n")
    assert tool("cluster-profile", "remove-global", "queue")[0] == 0
    assert tool("cluster-profile", "remove-global", "queue")[0] == 1
    assert tool("cluster-profile", "reset", stdin="n\n")[0] == 1
    assert tool("cluster-profile", "remove", "big")[0] == 0
    assert tool("cluster-profile", "list") == (0, "", "")


@pytest.mark.slow
def test_cluster_profile_refuses_what_a_submission_would_refuse(user_file):
    code, out, err = tool("cluster-profile", "add", "x", "coers=4", "time=90")

    assert (code, out) == (1, "")
    assert "did you mean cores?" in err
    assert "no unit" in err
    assert not user_file.exists()


@pytest.mark.slow
def test_cluster_keywords_prints_help_names_and_json():
    assert tool("cluster-keywords", "--list")[1].splitlines()[0] == "cores"
    assert '"--cpus-per-task={text}"' in tool("cluster-keywords", "--json", "slurm")[1]
    assert tool("cluster-keywords", "nosuch")[0] == 1
    assert tool("cluster-keywords", "--nosuch")[0] == 2


# ---------------------------------------------------------------- the page about it


def test_the_page_on_configuration_has_every_setting_with_its_default():
    page = Path(__file__).parents[1] / "docs" / "configuration.md"
    told = dict(_rows(page.read_text("utf-8")))

    wanted = {key: _shown(setting.default) for key, setting in SETTINGS.items()}
    assert told == wanted


def _shown(default):
    if default in (None, {}):
        return "no default"
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _rows(text):
    """Give what the tables say: ((section, key), default)."""
    sections = []
    for line in text.split("## Settings")[1].split("\n## ")[0].splitlines():
        if line.startswith("**"):
            sections = re.findall(r"`\[(\w+)\]`", line)
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        for name in re.findall(r"`([\w.]+)`", cells[0]) if cells else ():
            section, _, key = name.rpartition(".")
            default = cells[1].strip("`") if cells[1].startswith("`") else "no default"
            yield (section or sections[0], key), default
