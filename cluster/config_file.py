"""Settings and profiles, from files and the environment.

Where a value comes from, the first that has it:

    CLUSTER_CFG_<SECTION>_<KEY>    environment
    the path given explicitly      `use(path)`
    $CLUSTER_CONFIG                a file
    ./cluster.cfg                  only if it is the user's and nobody else can write it
    <user configuration>/cluster.cfg
    the table of defaults          `_settings_table.py`

Reading never writes.  Writing goes to the explicit path, else to
$CLUSTER_CONFIG, else to the user file; it keeps comments and other keys.

Sections: `[queue]`, `[local]`, `[scheduler]`, `[jobs]`, `[retention]` hold settings;
`[default]` is the profile of every job, `[profile NAME]` one by name,
`[global]` options for every job, `[command NAME]` defaults of one CLI command.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster import _config_store as store
from cluster._config_values import KINDS
from cluster._config_values import to_text as _to_text
from cluster._settings_table import SETTINGS
from cluster.errors import ConfigError, UnitsError, UnknownProfile

if TYPE_CHECKING:
    from configparser import RawConfigParser

__all__ = [
    "Profile",
    "Source",
    "add_global",
    "check",
    "check_parents",
    "command_options",
    "default_path",
    "delete",
    "delete_profile",
    "edit_profile",
    "get",
    "get_config",
    "get_profile",
    "global_options",
    "heirs",
    "job_options",
    "parents",
    "profile_names",
    "remove_global",
    "reset_profiles",
    "set",
    "set_profile",
    "sources",
    "use",
]

INHERITS = "inherits"
_PROFILE_NAME = re.compile(r"[A-Za-z0-9_][\w.+-]*\Z")

use = store.use
default_path = store.write_path


class Source(NamedTuple):
    """A value and where it came from: a path, `$VARIABLE`, or "default"."""

    section: str
    key: str
    value: Any
    where: str


# ---------------------------------------------------------------- settings


def get(section: str | None = None, key: str | None = None, default: Any = None) -> Any:
    """Read one setting, a section, or everything.

    Reading a setting never writes one: `default` is only returned, whatever an
    older documentation of this function says about creating the key.

    Args:
        section: None is all sections, as a dict of dicts.
        key: None is the whole section, as a dict.
        default: returned when the key is set nowhere, before the table's own.

    Returns:
        A value of the type that the table of settings gives it; text for keys
        that are not in the table; None when there is no such key.

    Raises:
        ConfigError: a value cannot be read; it names file, section and key.
    """
    if section is None:
        found: dict[str, dict[str, Any]] = {}
        for one in sources():
            found.setdefault(one.section, {})[one.key] = one.value
        return found
    if key is None:
        return {one.key: one.value for one in sources() if one.section == section} or default
    source = _find(section, key.lower(), store.layers())
    if source is not None:
        return source.value
    setting = SETTINGS.get((section, key.lower()))
    return default if default is not None or setting is None else setting.default


def sources() -> list[Source]:
    """Tell for each value where it came from, in the order of sections and keys."""
    layers = store.layers()
    keys = dict.fromkeys(SETTINGS)
    for _, parser in layers:
        keys.update(
            dict.fromkeys((name, key) for name in parser.sections() for key in parser[name])
        )
    keys.update(dict.fromkeys(_environment_keys(list(keys))))
    found = []
    for section, key in keys:
        source = _find(section, key, layers)
        found.append(source or Source(section, key, SETTINGS[section, key].default, "default"))
    return found


def _find(section: str, key: str, layers: list[store.Layer]) -> Source | None:
    name = _variable(section, key)
    if name in os.environ:
        return Source(section, key, _typed(section, key, os.environ[name], f"${name}"), f"${name}")
    for path, parser in layers:
        if parser.has_option(section, key):
            return Source(
                section, key, _typed(section, key, parser.get(section, key), str(path)), str(path)
            )
    return None


def _variable(section: str, key: str) -> str:
    return "CLUSTER_CFG_" + re.sub(r"\W", "_", f"{section}_{key}").upper()


def _environment_keys(known: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    taken = {_variable(section, key) for section, key in known}
    for name in os.environ:
        section, _, key = name.removeprefix("CLUSTER_CFG_").lower().partition("_")
        if name.startswith("CLUSTER_CFG_") and name not in taken and section and key:
            yield section, key


def set(section: str, key: str, value: Any) -> None:
    """Write one setting to the file; a warning is logged when another source hides it.

    Raises:
        ConfigError: the value is not what this setting accepts, or the file
            cannot be written.
    """
    key = key.lower()
    text = _to_text(key, value)
    path = store.write_path()
    check(section, key, value)
    with store.editing(path) as config:
        config.set(section, key, text)
    source = _find(section, key, store.layers())
    if source is not None and source.where != str(path):
        from cluster import logme

        logme.log(f"{section}.{key} was written to {path}, but {source.where} overrides it", "warn")


def check(section: str, key: str, value: Any) -> None:
    """Raise if `set` would not take this value; it writes nothing.

    Raises:
        ConfigError: the value is not what this setting accepts.
    """
    key = key.lower()
    _typed(section, key, _to_text(key, value), str(store.write_path()))


def delete(section: str, key: str | None = None) -> bool:
    """Delete a key, or a whole section, from the file.

    Returns:
        Whether it was there.
    """
    with store.editing(store.write_path()) as config:
        return config.remove(section, key.lower() if key is not None else None)


def get_config() -> RawConfigParser:
    """Load everything, defaults included, as one parser of texts; changes to it are not kept."""
    parser = store.new_parser()
    for one in sources():
        if not parser.has_section(one.section):
            parser.add_section(one.section)
        if one.value is not None:
            parser.set(one.section, one.key, _to_text(one.key, one.value))
    return parser


def _typed(section: str, key: str, text: str, where: str) -> Any:
    setting = SETTINGS.get((section, key))
    if setting is None:
        return text
    try:
        return KINDS[setting.kind](text.strip(), setting)
    except UnitsError as error:
        raise ConfigError(f"{where}: [{section}] {key}: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{where}: [{section}] {key} is {text!r}; {error}") from None


# ---------------------------------------------------------------- profiles


class Profile:
    """A named set of keywords; `write()` keeps it in the file.

    Attributes:
        name: what `profile=` of a submission names.
        kwds: keyword to value, as the user would give them to `submit`.
    """

    def __init__(self, name: str, kwds: Mapping[str, Any] | None = None) -> None:
        self.name, self.kwds = name, dict(kwds or {})

    def __repr__(self) -> str:
        return f"Profile({self.name!r}, {self.kwds!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and (self.name, self.kwds) == (other.name, other.kwds)

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["kwds"][name]
        except KeyError:
            raise AttributeError(f"profile has no keyword {name!r}") from None

    def write(self) -> None:
        """Write this profile to the file, in place of an earlier one of its name."""
        set_profile(self.name, self.kwds)


def set_profile(name: str, args: Mapping[str, Any]) -> None:
    """Write a profile, in place of an earlier one of its name.

    Values keep their meaning: an int of memory is written with its unit.  The
    keyword `inherits` names profiles to start from, the last one strongest.

    Raises:
        ConfigError: the name or a value cannot be written.
    """
    section = _section_of(name)
    with store.editing(store.write_path()) as config:
        config.remove(f"profile {name}", None)
        config.remove(section, None)
        config.add_section(section)
        _put(config, section, args)


def edit_profile(name: str, args: Mapping[str, Any], remove: Sequence[str] = ()) -> list[str]:
    """Change some keywords of a profile, and remove others; the rest stays as written.

    Returns:
        Those of `remove` that were there.
    """
    section = _section_of(name)
    with store.editing(store.write_path()) as config:
        removed = [key for key in remove if _drop(config, section, key)]
        for key in args:
            _drop(config, section, key)
        _put(config, section, args)
    return removed


def delete_profile(name: str) -> bool:
    """Remove a profile from the file; tell whether it was there."""
    with store.editing(store.write_path()) as config:
        found = config.remove(_section_of(name), None)
        return config.remove(f"profile {name}", None) or found


def _put(config: store.Edit, section: str, args: Mapping[str, Any]) -> None:
    for key, value in args.items():
        if value is not None:
            config.set(section, key.replace("-", "_"), _to_text(key, value))


def _drop(config: store.Edit, section: str, key: str) -> bool:
    """Remove a keyword under all of its names, so that no two mean the same."""
    from cluster._option_table import SYNONYMS

    word = key.replace("-", "_")
    name = SYNONYMS.get(word, word)
    names = [name, *(synonym for synonym, meant in SYNONYMS.items() if meant == name)]
    return any([config.remove(section, one) for one in names])


def get_profile(profile: str | None = None) -> Any:
    """Read a profile with everything it inherits.

    Returns:
        A `Profile` with its values as text; None if there is none of this
        name.  Without a name, a dict of all profiles.

    Raises:
        ConfigError: it inherits itself, or a profile that does not exist.
    """
    if profile is not None:
        found = _resolve(profile, ())
        return None if found is None else Profile(profile, found)
    return {name: get_profile(name) for name in profile_names()}


def job_options(profile: str | None = None) -> dict[str, str]:
    """Give what holds for a job before its own keywords: default, global, then `profile`.

    Raises:
        UnknownProfile: there is none; the message lists those there are.
    """
    # The dict below os.environ: decoding every name of it costs 20 us.
    raw = getattr(os.environ, "_data", None) or os.environb
    variables = [item for item in raw.items() if item[0].startswith(b"CLUSTER_CFG_")]
    key = (profile, store.stamp(), variables)
    if _last_options.get("key") != key:  # thousands of jobs are made with the same
        _last_options.update(key=key, options=_job_options(profile))
    return dict(_last_options["options"])


_last_options: dict[str, Any] = {}


def _job_options(profile: str | None) -> dict[str, str]:
    options = dict(_resolve("default", ()) or {})
    options = _over(options, global_options())
    if profile is None or profile == "default":
        return options
    chosen = _resolve(profile, ())
    if chosen is None:
        known = ", ".join(profile_names()) or "none"
        raise UnknownProfile(f"there is no profile {profile!r}; profiles: {known}")
    return _over(options, chosen)


def _over(below: dict[str, str], above: Mapping[str, str]) -> dict[str, str]:
    """Lay keywords over others; a synonym replaces what it means."""
    from cluster._option_table import SYNONYMS

    meant = {SYNONYMS.get(key, key) for key in above}
    return {k: v for k, v in below.items() if SYNONYMS.get(k, k) not in meant} | dict(above)


def global_options() -> dict[str, str]:
    """Give the options of every job."""
    return _section("global")


def command_options(command: str) -> dict[str, str]:
    """Give the defaults of one CLI command."""
    return _section(f"command {command}")


def add_global(args: Mapping[str, Any]) -> None:
    """Add options for every job."""
    with store.editing(store.write_path()) as config:
        for key in args:
            _drop(config, "global", key)
        _put(config, "global", args)


def remove_global(keys: Sequence[str]) -> list[str]:
    """Remove options for every job; give those that were there."""
    with store.editing(store.write_path()) as config:
        return [key for key in keys if _drop(config, "global", key)]


def reset_profiles() -> None:
    """Remove every profile and every global option from the file."""
    with store.editing(store.write_path()) as config:
        for section in config.sections():
            if section in ("default", "global") or section.startswith("profile "):
                config.remove(section, None)


def _section_of(name: str) -> str:
    if not isinstance(name, str) or not _PROFILE_NAME.match(name):
        raise ConfigError(
            f"{name!r} cannot name a profile; use letters, digits, and . _ + -, without blanks"
        )
    return "default" if name == "default" else f"profile {name}"


def profile_names() -> list[str]:
    """Give the names of all profiles, of those that cannot be used too."""
    names = {
        section.removeprefix("profile ").strip(): None
        for _, parser in store.layers()
        for section in parser.sections()
        if section == "default" or section.startswith("profile ")
    }
    return list(names)


def _section(section: str) -> dict[str, str]:
    layers = store.layers()
    keys = dict.fromkeys(
        key for _, parser in layers if parser.has_section(section) for key in parser[section]
    )
    prefix = _variable(section, "")
    keys.update(
        dict.fromkeys(
            name.removeprefix(prefix).lower()
            for name in os.environ
            if name.startswith(prefix) and name != prefix
        )
    )
    found = {key: _find(section, key, layers) for key in keys}
    return {key: one.value for key, one in found.items() if one is not None}


def _resolve(name: str, below: tuple[str, ...]) -> dict[str, str] | None:
    if name in below:
        raise ConfigError(
            f"profile {name!r} inherits itself: {' -> '.join([*below, name])}. Take one of these "
            f"out: cluster profile edit {name} --delete {INHERITS}"
        )
    if name not in profile_names():
        return None
    options: dict[str, str] = {}
    for parent in parents(name):
        inherited = _resolve(parent, (*below, name))
        if inherited is None:
            raise ConfigError(
                f"profile {name!r} inherits {parent!r}, which does not exist. Add that, or take "
                f"it out: cluster profile edit {name} --delete {INHERITS}"
            )
        options = _over(options, inherited)
    own = _own(name)
    own.pop(INHERITS, None)
    return _over(options, own)


def parents(name: str) -> list[str]:
    """Give the profiles that a profile names in `inherits`, the last one strongest."""
    return [word for word in re.split(r"[,\s]+", _own(name).get(INHERITS, "")) if word]


def heirs(name: str) -> list[str]:
    """Give the profiles that name this one in `inherits`."""
    return [other for other in profile_names() if name in parents(other)]


def check_parents(name: str, above: Iterable[str]) -> None:
    """Refuse parents that a profile cannot have.

    Raises:
        ConfigError: one does not exist, or inherits the profile itself.
    """
    for parent in above:
        if _resolve(parent, (name,)) is None:
            raise ConfigError(f"there is no profile {parent!r} to inherit from")


def _own(name: str) -> dict[str, str]:
    return _section(_section_of(name)) or _section(f"profile {name}")
