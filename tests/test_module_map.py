"""The map of the modules in CONTRIBUTING.md names each one, and none that is gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The others are named by their folder: a module for each command, or family, or kind of test.
FOLDERS = ("", "local", "schedulers", "launchers", "emulation")
_SECTION = re.compile(r"^## Where things are\n(.*?)^## ", re.MULTILINE | re.DOTALL)
_FOLDER = re.compile(r"\(`cluster/(\w+)/`\)")
_NAME = re.compile(r"`(\w+)`")
_PATH = re.compile(r"`((?:[\w.]+/)+(?:\w+\.py)?|\w+\.py)`")


def section() -> str:
    found = _SECTION.search((ROOT / "CONTRIBUTING.md").read_text())
    assert found is not None
    return found[1]


def named() -> dict[str, set[str]]:
    """The names on the map, by folder: a bullet is about one."""
    names: dict[str, set[str]] = {folder: set() for folder in FOLDERS}
    for bullet in section().split("\n- ")[1:]:
        folder = _FOLDER.search(bullet)
        names[folder[1] if folder else ""].update(_NAME.findall(bullet))
    return names


def there(folder: str) -> set[str]:
    return {path.stem for path in (ROOT / "cluster" / folder).glob("*.py")}


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_module_is_on_the_map(folder: str) -> None:
    assert there(folder) - {"__init__", "__main__"} - named()[folder] == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_name_on_the_map_is_a_module(folder: str) -> None:
    assert named()[folder] - there(folder) == set()


def test_each_path_on_the_map_is_there() -> None:
    paths = set(_PATH.findall(section()))

    assert len(paths) > 5
    missing = {
        each for each in paths if not any((top / each).exists() for top in (ROOT, ROOT / "cluster"))
    }
    assert missing == set()
