"""Hashers on the Hugging Face Hub: repositories with a hasher's file and a model card, ``hf://user/name@revision``."""

import functools
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import ModelError, one_line
from ..system.files import display
from . import model_card

_SCHEME = "hf://"
FILE = "hasher.safetensors"
_CARD = "README.md"
_NO_TOKEN = "no token; log in with: hf auth login, or set HF_TOKEN"
_LOCATION = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


@functools.cache  # one revision for the life of a process, and one request
def find(location: str, download: bool = True) -> tuple[Path, str]:
    """Return the file of a hasher on the hub, and its location with the commit as the revision.

    A file in the hub's cache is not downloaded again. The client follows its environment variables: HF_TOKEN,
    HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT.

    Args:
        location: ``hf://user/name``, or ``hf://user/name@revision`` with a branch, a tag or a commit.
        download: whether to download a file that is not in the cache.

    Raises ModelError if the location is malformed, or the file is neither in the cache nor can be downloaded.
    """
    match = _LOCATION.fullmatch(location)
    if match is None:
        raise ModelError(f"{location[:200]}: expected hf://user/name or hf://user/name@revision")
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    repository, revision = match.groups()
    try:
        cached = try_to_load_from_cache(repository, FILE, revision=revision)  # asks the hub nothing
    except HFValidationError as error:
        raise ModelError(f"{location[:200]}: {one_line(error)}") from None
    if not download and not isinstance(cached, str):
        raise ModelError(f"{location}: not in the cache")
    with _one_line_errors(location, "downloaded"):
        path = Path(hf_hub_download(repository, FILE, revision=revision) if download else str(cached))
    return path, f"{_SCHEME}{repository}@{path.parent.name}"


def push(hasher: Path, repository: str, private: bool, message: str | None) -> str:
    """Upload a hasher's file to a repository, with a model card if it has none; return its location.

    Raises ModelError if the file is not a hasher, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ModelError(f"{repository[:200]}: expected the name of a repository, user/name")
    card = model_card.text(hasher, repository)
    with _one_line_errors(f"{_SCHEME}{repository}", "uploaded"):
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        files = [CommitOperationAdd(FILE, str(hasher))]
        if not api.file_exists(repository, _CARD):
            files.append(CommitOperationAdd(_CARD, card.encode()))
        commit = api.create_commit(repository, files, commit_message=message or "Upload a TransHash hasher")
    return f"{_SCHEME}{repository}@{commit.oid}"


@contextmanager
def _one_line_errors(location: str, done: str) -> Iterator[None]:
    """Convert the errors of the hub's client to ModelError."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # the client reports every retry; we report once
    disable_progress_bars()
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # of the hub's client, the network or the file system
        raise ModelError(f"{display(location)}: cannot be {done}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return what went wrong on the hub, and what to do about it."""
    from huggingface_hub import constants, errors, get_token

    unreachable = f"{constants.ENDPOINT} cannot be reached; check the network, or HF_ENDPOINT"
    offline = "offline mode is set; unset HF_HUB_OFFLINE"
    reasons: list[tuple[Any, str]] = [
        (errors.GatedRepoError, "access to it must be requested on its page"),
        (errors.RevisionNotFoundError, "there is no such revision"),
        (errors.RepositoryNotFoundError, "there is no such repository, or HF_TOKEN does not give access to it"),
        (errors.RemoteEntryNotFoundError, f"the repository contains no {FILE}"),
        (errors.OfflineModeIsEnabled, offline),
        (
            errors.LocalEntryNotFoundError,
            f"not in the cache, and {offline if constants.HF_HUB_OFFLINE else unreachable}",
        ),
        (errors.LocalTokenNotFoundError, _NO_TOKEN),
    ]
    for kind, reason in reasons:
        if isinstance(error, kind):
            return reason
    if isinstance(error, errors.HfHubHTTPError):
        if error.response.status_code not in (401, 403):
            return _refusal(error)
        return "the hub refused the token; set HF_TOKEN to one with write access" if get_token() else _NO_TOKEN
    without_answer: Any = (errors.HTTPError, ConnectionError, TimeoutError)  # type: ignore[attr-defined]
    if isinstance(error, without_answer):
        return unreachable
    return f"{type(error).__name__}: {one_line(error)}"


def _refusal(error: Any) -> str:
    """Describe an answer of the hub that is an error."""
    status = error.response.status_code
    said = " ".join((error.server_message or "").split())[:200]
    later = "; try again later" if status == 429 or status >= 500 else ""
    return f"the hub answered with HTTP status {status}{f', {said!r}' if said else ''}{later}"
