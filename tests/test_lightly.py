from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from clipkit import Collection
from clipkit.testing import FakeEncoder


def output_of(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_collection_is_opened_and_searched_without_the_client_of_catalogues(db: Path) -> None:
    Collection.create("colours", db=db, encoder=FakeEncoder()).add_texts(["red", "blue"])
    code = """
import sys
from clipkit import Collection
assert Collection.names(sys.argv[1]) == ["colours"]
(hit,) = Collection.open("colours", db=sys.argv[1]).search("blue", k=1)
Collection.create("more", db=sys.argv[1], encoder="fake").add_texts(["green"])
assert Collection.names(sys.argv[1]) == ["colours", "more"]
assert "lance_namespace_urllib3_client" not in sys.modules
print(hit.text)
"""
    assert output_of(code, str(db)) == "blue\n"


def test_the_client_is_there_when_it_is_made_use_of(db: Path) -> None:
    Collection.create("colours", db=db, encoder=FakeEncoder())
    code = """
import sys
import clipkit.lance, lancedb.namespace, lance_namespace
import pyarrow as pa
assert "lance_namespace_urllib3_client" not in sys.modules
listed = lancedb.connect(sys.argv[1]).list_tables()
request = lance_namespace.CreateNamespaceRequest(id=["a"])
from lance_namespace_urllib3_client import models
assert type(request) is models.CreateNamespaceRequest
assert isinstance(request, lance_namespace.CreateNamespaceRequest)
assert not isinstance(request, lance_namespace.ListTablesRequest)
assert lance_namespace.ListTablesResponse.from_dict({"tables": ["a"]}).tables == ["a"]
assert models.ListTablesResponse.from_json(listed.to_json()).tables == listed.tables
assert lancedb.namespace._convert_pyarrow_type_to_json(pa.int64()).type == "int64"
assert "colours" in lancedb.connect_namespace("dir", {"root": sys.argv[1]}).list_tables().tables
print(sorted(listed.tables))
"""
    names = ["colours", "colours.failures", "colours.sources", "colours.thumbnails"]
    assert output_of(code, str(db)) == f"{names}\n"


def test_lancedbs_methods_are_not_compared_with_those_that_they_override(db: Path) -> None:
    """From Python 3.12 on, lancedb itself leaves that out. Who imports it later has it all the same."""
    Collection.create("colours", db=db, encoder=FakeEncoder())
    code = """
import sys
import clipkit.lance, lancedb, lancedb.remote.db, lancedb.namespace
assert "overrides" not in sys.modules
assert lancedb.db.LanceDBConnection.open_table.__doc__
print(isinstance(lancedb.connect(sys.argv[1]), lancedb.DBConnection))
try:
    from overrides import override
except ImportError:  # it comes with lancedb before Python 3.12 only
    sys.exit()
try:
    class Odd:
        @override
        def nothing(self): ...
except TypeError as error:
    assert "super" in str(error)
else:
    raise AssertionError("it no longer checks")
"""
    assert output_of(code, str(db)) == "True\n"


def test_what_is_there_already_is_used_as_it_is() -> None:
    code = """
import lance_namespace_urllib3_client.models as models
import clipkit.lance, lance_namespace, lancedb.namespace
assert lance_namespace.ListTablesResponse is models.ListTablesResponse
assert lancedb.namespace.JsonArrowField is models.JsonArrowField
print("as it is")
"""
    assert output_of(code) == "as it is\n"
