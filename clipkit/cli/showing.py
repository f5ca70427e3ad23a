"""`clipkit demo`: a gallery of drawn scenes, or your photos, and what searches of it find."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipkit.cli.machine import complete_model
from clipkit.cli.output import duration, note, one_line, print_json, progress_bar
from clipkit.cli.session import Session

if TYPE_CHECKING:
    from clipkit.collection import Collection
    from clipkit.demo import Answer, Search
    from clipkit.hits import Hit


def demo(
    session: Session,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER", exists=True, file_okay=False, help="Your photos. Default: drawn scenes."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(metavar="MODEL", help="The model: see clipkit models.", autocompletion=complete_model),
    ] = "bundled",
    scenes: Annotated[int, typer.Option(min=1, metavar="N", help="Draw so many scenes.")] = 500,
) -> None:
    """Show what clipkit does: draw a gallery of scenes, index it, and search it in six ways.

    Nothing is downloaded. Ctrl-C at any time keeps what is done, and the same command goes on from there.

    Example: clipkit demo ~/Pictures
    """
    began = time.monotonic()
    try:
        if folder is None:
            name, place, answers = _of_scenes(session, model, scenes)
        else:
            name, place, answers = _of_photos(session, model, folder)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; what is done stays. To go on:\n  {session.typed()}") from None
    if session.json:
        found = [asdict(answer) for answer in answers]
        print_json({"collection": name, "folder": str(place), "answers": found})
        return
    note(f"\ndone in {duration(time.monotonic() - began)}. The pictures are in {place}")
    note(f"Ask them something yourself:\n  {_command(name, 'image', 10, 'a lighthouse at night')}")
    note(f"or in the browser:\n  {_ui(name)}")


def _of_scenes(session: Session, model: str, scenes: int) -> tuple[str, Path, Sequence[Answer]]:
    from clipkit import demo
    from clipkit.folders import path_to_id
    from clipkit.gallery import draw_gallery, gallery

    place = demo.gallery_folder()
    drawings = gallery(place, scenes=scenes)
    with progress_bar("drawing") as show:
        drawn = draw_gallery(drawings, progress=show)
    last = None if drawn else demo.recall(place, model)
    if last:
        note("nothing has changed since the last time, so this is what it found then")
        for number, answer in enumerate(last[1], 1):
            _show(session, last[0], number, answer)
        return last[0], place, last[1]
    collection = _filled(session, model, demo.collection_name(None), place, demo.captions(drawings))
    titles = {path_to_id(drawing.path): drawing.caption for drawing in drawings}
    searches = demo.searches_of_gallery(drawings)
    answers = _ask(session, collection, searches, lambda hit: titles.get(hit.id, hit.id))
    demo.remember(place, collection, answers)
    return collection.name, place, answers


def _of_photos(session: Session, model: str, folder: Path) -> tuple[str, Path, Sequence[Answer]]:
    from clipkit import demo
    from clipkit.folders import id_to_path

    place = folder.resolve()

    def below(hit: Hit) -> str:
        path = Path(id_to_path(hit.id))
        return str(path.relative_to(place)) if path.is_relative_to(place) else str(path)

    collection = _filled(session, model, demo.collection_name(place), place, demo.words())
    return collection.name, place, _ask(session, collection, demo.searches_of_photos(collection), below)


def _filled(session: Session, model: str, name: str, place: Path, texts: dict[str, str]) -> Collection:
    from clipkit import demo
    from clipkit.encoders import load_encoder

    encoder = load_encoder(model, device=session.device, precision=session.precision)
    collection = demo.open_demo(name, encoder)
    with progress_bar("indexing") as show:
        demo.fill(collection, place, texts, progress=show)
    return collection


def _ask(
    session: Session, collection: Collection, searches: Sequence[Search], label: Callable[[Hit], str]
) -> list[Answer]:
    from clipkit import demo

    answers = []
    for number, search in enumerate(searches, 1):
        answers.append(demo.ask(collection, search, label))
        _show(session, collection.name, number, answers[-1])
    return answers


def _show(session: Session, name: str, number: int, answer: Answer) -> None:
    if session.json:
        return
    print(f"\n{number}  {answer.about}")
    print(f"   {_command(name, answer.kind, len(answer.hits), answer.query)}")
    for score, what in answer.hits:
        print(f"   {score:6.3f}  {one_line(what)}")


def _ui(name: str) -> str:
    import shlex

    return shlex.join(["clipkit", "ui", "--name", name])


def _command(name: str, kind: str, k: int, query: str) -> str:
    import shlex

    return shlex.join(["clipkit", "search", query, "--name", name, "--kind", kind, "-k", str(k)])
