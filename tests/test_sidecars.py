from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path
from xml.etree.ElementTree import canonicalize

import pytest

from clipkit.errors import InvalidInput, MissingExtra, StorageError
from clipkit.reports import Failure
from clipkit.sidecars import SidecarReport, read_keywords, sidecar_of, write_keywords, write_sidecars

# What a photo program may have left: an xpacket around it, ratings as attributes, settings, a comment, a
# language alternative, keywords with a prefix of their own, and hierarchical ones in other properties.
RICH = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 6.0">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <!-- kept -->
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/" crs:Exposure2012="+0.35">
   <crs:ToneCurve><rdf:Seq><rdf:li>0, 0</rdf:li><rdf:li>255, 255</rdf:li></rdf:Seq></crs:ToneCurve>
  </rdf:Description>
  <rdf:Description rdf:about="" xmlns:d="http://purl.org/dc/elements/1.1/">
   <d:title><rdf:Alt><rdf:li xml:lang="x-default">Grüße &amp; Küsse</rdf:li></rdf:Alt></d:title>
   <d:subject><rdf:Bag><rdf:li>holiday</rdf:li><rdf:li>Dog</rdf:li></rdf:Bag></d:subject>
  </rdf:Description>
  <rdf:Description rdf:about="" xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    xmlns:digiKam="http://www.digikam.org/ns/1.0/">
   <lr:hierarchicalSubject><rdf:Bag><rdf:li>trips|holiday</rdf:li></rdf:Bag></lr:hierarchicalSubject>
   <digiKam:TagsList><rdf:Seq><rdf:li>trips/holiday</rdf:li></rdf:Seq></digiKam:TagsList>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"a picture")
    return path


def items(text: str, name: str) -> list[str]:
    """What stands in a property's container."""
    inside = re.search(rf"<{name}\b[^>]*>(.*?)</{name}>", text, re.DOTALL)
    return re.findall(r"<rdf:li>(.*?)</rdf:li>", inside[1]) if inside else []


def canonical(text: str) -> str:
    """The document, however its attributes are ordered and its elements indented."""
    return canonicalize(text, with_comments=True, strip_text=True)


# --- which file it is


def test_a_new_sidecar_is_where_programs_look(tmp_path: Path) -> None:
    assert sidecar_of(tmp_path / "a.jpg") == tmp_path / "a.jpg.xmp"
    assert sidecar_of(tmp_path / "a.b.PNG") == tmp_path / "a.b.PNG.xmp"
    assert sidecar_of(tmp_path / "a.CR2") == tmp_path / "a.xmp"


def test_a_sidecar_that_is_there_is_used(tmp_path: Path, photo: Path) -> None:
    (tmp_path / "photo.xmp").write_text("")
    assert sidecar_of(photo) == tmp_path / "photo.xmp"
    (tmp_path / "photo.cr2").write_text("")
    assert sidecar_of(photo) == tmp_path / "photo.jpg.xmp", "photo.xmp may be that of the RAW file"
    assert sidecar_of(tmp_path / "photo.cr2") == tmp_path / "photo.xmp"
    (tmp_path / "photo.cr2.xmp").write_text("")
    assert sidecar_of(tmp_path / "photo.cr2") == tmp_path / "photo.cr2.xmp"


# --- what is in it


def test_keywords_of_a_new_sidecar_can_be_read(photo: Path) -> None:
    assert write_keywords(photo, ["dog", "Füße & <Co>", "dog"])
    assert read_keywords(photo) == ("dog", "Füße & <Co>")
    text = sidecar_of(photo).read_text(encoding="utf-8")
    assert items(text, "dc:subject") == ["dog", "Füße &amp; &lt;Co&gt;"]
    assert "hierarchicalSubject" not in text
    assert photo.read_bytes() == b"a picture"


def test_without_keywords_nothing_is_made(photo: Path) -> None:
    assert not write_keywords(photo, [])
    assert list(photo.parent.iterdir()) == [photo]
    assert read_keywords(photo) == ()


