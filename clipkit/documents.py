"""Documents in a collection: cut into chunks, found by what they mean, with the sentence that answers.

A chunk is a text item. Its columns tell its document (`document`, an id as files have it; `title`), where it
stands there (`chunk_start`, `chunk_end`, in characters of the document's text), and what tells a changed
document from an unchanged one (`document_hash`, `document_chunks`).

Chunks are cut by langchain-text-splitters: at headings and paragraphs where it can, else at lines, words and
characters. 800 characters of English are some 200 tokens, which fit the 256 of all-MiniLM-L6-v2; of what does
not fit a model, the end is cut off, counted in the report, and warned of.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from clipkit.collection import Collection
from clipkit.columns import at_least_1
from clipkit.errors import InvalidInput, MissingExtra
from clipkit.filters import all_of
from clipkit.folders import id_to_path, is_under, path_to_id
from clipkit.hits import Hit
from clipkit.query import Query
from clipkit.reports import Failure, Progress

CHUNK = 800  # characters
OVERLAP = 100  # characters that neighbouring chunks share, so that a sentence is whole in one of them
MAX_BYTES = 64 << 20  # of a document
SUFFIXES = frozenset({".txt", ".md", ".markdown", ".rst", ".html", ".htm"})
COLUMNS: dict[str, Any] = {
    "document": str,
    "title": str,
    "chunk_start": int,
    "chunk_end": int,
    "document_hash": str,
    "document_chunks": int,
}
_MANY_GONE = 0.2  # of the known documents; so many may mean that a disk is missing
_MORE = 4  # chunks looked at for each document wanted, and so on
_BOUNDARY = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+|$")  # between sentences
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "br",
        "dd",
        "div",
        "dt",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "li",
        "p",
        "pre",
        "section",
        "table",
        "td",
        "th",
        "tr",
    ]
)
_UNSEEN = frozenset(("script", "style", "template", "noscript"))
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a document's text: `text` is its characters from `start` up to `end`."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says: its title and its text, markup of HTML left out."""

    title: str
    text: str


