"""XMP sidecars: keywords beside a picture, where photo programs look for them. The picture is not touched.

Where a sidecar is: `photo.jpg.xmp` is what digiKam and darktable write, and what Immich looks for first.
Adobe's programs read `photo.xmp`, of camera RAW only. So a sidecar that is there is used; a new one is
`photo.xmp` for a RAW file, which darktable imports as well, and `photo.jpg.xmp` for any other.

What is in it: keywords are dc:subject, which all of them read. Some programs prefer lr:hierarchicalSubject or
digiKam:TagsList where a file has them, and would overlook new keywords that are in dc:subject only: so these
get them as well, but only where they are there. What clipkit added is listed in a property of its own, so
that another run takes out what no longer holds and leaves what was written by others. All else stays as it
was, byte for byte but for how XML may be spelt; a file that cannot be understood is left alone and reported.
XMP is a form of RDF/XML: Adobe, XMP specification part 1 (ISO 16684-1), 2012.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipkit.errors import ClipkitError, InvalidInput, MissingExtra
from clipkit.files import replaced
from clipkit.images import RAW_SUFFIXES, SUFFIXES
from clipkit.reports import Failure

if TYPE_CHECKING:
    from lxml.etree import _Element

X = "adobe:ns:meta/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
LR = "http://ns.adobe.com/lightroom/1.0/"
DIGIKAM = "http://www.digikam.org/ns/1.0/"
CLIPKIT = "urn:clipkit:tags/1.0/"

SUBJECT = f"{{{DC}}}subject"
ADDED = f"{{{CLIPKIT}}}added"
ALSO = (f"{{{LR}}}hierarchicalSubject", f"{{{DIGIKAM}}}TagsList")  # kept in step where they are there

EMPTY = (
    f'<x:xmpmeta xmlns:x="{X}"><rdf:RDF xmlns:rdf="{RDF}">'
    '<rdf:Description rdf:about=""/></rdf:RDF></x:xmpmeta>'
)


@dataclass(frozen=True, slots=True)
class SidecarReport:
    """What became of sidecars: how many were written, how many had these keywords already or need none, and
    which could not be written, with the reason."""

    written: int
    unchanged: int
    failures: tuple[Failure, ...] = ()


def sidecar_of(picture: str | os.PathLike[str]) -> Path:
    """The sidecar of a picture: the one that is there, or else where a new one goes."""
    path = Path(picture)
    own, adobe = path.with_name(f"{path.name}.xmp"), path.with_suffix(".xmp")
    if own.exists():
        return own
    if path.suffix.lower() in RAW_SUFFIXES or (adobe.exists() and not _share_a_stem(path)):
        return adobe
    return own


def write_keywords(picture: str | os.PathLike[str], keywords: Sequence[str]) -> bool:
    """Whether the sidecar of `picture` was written: it had not these keywords yet, or had old ones of ours.

    Raises InvalidInput for a picture that is not there and for a sidecar that is no XMP, StorageError if it
    cannot be written, and MissingExtra without lxml.
    """
    if not os.path.isfile(picture):
        raise InvalidInput("is no file: there is nothing to put a sidecar beside")
    path = sidecar_of(picture)
    if not keywords and not path.exists():
        return False
    tree, description = _opened(path)
    if not _merge(description, list(dict.fromkeys(keywords))):
        return False
    with replaced(path) as part:
        tree.write(part, encoding="utf-8", xml_declaration=False)
    return True


def write_sidecars(pictures: Iterable[tuple[str, Sequence[str]]]) -> SidecarReport:
    """What became of the sidecars of pictures, each a path with its keywords. One that fails stops none."""
    written = unchanged = 0
    failures = []
    for picture, keywords in pictures:
        try:
            done = write_keywords(picture, keywords)
        except MissingExtra:
            raise
        except ClipkitError as error:
            failures.append(Failure(picture, str(error)))
        else:
            written, unchanged = written + done, unchanged + (not done)
    return SidecarReport(written, unchanged, tuple(failures))


def read_keywords(picture: str | os.PathLike[str]) -> tuple[str, ...]:
    """The keywords in the sidecar of `picture`; none where there is no sidecar."""
    path = sidecar_of(picture)
    if not path.exists():
        return ()
    _, description = _opened(path)
    return tuple(_words(_find(description, SUBJECT)))


def _share_a_stem(path: Path) -> bool:
    """Whether another picture has the same name but for its suffix, so that photo.xmp may be that one's."""
    return any(
        other != path and other.suffix.lower() in SUFFIXES
        for other in path.parent.iterdir()
        if other.stem == path.stem
    )


