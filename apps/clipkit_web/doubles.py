"""Near-duplicates from the page: looked for on demand, shown side by side, hidden and shown again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from clipkit.errors import InvalidInput
from clipkit.folders import id_to_path
from clipkit.hiding import hide, unhide, visible
from clipkit.hits import Hit
from clipkit.neighbours import Duplicates, Group, duplicates
from clipkit.neighbours.copies import Strength
from clipkit.reports import Progress
from clipkit_web.asking import name_of
from clipkit_web.jobs import Job
from clipkit_web.site import Site

GROUPS = 100  # that are shown: with their thumbnails, a long page
MEMBERS = 24  # of a group that are shown


@dataclass(frozen=True, slots=True)
class _Act:
    """What somebody did: hid these items, or showed them again."""

    hid: bool
    ids: tuple[str, ...]


class Doubles:
    """The near-duplicates of the collection that was looked through last, and what was done with them."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.job: Job[Duplicates] = Job()
        self._name = ""
        self._acts: list[_Act] = []
        self._hidden: set[str] = set()
        self._lock = threading.Lock()

    def start(self, name: str, strength: Strength) -> None:
        """Begins to look for duplicates among the pictures that are not hidden.

        Raises InvalidInput while another search goes on.
        """
        collection = self._site.collection(name)

        def work(progress: Callable[[Progress], None]) -> Duplicates:
            return duplicates(
                collection, strength, kind="image", where=visible(collection), progress=progress
            )

        with self._lock:
            self.job.start(f"comparing the pictures of {collection.name}", work)
            self._name, self._acts, self._hidden = collection.name, [], set()

    def view(self, name: str) -> dict[str, Any]:
        """What was found in that collection as the widget shows it; of another one, nothing."""
        with self._lock:
            state = self.job.state
            if self._name != (name or self._site.options.name):
                return {"busy": state.what if state.running else None}
            shown: dict[str, Any] = {
                "collection": self._name,
                "running": state.running,
                "stopping": state.stopping,
                "error": state.error,
                "progress": asdict(state.progress) if state.progress else None,
            }
            return {**shown, **(self._found(state.result) if state.result else {})}

    def hide(self, ids: Sequence[str]) -> None:
        """Hides items of groups that were found. Raises InvalidInput for others."""
        self._act(True, ids)

    def keep(self, ids: Sequence[str]) -> None:
        """Shows items again that were hidden here. Raises InvalidInput for those of no group."""
        self._act(False, ids)

    def keep_best(self, group: int | None = None) -> None:
        """Hides all but the best of one group, or with None of every group, shown or not."""
        groups = self._groups()
        if group is not None and not 0 <= group < len(groups):
            raise InvalidInput("this group is not there any more: look for duplicates again")
        chosen = groups if group is None else groups[group : group + 1]
        self._act(True, [hit.id for one in chosen for hit in one.others])

    def undo(self) -> None:
        """Takes back what was done last; nothing if nothing was."""
        with self._lock:
            if self._acts:
                last = self._acts.pop()
                self._apply(_Act(not last.hid, last.ids))

    def _act(self, hid: bool, ids: Sequence[str]) -> None:
        known = {hit.id for group in self._groups() for hit in (group.keep, *group.others)}
        if not known.issuperset(ids):
            raise InvalidInput("this picture is in no group that was found: look for duplicates again")
        with self._lock:
            changing = tuple(identity for identity in ids if (identity in self._hidden) != hid)
            if changing:
                act = _Act(hid, changing)
                self._apply(act)
                self._acts.append(act)

    def _apply(self, act: _Act) -> None:
        collection = self._site.collection(self._name)
        if act.hid:
            hide(collection, act.ids)
            self._hidden.update(act.ids)
        else:
            unhide(collection, act.ids)
            self._hidden.difference_update(act.ids)

    def _groups(self) -> tuple[Group, ...]:
        found = self.job.state.result
        if found is None:
            raise InvalidInput("no duplicates were looked for yet")
        return found.groups

    def _found(self, found: Duplicates) -> dict[str, Any]:
        others = [hit for group in found.groups for hit in group.others]
        return {
            "strength": found.strength,
            "items": found.items,
            "count": len(found.groups),
            "others": len(others),
            "bytes": sum(hit.metadata["size_bytes"] or 0 for hit in others),
            "hidden": len(self._hidden),
            "acts": len(self._acts),
            "unseen": len(found.unseen),
            "groups": [self._group(group) for group in found.groups[:GROUPS]],
        }

    def _group(self, group: Group) -> dict[str, Any]:
        shown = (group.keep, *group.others[: MEMBERS - 1])
        return {
            "items": [self._card(hit) for hit in shown],
            "more": 1 + len(group.others) - len(shown),
            "settled": self._hidden.issuperset(hit.id for hit in group.others),
        }

    def _card(self, hit: Hit) -> dict[str, Any]:
        known = hit.metadata
        when = known.get("taken_at") or _changed(known.get("mtime_ns"))
        return {
            "id": hit.id,
            "name": name_of(hit),
            "file": id_to_path(hit.uri or hit.id),
            "score": round(hit.score, 4),
            "width": known.get("width"),
            "height": known.get("height"),
            "bytes": known.get("size_bytes"),
            "date": f"{when:%Y-%m-%d %H:%M}" if when else None,
            "hidden": hit.id in self._hidden,
        }


def _changed(mtime_ns: int | None) -> datetime | None:
    return None if mtime_ns is None else datetime.fromtimestamp(mtime_ns / 1e9)
