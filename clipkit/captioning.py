"""The captions and metadata of folders: which files have to be read again, and what they say, brought in.

A file that has not changed is read again only for pictures that are new beside it. What has to be read is
forgotten before the pictures are looked at: whenever a run is killed, the next one reads it again.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import pyarrow as pa

from clipkit.ahead import read_ahead
from clipkit.describing import AT_ONCE, Described, describe, write_captions
from clipkit.descriptions import (
    MAX_CAPTION_BYTES,
    Description,
    caption_lines,
    distinct,
    metadata_rows,
)
from clipkit.encoder import batched
from clipkit.filters import all_of, id_in, starts_with
from clipkit.folders import (
    CAPTION_SUFFIXES,
    METADATA_NAMES,
    FoundFile,
    Walk,
    has_vanished,
    id_to_path,
    is_under,
)
from clipkit.pipeline import Run
from clipkit.reading import Unreadable
from clipkit.stages import Changes, differing
from clipkit.store import Store

_FILES_AHEAD = 256  # caption files read, or being read, beyond those that are written


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be read: caption files by the image that they are beside, and metadata files.

    `folders` are those whose metadata may be another now, `unchanged` the ids of files that stay as they are,
    and `gone` those of files that are no longer there.
    """

    captions: dict[str, list[FoundFile]]
    metadata: list[FoundFile]
    folders: list[str]
    unchanged: set[str]
    gone: list[str]

    @property
    def size(self) -> int:
        """The work there is: pictures with captions, and metadata files."""
        return len(self.captions) + len(self.metadata)


def plan(walk: Walk, changes: Changes, sources: pa.Table) -> Plan:
    """What has to be read, given the `sources` that are known below the roots, with id, size and time."""
    new = {file.id for file in changes.new}
    seen = {caption.file.id for caption in walk.captions} | {file.id for file in walk.metadata}
    known = {id for id in sources["id"].to_pylist() if _name(id) in METADATA_NAMES or _is_caption(id)}
    gone = [id for id in known if id not in seen and has_vanished(id_to_path(id), walk.roots)]
    captions = _captions_to_read(walk, new, sources, gone)
    metadata, folders = _metadata_to_read(walk, new, sources, gone)
    reading = {file.id for files in captions.values() for file in files} | {file.id for file in metadata}
    return Plan(captions, metadata, folders, (seen | known) - reading - set(gone), gone)


def forget(plan: Plan, store: Store, sources: pa.Table) -> None:
    """Let the files that are to be read count as unread, in case this run is killed."""
    known = set(sources["id"].to_pylist())
    files = chain(plan.metadata, *plan.captions.values())
    store.sources.delete_ids({file.id for file in files if file.id in known})


def carry_out(plan: Plan, run: Run, walk: Walk) -> None:
    """Read what the plan says, and bring it in."""
    _bring_captions(plan, run)
    spoken: set[str] = set()
    for file in plan.metadata:
        done = describe(
            run.store,
            run.encoder,
            partial(metadata_rows, file.path),
            origin="metadata",
            spoken=spoken,
            is_expected=lambda image: os.path.lexists(id_to_path(image)),
        )
        run.captions += done.captions
        broken = broken_parts(file, done)
        for part in broken:
            run.writer.skip(part)
        run.store.write_sources([file])
        run.meter.step(1, bool(broken))
    if plan.folders:
        _drop_unspoken(run.store, plan.folders, {file.id for file in walk.files}, spoken)
    run.store.sources.delete_ids(plan.gone)


def broken_parts(file: FoundFile, done: Described) -> list[Unreadable]:
    """What could not be used of a source, by place."""
    reasons: dict[str, str] = {}
    for broken in done.all_broken():
        id = f"{file.id}#{broken.place}" if broken.place else file.id
        reasons[id] = f"{reasons[id]}; {broken.reason}" if id in reasons else broken.reason
    return [
        Unreadable(FoundFile(id, file.size_bytes, file.mtime_ns), reason, lasting=True)
        for id, reason in reasons.items()
    ]


def orphans(walk: Walk) -> list[Unreadable]:
    """The caption files whose picture is missing."""
    return [
        Unreadable(caption.file, "is a caption, but the picture of that name is missing", lasting=True)
        for caption in walk.captions
        if not caption.images
    ]


# --- what to read