@dataclass(slots=True)
class DocumentsReport:
    """What `index_documents` did, in documents; `chunks` were embedded, `cut` of which did not fit the model.

    `kept_missing` counts those that are gone, but kept since they are so many.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    kept_missing: int = 0
    chunks: int = 0
    cut: int = 0
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DocumentHit:
    """A document, by its best chunk. `snippet` is the sentence of the chunk that is nearest to the question,
    from `start` up to `end` of the document's text; `score` is the chunk's cosine, from -1 to 1."""

    document: str
    title: str
    score: float
    snippet: str
    start: int
    end: int
    chunk: Hit


@dataclass(slots=True)
class _Known:
    ids: list[str] = field(default_factory=list)
    hashes: set[str] = field(default_factory=set)
    chunks: int = 0

    def is_still(self, digest: str) -> bool:
        return self.hashes == {digest} and self.chunks == len(self.ids)  # else a run was interrupted


def index_documents(
    collection: Collection,
    sources: Sequence[str | os.PathLike[str]],
    *,
    chunk: int = CHUNK,
    overlap: int = OVERLAP,
    prune: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> DocumentsReport:
    """Bring documents into a collection, or up to date there: files, and folders with all below them.

    Only what is new or has changed is embedded. A changed document is replaced as a whole, its old chunks
    going when the new ones are stored. One that has vanished below a folder goes, unless more than a fifth of
    those known there have, which need `prune`. What cannot be read is skipped and told in the report.

    Raises InvalidInput for a source that is not there or an `overlap` not below `chunk`, and MissingExtra.
    """
    at_least_1(chunk, "chunk")
    if not 0 <= overlap < chunk:
        raise InvalidInput(f"an overlap is from 0 to below the size of a chunk, {chunk}, not {overlap}")
    roots = [_root(source) for source in sources]
    files = sorted({file for root in roots for file in _files(root)})
    lacking = {name: type_ for name, type_ in COLUMNS.items() if name not in collection.columns}
    if lacking:
        collection.add_columns(lacking)
    known = _known(collection)
    report = DocumentsReport()
    for done, file in enumerate(files, 1):
        _take(collection, file, known.get(path_to_id(file)), (chunk, overlap), report)
        progress(Progress(done, len(files), len(report.failures)))
    _drop_vanished(collection, known, roots, set(files), prune, report)
    return report


def search_documents(
    collection: Collection, question: str, *, k: int = 10, where: str | None = None, hybrid: bool = False
) -> list[DocumentHit]:
    """The up to `k` documents that have the chunks nearest to a question, in words, the best first.

    `where` and `hybrid` are as in `Collection.search`. Raises InvalidInput, FilterError.
    """
    at_least_1(k, "k")
    if "document" not in collection.columns:
        return []
    only = all_of("document IS NOT NULL", where)
    wanted = k * _MORE
    while True:
        hits = collection.search(Query.text(question), k=wanted, kind="text", where=only, hybrid=hybrid)
        best: dict[str, Hit] = {}
        for hit in hits:
            best.setdefault(hit.metadata["document"], hit)
        if len(best) >= k or len(hits) < wanted:
            return _with_snippets(collection, question, list(best.values())[:k])
        wanted *= _MORE


def read_document(path: str | os.PathLike[str]) -> Document:
    """The text of a file, in UTF-8, or in UTF-16 with a mark. Raises InvalidInput that says what is wrong."""
    return _parsed(Path(path), _decoded(_bytes_of(Path(path))))


def split(text: str, *, suffix: str = ".txt", chunk: int = CHUNK, overlap: int = OVERLAP) -> list[Chunk]:
    """The chunks of a text, cut as files of that suffix are. Raises MissingExtra."""
    try:
        from langchain_text_splitters import Language, RecursiveCharacterTextSplitter
    except ImportError as error:
        raise MissingExtra("cutting documents", "text") from error
    kinds = {".md": Language.MARKDOWN, ".markdown": Language.MARKDOWN, ".rst": Language.RST}
    settings: dict[str, Any] = {"chunk_size": chunk, "chunk_overlap": overlap, "add_start_index": True}
    if suffix in kinds:
        splitter = RecursiveCharacterTextSplitter.from_language(kinds[suffix], **settings)
    else:
        splitter = RecursiveCharacterTextSplitter(**settings)
    parts = splitter.create_documents([text])
    starts = [(part.page_content, part.metadata["start_index"]) for part in parts]
    return [Chunk(said, start, start + len(said)) for said, start in starts]


def _root(source: str | os.PathLike[str]) -> Path:
    path = Path(source).expanduser().resolve()
    if not path.exists():
        raise InvalidInput(f"there is no file or folder {os.fspath(source)!r}")
    return path


def _files(root: Path) -> Iterator[str]:
    """What is named is taken whatever its suffix; hidden files and folders are left out below a folder."""
    if not root.is_dir():
        yield str(root)
        return
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield os.path.join(folder, name)


def _known(collection: Collection) -> dict[str, _Known]:
    columns = ["id", "document", "document_hash", "document_chunks"]
    known: dict[str, _Known] = {}
    for row in collection.to_arrow(columns=columns, where="document IS NOT NULL").to_pylist():
        entry = known.setdefault(row["document"], _Known())
        entry.ids.append(row["id"])
        entry.hashes.add(row["document_hash"])
        entry.chunks = row["document_chunks"]
    return known


def _take(
    collection: Collection, file: str, known: _Known | None, size: tuple[int, int], report: DocumentsReport
) -> None:
    identity = path_to_id(file)
    try:
        data = _bytes_of(Path(file))
        digest = hashlib.sha256(f"{size}".encode() + data).hexdigest()
        if known is not None and known.is_still(digest):
            report.unchanged += 1
            return
        document = _parsed(Path(file), _decoded(data))
    except InvalidInput as error:
        report.failures.append(Failure(identity, error.reason))
        return
    suffix = Path(file).suffix.lower()
    chunks = split(document.text, suffix=suffix, chunk=size[0], overlap=size[1])
    ids = [f"{identity}#{number}" for number in range(len(chunks))]
    common = {
        "document": identity,
        "title": document.title,
        "document_hash": digest,
        "document_chunks": len(chunks),
    }
    metadata = [{**common, "chunk_start": each.start, "chunk_end": each.end} for each in chunks]
    done = collection.add_texts([each.text for each in chunks], ids=ids, metadata=metadata)
    collection.delete(sorted(set(known.ids if known else ()) - set(ids)))
    report.chunks += len(chunks)
    report.cut += done.cut
    if known is None:
        report.added += 1
    else:
        report.updated += 1


def _drop_vanished(
    collection: Collection,
    known: dict[str, _Known],
    roots: Sequence[Path],
    found: set[str],
    prune: bool,
    report: DocumentsReport,
) -> None:
    folders = [str(root) for root in roots if root.is_dir()]
    below = [one for one in known if any(is_under(id_to_path(one), folder) for folder in folders)]
    gone = [one for one in below if id_to_path(one) not in found and not os.path.lexists(id_to_path(one))]
    if len(gone) > _MANY_GONE * len(below) and not prune:
        report.kept_missing = len(gone)
        return
    for one in gone:
        collection.delete(known[one].ids)
    report.removed = len(gone)


def _bytes_of(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInput(f"is over the limit of {MAX_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror or error}") from error
    if not data.strip():
        raise InvalidInput("is empty")
    return data


def _decoded(data: bytes) -> str:
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"is not {encoding.removesuffix('-sig').upper()} (byte {error.start:,}): save it as UTF-8"
        ) from error
    if "\0" in text:
        raise InvalidInput(f"is no text: it holds a NUL, character {text.index(chr(0)):,}")
    return text.replace("\r\n", "\n")


def _parsed(path: Path, text: str) -> Document:
    suffix = path.suffix.lower()
    if suffix in (".html", ".htm"):
        page = _Page()
        page.feed(text)
        page.close()
        text, title = page.text(), " ".join("".join(page.title).split())
    elif suffix in (".md", ".markdown"):
        heading = re.search(r"^#{1,6}[ \t]+(.+?)[ \t#]*$", text, re.MULTILINE)
        title = heading[1] if heading else ""
    else:
        heading = re.match(r"\s*(\S.*)\n([=\-~*#^])\2{2,}\s*(?:\n|$)", text) if suffix == ".rst" else None
        title = heading[1].strip() if heading else ""
    if not text.strip():
        raise InvalidInput("holds no text")
    return Document(title or path.stem, text)


class _Page(HTMLParser):
    """The text of a page as it is read: blocks on lines of their own, without scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.title: list[str] = []
        self._parts: list[str] = []
        self._within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _UNSEEN or tag == "title":
            self._within.append(tag)
        elif tag in _BLOCKS:
            self._parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._within:
            del self._within[self._within.index(tag) :]
        elif tag in _BLOCKS:
            self._parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._within:
            self._parts.append(data)
        elif self._within[-1] == "title":
            self.title.append(data)

    def text(self) -> str:
        lines = (" ".join(line.split()) for line in "".join(self._parts).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _with_snippets(collection: Collection, question: str, hits: Sequence[Hit]) -> list[DocumentHit]:
    sentences = [_sentences(hit.text or "") for hit in hits]
    if not hits:
        return []
    encoder = collection.text_encoder
    asked = encoder.encode_queries([question])[0]
    rows = iter(encoder.encode_texts([each.text for some in sentences for each in some]) @ asked)
    found = []
    for hit, some in zip(hits, sentences, strict=True):
        best = max([(next(rows), -each.start, each) for each in some], key=lambda one: one[:2])[2]
        begin = hit.metadata["chunk_start"]
        of = hit.metadata["document"], hit.metadata["title"] or ""
        found.append(DocumentHit(*of, hit.score, best.text, begin + best.start, begin + best.end, hit))
    return found


def _sentences(text: str) -> list[Chunk]:
    """The sentences of a text, without the blanks around them; the text itself, where it has none."""
    found, begin = [], 0
    for match in _BOUNDARY.finditer(text):
        said = text[begin : match.start()].strip()
        if any(character.isalnum() for character in said):
            start = text.index(said, begin)
            found.append(Chunk(said, start, start + len(said)))
        begin = match.end()
    return found or [Chunk(text, 0, len(text))]
