"""Files from the hub: the cache first, then the network, and its failures in the user's words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from clipkit.errors import ModelUnavailable, UnknownModel


def fetch(
    repo: str, names: Sequence[str], *, model: str, revision: str | None = None, local_only: bool = False
) -> Path | None:
    """The path of the first of the files `names` that the repository `repo` has, or None if it has none.

    A file in the cache is taken as it is, without asking the network. `model` is what the user asked for,
    and named in errors. Raises ModelUnavailable if the network or the repository refuses, UnknownModel if
    there is no such repository or revision.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    states = {name: try_to_load_from_cache(repo, name, revision=revision) for name in names}
    for state in states.values():
        if isinstance(state, str):
            return Path(state)
    for name in [name for name, state in states.items() if state is None]:
        with _in_our_words(model, repo):
            try:
                return Path(hf_hub_download(repo, name, revision=revision, local_files_only=local_only))
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError:
                continue
    return None


@contextmanager
def _in_our_words(model: str, repo: str) -> Iterator[None]:
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        yield
    except RepositoryNotFoundError as error:
        raise UnknownModel(f"the hub has no repository {repo}, which {model} needs") from error
    except LocalEntryNotFoundError as error:
        raise ModelUnavailable(f"{model} is not in the cache and there is no network") from error
