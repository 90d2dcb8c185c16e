"""Check the arguments of public functions against their annotations before the function runs."""

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cache, wraps
from inspect import Parameter, signature
from itertools import islice
from numbers import Real
from operator import index
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, ParamSpec, TypeVar, Union, get_args, get_origin

from ..errors import TransHashError

P = ParamSpec("P")
R = TypeVar("R")

_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_WITHOUT_CONTENTS = (int, float, bool, NoneType, dict)  # types of which every value passes if one does
_CHECKED = 10_000  # members of a list whose types are checked
_MAX_TEXT = 1000  # characters of a name or choice
_MAX_PATH, _MAX_NAME = 4096, 255  # bytes that the system accepts


class _Kind(NamedTuple):
    """A description of the values that an annotation allows, and the check of a value."""

    words: str
    accepts: Callable[[Any], bool]


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function raise TypeError for an argument whose type its annotation does not allow.

    The message is one line with the allowed types. The function itself must check arguments annotated with protocols
    or arrays. A path that no system can open raises TransHashError.
    """

    settled: dict[str, set[type]] = {}  # types of each parameter that need no further check
    accepted: set[tuple[Any, ...]] = set()  # types of all arguments of a call that need none

    @cache
    def parameters() -> tuple[list[str], dict[str, _Kind]]:  # on the first call, when every module has been imported
        found = signature(function).parameters
        settled.update((name, set()) for name in found)
        annotated = {name: entry.annotation for name, entry in found.items()}
        known = {
            name: _kind(one, function.__globals__) for name, one in annotated.items() if one is not Parameter.empty
        }
        places = [name for name, entry in found.items() if entry.kind in _BY_POSITION]
        return places, {name: kind for name, kind in known.items() if kind}

    def check(name: str, value: Any) -> None:
        kind = parameters()[1].get(name)
        if kind and not kind.accepts(value):
            raise TypeError(f"{name} must be {kind.words}, not {described(value)}")
        if kind:
            _check_texts(name, value, paths=_PATH in kind.words)
        if name in settled and (not kind or type(value) in _WITHOUT_CONTENTS):
            settled[name].add(type(value))

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        key = (*map(type, args), *kwargs, *map(type, kwargs.values()))
        if key not in accepted:
            pairs = [*zip(parameters()[0], args, strict=False), *kwargs.items()]
            for name, value in pairs:
                if type(value) not in settled.get(name, ()):
                    check(name, value)
            if all(type(value) in settled.get(name, ()) for name, value in pairs):
                accepted.add(key)
        return function(*args, **kwargs)

    return call


def check_range(low: float, high: float, **values: float | None) -> None:
    """Raise TransHashError for the first of the named numbers that is outside a range; None passes."""
    for name, value in values.items():
        if value is not None and not low <= value <= high:
            raise TransHashError(f"{name}={value}: must be from {low} to {high}")


def check_fields(record: Any) -> None:
    """Raise TypeError for the first field of a dataclass whose value its annotation excludes."""
    module = sys.modules[type(record).__module__]
    for entry in fields(record):
        kind, value = _kind(entry.type, vars(module)), getattr(record, entry.name)
        if kind and not kind.accepts(value):
            raise TypeError(f"{entry.name} must be {kind.words}, not {described(value)}")


def check_choice(choices: Collection[str], **values: str) -> None:
    """Raise TransHashError for the first of the named texts that is not one of the choices."""
    for name, value in values.items():
        if value not in choices:
            raise TransHashError(f"{name}={value!r}: choose one of {', '.join(choices)}")


def described(value: object) -> str:
    """Return the type of a value as it appears in messages."""
    return "None" if value is None else type(value).__name__


def _kind(annotation: Any, names: dict[str, Any]) -> _Kind | None:
    """Return the check for an annotation, or None if it cannot be checked here."""
    if isinstance(annotation, str):  # a name that only type checkers import cannot be resolved
        with suppress(NameError):
            return _kind(eval(annotation, names), names)  # noqa: S307 - our own source
        return None
    if get_origin(annotation) in (Union, UnionType):
        return _union(get_args(annotation), names)
    return _simple(annotation, names)


def _union(members: Sequence[Any], names: dict[str, Any]) -> _Kind | None:
    kinds = [_kind(member, names) for member in members]
    known = [kind for kind in kinds if kind]
    if len(known) < len(kinds):
        return None
    words = list(dict.fromkeys(kind.words for kind in known))
    if _TEXT in words and _PATH in words:
        words.remove(_TEXT)
    each = f"a list, each {' or '.join(words[:-1])}"
    words = [*words[:-1], "a list of these"] if words[-1] == each else words
    return _Kind(" or ".join(words), lambda value: any(kind.accepts(value) for kind in known))


_TEXT, _PATH = "a string", "a path (str or Path)"
_PLAIN: dict[Any, _Kind] = {
    NoneType: _Kind("None", lambda value: value is None),
    None: _Kind("None", lambda value: value is None),
    str: _Kind(_TEXT, lambda value: isinstance(value, str)),
    bool: _Kind("True or False", lambda value: isinstance(value, bool) or type(value).__name__ == "bool"),
    int: _Kind("an integer", lambda value: _is_whole(value)),
    float: _Kind("a number", lambda value: isinstance(value, Real) and not _is_flag(value)),
    Path: _Kind(_PATH, lambda value: isinstance(value, Path)),
    os.PathLike: _Kind(_PATH, lambda value: isinstance(value, os.PathLike)),
}


def _simple(annotation: Any, names: dict[str, Any]) -> _Kind | None:
    origin = get_origin(annotation) or annotation
    if origin in _PLAIN:
        return _PLAIN[origin]
    if origin is Callable:
        return _Kind("a function", callable)
    if origin is Mapping:
        return _Kind("a mapping", lambda value: isinstance(value, Mapping))
    several = origin is tuple and get_args(annotation)[1:] == (...,)
    if several or origin in (Sequence, Iterable):
        return _several(origin, get_args(annotation), names)
    checkable = (
        isinstance(origin, type) and origin not in (Any, object) and not getattr(origin, "_is_protocol", False)
    )
    if not checkable or origin.__module__.startswith("numpy"):
        return None
    ours = "transhash." if origin.__module__.startswith("transhash.") else ""
    return _Kind(f"a {ours}{origin.__name__}", lambda value: isinstance(value, origin))


def _several(origin: Any, members: Sequence[Any], names: dict[str, Any]) -> _Kind | None:
    """Return the kind of a list, or another sequence, whose members are of one kind."""
    member = _kind(members[0], names) if members else None

    def accepts(values: Any) -> bool:
        if isinstance(values, str | bytes | Mapping) or not isinstance(values, origin):
            return False
        return (
            member is None or not isinstance(values, Sequence) or all(map(member.accepts, islice(values, _CHECKED)))
        )

    each = f", each {member.words}" if member else ""
    return _Kind(f"a {'tuple' if origin is tuple else 'list'}{each}", accepts)


def _is_flag(value: Any) -> bool:
    return _PLAIN[bool].accepts(value)


def _is_whole(value: Any) -> bool:
    try:
        index(value)
    except TypeError:
        return False
    return not _is_flag(value)


def _check_texts(name: str, value: Any, *, paths: bool) -> None:
    """Raise TransHashError for a text, or one in a list, that is too long for a name or path."""
    for one in value if isinstance(value, list | tuple) else [value]:
        if paths and isinstance(one, str | Path):
            check_path(name, one)
        elif isinstance(one, str) and len(one) > _MAX_TEXT:
            raise TransHashError(f"{name}: a text of {len(one):,} characters; at most {_MAX_TEXT:,}")


def check_plain(name: str, array: Any) -> None:
    """Raise TypeError for a masked array, whose mask would be ignored, and for a tensor of torch."""
    kinds = type(array).__mro__
    if len(kinds) == 2:  # a class without a base, such as numpy's array; those below have one
        return
    for kind in kinds:  # by name: neither library is imported for this
        if (kind.__module__, kind.__name__) == ("numpy.ma", "MaskedArray"):
            raise TypeError(f"{name}: a masked array, whose mask would be ignored; pass its .data, or fewer rows")
        if (kind.__module__, kind.__name__) == ("torch", "Tensor"):
            raise TypeError(f"{name} must be a numpy array, not a tensor: pass its .cpu().numpy()")


def check_path(name: str, path: str | Path) -> None:
    """Raise TransHashError for a path that no system accepts."""
    try:
        text = os.fsencode(path)
    except UnicodeEncodeError:
        text = b"\0"
    if b"\0" in text:
        raise TransHashError(f"{name}: {str(path)[:40]!r} contains a character that no path can contain")
    if len(text) > _MAX_PATH or max(map(len, text.split(b"/"))) > _MAX_NAME:
        raise TransHashError(f"{name}: the path {str(path)[:40]!r}… is longer than the system takes")
