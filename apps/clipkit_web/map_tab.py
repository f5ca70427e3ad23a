"""Map: the pictures of a collection as points in a plane, and the way from there into the gallery."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import gradio as gr
import numpy as np
from pyarrow.parquet import read_table

from clipkit import Collection, maps
from clipkit.errors import ClipkitError, InvalidInput
from clipkit.hiding import visible
from clipkit_web.components import Gallery, widget
from clipkit_web.form import LONGEST, Form, Weighted
from clipkit_web.pictures import plotly_script
from clipkit_web.site import Site

_KEPT = 8  # maps, of 20,000 points some 4 MB each
_DIGITS = 5  # of a place from -1 to 1: finer than a pixel, however near one looks


class MapTab:
    """The tab. `which` holds the name of the collection."""

    def __init__(self, site: Site, which: gr.Dropdown, gallery: Gallery) -> None:
        self._site = site
        self._gallery = gallery
        self._maps: OrderedDict[tuple[str, ...], dict[str, Any]] = OrderedDict()
        self._drawing = {method: threading.Lock() for method in ("pca", "umap")}
        self.map = widget("map", {}, calls=[self.draw])
        acting = {"show_progress": "hidden", "api_visibility": "private"}
        self.map.input(self._acted, which, gallery.into, **acting)

    def shown(self, name: str) -> dict[str, Any]:
        """What the widget is to draw: it asks `draw` for it, once it is in sight."""
        try:
            collection = self._site.collection(name)
            return {"collection": collection.name, "key": " ".join(_state(collection))}
        except ClipkitError as error:
            return {"error": str(error)}

    def draw(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The map of the pictures that are not hidden: ids, x, y and how they were found; or {"error"}."""
        method = str(asked.get("method") or "")
        try:
            plotly_script()
            collection = self._site.collection(str(asked.get("collection") or ""))
            if method not in self._drawing:
                raise InvalidInput(f"there is no method {method!r}: it is pca or umap")
            with self._drawing[method]:  # whoever asks for the same meanwhile gets it from the first
                return self._kept(collection, cast("maps.Method", method))
        except ClipkitError as error:
            return {"error": str(error)}

    def _kept(self, collection: Collection, method: maps.Method) -> dict[str, Any]:
        key = (method, *_state(collection))
        if key not in self._maps:
            draw = _drawn if method == "pca" else _drawn_apart
            self._maps[key] = {**draw(collection, visible(collection)), "method": method}
            while len(self._maps) > _KEPT:
                self._maps.popitem(last=False)
        return self._maps[key]

    def _acted(self, event: gr.EventData, name: str) -> list[Any]:
        """Somebody wants to see in the gallery what was drawn around, or what is like a point."""
        data = event._data or {}
        try:
            collection = self._site.collection(name)
            if data.get("action") == "pick":
                form = Form(collection=collection.name, picked=self._site.pick(_ids(data.get("ids"))))
            else:
                form = Form(collection=collection.name, item=(Weighted(str(data.get("id") or "")),))
            return list(self._gallery.show(form))
        except ClipkitError as error:
            gr.Warning(str(error))
            return self._gallery.untouched


def _state(collection: Collection) -> tuple[str, ...]:
    """What a map depends on, as far as can be told without drawing it: a picture in the place of another
    waits for the next one that comes or goes."""
    shown = collection.count(kind="image", where=visible(collection))
    return collection.name, collection.encoder_name, str(shown)


def _drawn(collection: Collection, where: str | None) -> dict[str, Any]:
    """The map by PCA, which is a matter of a second."""
    found = maps.project(collection, method="pca", kind="image", where=where)
    return {**_points(found.ids, found.xy), "total": found.total, "explained": found.explained}


def _drawn_apart(collection: Collection, where: str | None) -> dict[str, Any]:
    """The map by UMAP, from a process of its own: its layout holds Python's lock for seconds, in which here
    no search would get on. One core is enough for it. Raises ClipkitError with what that process says."""
    with TemporaryDirectory(prefix="clipkit-") as place:
        file = Path(place) / "map.parquet"
        command = [sys.executable, "-m", "clipkit", "map", str(file), "--json"]
        command += ["--db", collection.db, "--name", collection.name, *(["--where", where] if where else [])]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        done = subprocess.run(  # noqa: S603 - this program itself, by no shell
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        told = json.loads(done.stdout or "{}")
        if done.returncode:
            raise ClipkitError(told.get("error", {}).get("message") or f"the map broke off: {done.stderr}")
        table = read_table(file)
    places = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
    return {**_points(table["id"].to_pylist(), places), "total": told["total"], "explained": None}


def _points(ids: Sequence[str], places: maps.Points) -> dict[str, Any]:
    x, y = places.astype(float).round(_DIGITS).T.tolist()
    return {"ids": list(ids), "x": x, "y": y}


def _ids(given: Any) -> list[str]:
    ids = [one for one in given if isinstance(one, str) and len(one) <= LONGEST] if given else []
    if not ids or len(ids) > maps.LIMIT:
        raise InvalidInput(f"a selection has from 1 to {maps.LIMIT:,} pictures: draw around some")
    return ids
