"""An import that commands can do without. A question, in a process of its own, would wait longest for it.

pyarrow imports pandas where it is installed, to know its objects when it sees them: a fifth of a second.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from clipkit.importing import have_run


def spare() -> None:
    """From now on, pyarrow is imported without pandas.

    It knows no pandas afterwards: this is for processes that make no data frames of tables. If it is there
    already it stays as it is, and whoever else wants pandas can import it.
    """
    have_run(("pyarrow._dataset",), _run)


def _run(module: ModuleType, loader: Loader) -> None:
    absent = _Absent()
    sys.meta_path.insert(0, absent)
    try:
        loader.exec_module(module)
    finally:
        sys.meta_path.remove(absent)


class _Absent(MetaPathFinder):
    """Finds that pandas cannot be imported."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - every finder is given it
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] == "pandas":
            raise ImportError(f"{fullname} is spared here", name=fullname)
        return None
