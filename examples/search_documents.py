"""Ask documents a question.

python examples/search_documents.py                      three short ones and the model that ships, offline
python examples/search_documents.py ~/notes 'a question' yours; st:all-MiniLM-L6-v2 understands more
"""

import sys
import tempfile
from pathlib import Path

import clipkit
from clipkit.documents import index_documents, search_documents

DOCUMENTS = {
    "garden.md": "# Garden\n\nA red flower. Water it in the evening.",
    "harbour.md": "# Harbour\n\nTwo blue sailboats at sea. They come back at night.",
    "animals.md": "# Animals\n\nA brown rabbit in a meadow. It eats carrots.",
}


def main(folder: Path, question: str) -> None:
    with tempfile.TemporaryDirectory() as db:
        collection = clipkit.Collection.create(db=db, encoder="bundled")
        report = index_documents(collection, [folder], chunk=200)
        print(f"{report.added} documents, {report.chunks} chunks")
        for hit in search_documents(collection, question, k=2):
            print(f"{hit.score:.3f} {hit.title}: {hit.snippet}")


if __name__ == "__main__":
    if sys.argv[1:]:
        main(Path(sys.argv[1]), sys.argv[2])
    else:
        with tempfile.TemporaryDirectory() as notes:
            for name, text in DOCUMENTS.items():
                Path(notes, name).write_text(text, encoding="utf-8")
            main(Path(notes), "two sailboats at sea")