def test_all_that_others_wrote_is_kept(photo: Path) -> None:
    path = sidecar_of(photo)
    path.write_text(RICH, encoding="utf-8")
    assert write_keywords(photo, ["dog", "beach"])
    text = path.read_text(encoding="utf-8")
    assert items(text, "d:subject") == ["holiday", "Dog", "beach"], "dog is there, if for its case"
    assert items(text, "lr:hierarchicalSubject") == ["trips|holiday", "beach"]
    assert items(text, "digiKam:TagsList") == ["trips/holiday", "beach"]
    text = re.sub("<clipkit:added.*?</clipkit:added>", "", text).replace("<rdf:li>beach</rdf:li>", "")
    assert canonical(text) == canonical(RICH)


def test_a_second_run_takes_out_what_the_first_added_and_no_longer_holds(photo: Path) -> None:
    path = sidecar_of(photo)
    path.write_text(RICH, encoding="utf-8")
    assert write_keywords(photo, ["dog", "beach"])
    once = path.read_bytes()
    assert not write_keywords(photo, ["beach", "dog"])
    assert path.read_bytes() == once
    assert write_keywords(photo, ["sea"])
    assert read_keywords(photo) == ("holiday", "Dog", "sea")
    assert write_keywords(photo, [])
    assert read_keywords(photo) == ("holiday", "Dog")
    text = path.read_text(encoding="utf-8")
    assert items(text, "digiKam:TagsList") == ["trips/holiday"]
    assert canonical(text) == canonical(RICH)


def test_a_keyword_that_a_person_wrote_is_never_taken_out(photo: Path) -> None:
    path = sidecar_of(photo)
    path.write_text(RICH, encoding="utf-8")
    assert write_keywords(photo, ["holiday", "beach"])
    assert write_keywords(photo, ["sea"])
    assert read_keywords(photo) == ("holiday", "Dog", "sea")


# --- what can go wrong


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "photo.jpg.xmp is not XML, so it was left alone"),
        ("<x:xmpmeta", "is not XML, so it was left alone"),
        ("<html/>", "holds no XMP, so it was left alone: there is no rdf:RDF in it"),
    ],
)
def test_a_file_that_is_no_sidecar_is_left_alone(photo: Path, content: str, message: str) -> None:
    path = photo.with_name("photo.jpg.xmp")
    path.write_text(content)
    with pytest.raises(InvalidInput, match=message):
        write_keywords(photo, ["dog"])
    assert path.read_text() == content


def test_entities_are_not_followed(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    doctype = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{tmp_path}/secret.txt">]>'
    body = RICH.partition("?>\n")[2].replace("holiday</rdf:li><rdf:li>Dog", "&e;</rdf:li><rdf:li>Dog")
    sidecar_of(photo).write_text(doctype + body, encoding="utf-8")
    write_keywords(photo, ["beach"])
    assert "secret</rdf:li>" not in sidecar_of(photo).read_text(encoding="utf-8")
    assert "secret" not in read_keywords(photo)


def test_one_that_fails_stops_none(photo: Path, tmp_path: Path) -> None:
    broken, gone = tmp_path / "broken.jpg", tmp_path / "gone.jpg"
    broken.write_bytes(b"a picture")
    sidecar_of(broken).write_text("no XML")
    report = write_sidecars([(str(broken), ["dog"]), (str(gone), ["dog"]), (str(photo), ["dog"])])
    assert (report.written, report.unchanged) == (1, 0)
    assert [failure.id for failure in report.failures] == [str(broken), str(gone)]
    assert report.failures[1] == Failure(str(gone), "is no file: there is nothing to put a sidecar beside")
    assert write_sidecars([(str(photo), ["dog"])]) == SidecarReport(0, 1)


def test_a_replaced_sidecar_keeps_its_permissions_and_leaves_no_litter(photo: Path) -> None:
    write_keywords(photo, ["dog"])
    os.chmod(sidecar_of(photo), 0o640)
    write_keywords(photo, ["cat"])
    assert stat.S_IMODE(sidecar_of(photo).stat().st_mode) == 0o640
    assert sorted(path.name for path in photo.parent.iterdir()) == ["photo.jpg", "photo.jpg.xmp"]


def test_a_sidecar_that_cannot_be_written_is_told(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match=r"photo\.jpg\.xmp cannot be written: No space left"):
        write_keywords(photo, ["dog"])
    assert list(photo.parent.iterdir()) == [photo]


def test_without_lxml_the_install_line_is_told(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lxml", None)
    with pytest.raises(MissingExtra, match=r"pip install 'clipkit\[xmp\]'"):
        write_sidecars([(str(photo), ["dog"])])
