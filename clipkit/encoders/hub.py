"""Files from the hub: the cache first, then the network, and its failures in the user's words.

Downloads go through huggingface_hub's own transport into huggingface_hub's own cache, so other tools share
them. One thing is added: since its version 2 a partial file is thrown away when a download fails; here it is
kept and taken up again, for these files are gigabytes and a train has tunnels.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipkit.errors import ModelError, ModelUnavailable, UnknownModel

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata
    from huggingface_hub.errors import HfHubHTTPError

_WAY_OUT = (
    "Connect to download it, or use what needs no network: the model `bundled`, or files that you have "
    "(local-dir:path, architecture@weights.safetensors, or st:path for texts)."
)

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def fetch(
    repo: str, names: Sequence[str], *, model: str, revision: str | None = None, local_only: bool = False
) -> Path | None:
    """The path of the first of the files `names` that the repository `repo` has, or None if it has none.

    A file in the cache is taken as it is, without asking the network. `model` is what the user asked for,
    and named in errors. Raises ModelUnavailable if the file can be had neither here nor there, UnknownModel
    if there is no such repository or revision.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = fetch_cached(repo, names, revision=revision)
    except HFValidationError as error:
        raise UnknownModel(f"{model}: {repo!r} is not the name of a repository (owner/name)") from error
    if cached is not None:
        return cached
    for name in names:
        if try_to_load_from_cache(repo, name, revision=revision) is not None:
            continue  # the cache knows that there is no such file
        if local_only:
            raise ModelUnavailable(
                f"{model} is not in the local cache (no {name} of {repo}), and local_only forbids downloads"
            )
        with _in_our_words(model, repo, revision):
            path = _download(repo, name, revision)
        if path is not None:
            return path
    return None


def fetch_cached(repo: str, names: Sequence[str], *, revision: str | None = None) -> Path | None:
    """The path of the first of the files `names` that the cache has, or None."""
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repo, name, revision=revision) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def _download(repo: str, name: str, revision: str | None) -> Path | None:
    """The file in the cache after its download, or None if the repository has no such file."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError

    url = hf_hub_url(repo, name, revision=revision)
    try:  # this fails at once without a network; hf_hub_download would try for minutes
        found = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except EntryNotFoundError:
        with contextlib.suppress(EntryNotFoundError):
            hf_hub_download(repo, name, revision=revision)  # notes in the cache that there is none
        return None
    except HfHubHTTPError as error:
        refused = isinstance(error, RepositoryNotFoundError) or error.response.headers.get("X-Error-Code")
        if error.response.status_code == 404 and not refused:
            return None  # a mirror's plain "not found"
        raise
    if found.etag and found.size:
        _fill_blob(repo, name, url, found)
    return Path(hf_hub_download(repo, name, revision=revision))  # finds the blob there, and links to it


def _fill_blob(repo: str, name: str, url: str, found: HfFileMetadata) -> None:
    """Downloads a file's content to where huggingface_hub looks for it, from where the last try ended."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    etag, folder = str(found.etag), repo_folder_name(repo_id=repo, repo_type="model")
    blob = Path(HF_HUB_CACHE) / folder / "blobs" / etag
    part = blob.with_name(f"{etag}.clipkit-incomplete")
    lock = Path(HF_HUB_CACHE) / ".locks" / folder / f"{etag}.lock"  # huggingface_hub's own, so they wait too
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists() and _is_whole(blob, found):
            return
        _continue_download(part, url, found.size or 0, name)
        if not _is_whole(part, found):
            part.unlink()
            raise ModelUnavailable(
                f"the download of {name} of {repo} arrived damaged: run again to repeat it"
            )
        part.replace(blob)


def _is_whole(path: Path, found: HfFileMetadata) -> bool:
    if path.stat().st_size != found.size:
        return False
    if len(str(found.etag)) != 64:  # small files go by another hash, large ones by their SHA-256
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == found.etag


def _continue_download(part: Path, url: str, size: int, name: str) -> None:
    """Appends to `part` what is missing of the file at `url`. On failure it keeps what has come."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    done = part.stat().st_size if part.exists() else 0
    if done > size:  # not the beginning of this file
        part.unlink()
        done = 0
    headers = build_hf_headers()  # redirected to another host, the client leaves the token behind
    try:
        with part.open("ab") as file:
            http_get(
                url, file, resume_size=done, headers=headers, expected_size=size, displayed_filename=name
            )
    except (OSError, HTTPError) as error:
        if isinstance(error, HfHubHTTPError) or getattr(error, "errno", None) in _DISK_ERRORS:
            raise
        raise ModelUnavailable(
            f"the download of {name} was cut off after {part.stat().st_size:,} of {size:,} bytes ({error}): "
            "run again to go on from there"
        ) from error


@contextlib.contextmanager
def _in_our_words(model: str, repo: str, revision: str | None) -> Iterator[None]:
    """Turns what huggingface_hub and its HTTP client raise into our errors."""
    from huggingface_hub import constants, errors

    hub, wanted = constants.ENDPOINT, f"{model} is not in the local cache"
    try:
        yield
    except ModelError:
        raise
    except errors.OfflineModeIsEnabled as error:
        raise ModelUnavailable(
            f"{wanted}, and HF_HUB_OFFLINE says that there is no network. {_WAY_OUT}"
        ) from error
    except errors.GatedRepoError as error:
        raise ModelUnavailable(
            f"{model} is gated: accept its conditions at {hub}/{repo}, then log in "
            "with `hf auth login` or HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UnknownModel(
            f"the hub has no repository {repo!r} for {model}, or it is private: check the name, "
            "or log in with `hf auth login` or HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise UnknownModel(f"the repository {repo!r} for {model} has no revision {revision!r}") from error
    except errors.HfHubHTTPError as error:
        raise ModelUnavailable(f"{wanted}, and the hub refuses it: {_answer(error)}. {_WAY_OUT}") from error
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise ModelUnavailable(
                f"{model} cannot be kept in the cache {constants.HF_HUB_CACHE}: {error.strerror}. "
                "HF_HOME names another place for it"
            ) from error
        raise ModelUnavailable(f"{wanted}, and it cannot be downloaded: {error}. {_WAY_OUT}") from error
    except errors.HTTPError as error:  # type: ignore[attr-defined]  # its HTTP client's base, whichever that is
        raise ModelUnavailable(
            f"{wanted}, and there is no network, or none that reaches {hub} ({error}). {_WAY_OUT}"
        ) from error


def _answer(error: HfHubHTTPError) -> str:
    """What an HTTP status means, and what to do about it."""
    code, told = error.response.status_code, error.response.request.headers.get("authorization")
    if code == 401 and told:
        return "it does not accept the access token (401): log in again with `hf auth login`"
    if code in (401, 403):
        return f"it asks for permission ({code}): log in with `hf auth login` or HF_TOKEN"
    return f"it answers {code}" + (": try again later" if code == 429 or code >= 500 else "")
