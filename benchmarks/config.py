"""Settings of a suite: the defaults in ``configs/``, overridden by a TOML file."""

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from transhash.errors import ResultsError

C = TypeVar("C")

_FOLDER = Path(__file__).parent / "configs"


def load(kind: type[C], suite: str, small: bool = False, path: Path | None = None) -> C:
    """Return a dataclass filled from ``configs/SUITE.toml``, ``configs/SUITE-small.toml`` if `small`, and `path`.

    Later files override earlier ones. Raises ResultsError for an unknown setting or a value of the wrong type.
    """
    values: dict[str, Any] = {}
    for source in (_FOLDER / f"{suite}.toml", _FOLDER / f"{suite}-small.toml" if small else None, path):
        if source is not None:
            values |= _checked(kind, source)
    return kind(**values)


def _checked(kind: type[Any], path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ResultsError(f"{path}: cannot be read as TOML: {error}") from None
    known = {field.name: field.type for field in fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise ResultsError(f"{path}: no setting {name}; available: {', '.join(known)}")
        if not _fits(value, known[name]):
            raise ResultsError(f"{path}: {name} = {value!r}: expected {_spelled(known[name])}")
    return values


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_fits(part, get_args(kind)[0]) for part in value)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(_fits(part, get_args(kind)[1]) for part in value.values())
    if kind is float and isinstance(value, int):
        return not isinstance(value, bool)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _spelled(kind: Any) -> str:
    return str(kind) if get_origin(kind) else str(kind.__name__)
