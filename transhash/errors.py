"""Every error that TransHash raises on purpose.

    TransHashError
    ├── ImageError       an image cannot be read
    ├── SourceError      a folder or list of images cannot be used
    ├── CodesError       a codes file is damaged, of another format or of an unknown version
    ├── ModelError       a hasher or its weights cannot be loaded
    ├── ClusterError     a Ray cluster cannot be used
    ├── TrainingError    training cannot start with these images or settings
    ├── BackendError     a backend is missing, broken or does not support an operation
    ├── IndexFolderError an index folder is damaged, of another format or of an unknown version
    ├── SelectionError   a filter, path or id matches nothing in an index
    │   └── PositionError    a query or row number is out of range; also an IndexError
    ├── MismatchError    codes of different models or lengths were combined
    ├── ResultsError     a results file is damaged or of another format
    ├── ServingError     a service cannot start, or cannot accept a request now
    └── OutputError      an output exists and is another kind of file, or cannot be written

A message is one line that says where the problem is, what is wrong, and how to fix it.
"""

import re

_LONGEST = 200  # characters of a message from another library
# A path has lost one slash; the @ in hf://user/name@revision follows no password.
_CREDENTIALS = re.compile(r"(?<=[a-zA-Z])(?<!hf)(:/{1,2})[^\s'\"]*@")
_PASSWORDS = re.compile(r"([?&]\w*(?:password|secret|token)\w*=)[^&\s'\"]*", re.IGNORECASE)


class TransHashError(Exception):
    """Base class of all errors that TransHash raises on purpose."""


class ImageError(TransHashError):
    """An image cannot be read."""


class SourceError(TransHashError):
    """A folder or list of images cannot be used."""


class CodesError(TransHashError):
    """A codes file is damaged, of another format or of an unknown version."""


class ModelError(TransHashError):
    """A hasher or its weights cannot be loaded."""


class ClusterError(TransHashError):
    """A Ray cluster cannot be used, or has lost its workers."""


class TrainingError(TransHashError):
    """Training cannot start with these images or settings."""


class BackendError(TransHashError):
    """A backend is missing, broken or does not support an operation."""


class IndexFolderError(TransHashError):
    """An index folder is damaged, of another format or of an unknown version."""


class SelectionError(TransHashError):
    """A filter, path or id matches nothing in an index."""


class PositionError(SelectionError, IndexError):
    """A query or row number is out of range. It is also an IndexError, as sequences raise it."""


class MismatchError(TransHashError):
    """Codes of different models or lengths were combined."""


class ResultsError(TransHashError):
    """A results file is damaged or of another format."""


class ServingError(TransHashError):
    """A service cannot start, or cannot accept a request now."""


class OutputError(TransHashError):
    """An output exists and is another kind of file, or cannot be written."""


def one_line(error: BaseException) -> str:
    """Return an error's message on one line of at most 200 characters, or its type's name if it has no message."""
    return " ".join(_message(error).split())[:_LONGEST] or type(error).__name__


def _message(error: BaseException) -> str:
    """Return an error's message, without the quotes and tuples that some exceptions print."""
    first = error.args[0] if error.args else None
    if isinstance(error, KeyError) and isinstance(first, str):
        return first if " " in first else f"{first!r} is missing"
    if isinstance(error, UnicodeDecodeError):
        return f"not valid {error.encoding.upper()}"
    if isinstance(first, str) and len(error.args) > 1 and str(error) == str(error.args):
        return first
    return str(error)


def redacted(text: str) -> str:
    """Return text without the user names and passwords of the addresses in it: ``milvus://…@host:19530/photos``."""
    return _PASSWORDS.sub(r"\1…", _CREDENTIALS.sub(r"\1…@", text))