def _opened(path: Path) -> tuple[Any, _Element]:
    """The document, and its rdf:Description that has keywords, or else the first."""
    try:
        from lxml import etree
    except ImportError as error:
        raise MissingExtra("writing XMP sidecars", "xmp") from error

    # A sidecar is data from anywhere: no entities, no network, no DTD.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        source = path.read_bytes() if path.exists() else EMPTY.encode()
        tree = etree.fromstring(source, parser).getroottree()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except etree.XMLSyntaxError as error:
        raise InvalidInput(f"{path} is not XML, so it was left alone: {error}") from error
    root = tree.getroot()
    rdf = root if root.tag == f"{{{RDF}}}RDF" else root.find(f".//{{{RDF}}}RDF")
    if rdf is None:
        raise InvalidInput(f"{path} holds no XMP, so it was left alone: there is no rdf:RDF in it")
    descriptions = rdf.findall(f"{{{RDF}}}Description") or [etree.SubElement(rdf, f"{{{RDF}}}Description")]
    having = [each for each in descriptions if _find(each, SUBJECT) is not None]
    return tree, (having or descriptions)[0]


def _merge(description: _Element, keywords: list[str]) -> bool:
    """Whether anything changed: `keywords` are there now, and of what clipkit added before, nothing else."""
    before = _words(_find(description, SUBJECT))
    ours = set(_words(_find(description, ADDED)))
    stale = ours - set(keywords)
    kept = [word for word in before if word not in stale]
    known = {word.casefold() for word in kept}
    new = [word for word in keywords if word.casefold() not in known]
    if not stale and not new:
        return False
    _set(description, SUBJECT, "Bag", [*kept, *new])
    for name in ALSO:
        there = _find(description.getparent(), name)
        if there is not None:
            others = [word for word in _words(there) if word not in stale]
            _fill(there, "Bag", [*others, *(word for word in new if word not in others)])
    _set(description, ADDED, "Bag", [word for word in [*kept, *new] if word in ours or word in new])
    return True


def _find(above: _Element | None, name: str) -> _Element | None:
    return None if above is None else above.find(f".//{name}")


def _words(element: _Element | None) -> list[str]:
    """The items of a property, whichever kind of container they are in."""
    if element is None:
        return []
    return [item.text.strip() for item in element.iter(f"{{{RDF}}}li") if item.text and item.text.strip()]


def _set(description: _Element, name: str, kind: str, words: list[str]) -> None:
    """Let the property have these items; without any it goes."""
    from lxml import etree

    element = _find(description, name)
    if element is None and words:
        uri = name[1:].partition("}")[0]
        prefix = {DC: "dc", CLIPKIT: "clipkit"}[uri]
        element = etree.SubElement(description, name, nsmap={prefix: uri})
    if element is not None:
        if words:
            _fill(element, kind, words)
        else:
            description.remove(element)


def _fill(element: _Element, kind: str, words: list[str]) -> None:
    """Let the container in `element`, made if need be, hold these items; those that stay are not touched."""
    from lxml import etree

    container = next(iter(element), None)
    if container is None:
        container = etree.SubElement(element, f"{{{RDF}}}{kind}")
    wanted = list(words)
    for item in list(container):
        text = (item.text or "").strip() if item.tag == f"{{{RDF}}}li" else None
        if text in wanted:
            wanted.remove(text)
        elif text is not None:
            container.remove(item)
    for word in wanted:
        etree.SubElement(container, f"{{{RDF}}}li").text = word