def _captions_to_read(
    walk: Walk, new: Collection[str], sources: pa.Table, gone: Iterable[str]
) -> dict[str, list[FoundFile]]:
    paired = [caption for caption in walk.captions if caption.images]
    stale = {file.id for file in differing([caption.file for caption in paired], sources)}
    images = {
        image for caption in paired for image in caption.images if caption.file.id in stale or image in new
    }
    stems = {os.path.splitext(id)[0] for id in gone if _is_caption(id)}
    if stems:
        images |= {f.id for f in walk.files if f.id in stems or os.path.splitext(f.id)[0] in stems}
    chosen: dict[str, list[FoundFile]] = {image: [] for image in images}
    for caption in paired:
        for image in caption.images:
            if image in chosen:
                chosen[image].append(caption.file)
    return chosen


def _metadata_to_read(
    walk: Walk, new: Collection[str], sources: pa.Table, gone: Iterable[str]
) -> tuple[list[FoundFile], list[str]]:
    """Files that changed or have new pictures below them, with all that may speak of the same ones."""
    if not walk.metadata and not gone:
        return [], []
    everything = sorted(file.id for file in walk.files)
    added = sorted(new)
    files = [file for file in walk.metadata if _has_any_below(everything, _folder(file.id))]
    stale = {file.id for file in differing(files, sources)}
    stale |= {file.id for file in files if _has_any_below(added, _folder(file.id))}
    stale |= {id for id in gone if _name(id) in METADATA_NAMES}
    folders = [_folder(id) for id in sorted(stale)]
    return [file for file in files if any(_overlap(_folder(file.id), each) for each in folders)], folders


def _has_any_below(ids: Sequence[str], folder: str) -> bool:
    """Whether one of the sorted ids lies below the folder."""
    prefix = folder.rstrip("/") + "/"
    at = bisect_left(ids, prefix)
    return at < len(ids) and ids[at].startswith(prefix)


def _overlap(one: str, other: str) -> bool:
    return is_under(one, other) or is_under(other, one)


def _is_caption(identity: str) -> bool:
    return os.path.splitext(identity)[1].lower() in CAPTION_SUFFIXES


def _name(identity: str) -> str:
    return os.path.basename(identity).lower()


def _folder(identity: str) -> str:
    return os.path.dirname(identity)


# --- what was read


def _bring_captions(plan: Plan, run: Run) -> None:
    done = Described()
    jobs = plan.captions.items()
    told: set[str] = set()
    for batch in batched(read_ahead(jobs, _read_captions, _FILES_AHEAD), AT_ONCE):
        write_captions(run.store, run.encoder, [said for said, _, _ in batch], origin="caption", done=done)
        run.store.write_sources({file.id: file for _, read, _ in batch for file in read}.values())
        failed = {each.file.id: each for _, _, failed in batch for each in failed if each.file.id not in told}
        for each in failed.values():
            run.writer.skip(each)
        told |= failed.keys()
        run.meter.step(len(batch), len(failed))
    for broken in done.all_broken():
        run.writer.skip(Unreadable(FoundFile(broken.place, 0, 0), broken.reason, lasting=True))
    run.captions += done.captions


def _read_captions(
    job: tuple[str, list[FoundFile]],
) -> tuple[Description, list[FoundFile], list[Unreadable]]:
    """(what the files say of the picture, those that were read, those that could not be used)"""
    image, files = job
    captions: list[str] = []
    read: list[FoundFile] = []
    failed: list[Unreadable] = []
    for file in files:
        try:
            with open(file.path, "rb") as stream:
                lines, flaw = caption_lines(stream.read(MAX_CAPTION_BYTES + 1))
        except OSError as error:
            failed.append(Unreadable(file, f"cannot be read: {error.strerror or error}", lasting=False))
            continue
        captions += lines
        read.append(file)
        if flaw:
            failed.append(Unreadable(file, flaw, lasting=True))
    return Description(image, distinct(captions)), read, failed


def _drop_unspoken(
    store: Store, folders: Iterable[str], there: Collection[str], spoken: Collection[str]
) -> None:
    """Drop what metadata said of pictures that are there, and no longer says."""
    for folder in folders:
        below = all_of("kind = 'text'", starts_with("image_id", folder.rstrip("/") + "/"))
        rows = store.items.read(["id", "image_id"], below).to_pylist()
        stale = [
            row["id"]
            for row in rows
            if row["id"].removeprefix(row["image_id"]).startswith("#metadata")
            and row["image_id"] in there
            and row["image_id"] not in spoken
        ]
        for page in batched(stale, AT_ONCE):
            store.delete(id_in(page))
