"""What every command shares: the common options, the collection they name, and what happens to errors."""

from __future__ import annotations

import inspect
import os
import shlex
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipkit.cli import filtering
from clipkit.cli.filtering import Filters
from clipkit.cli.output import failed, flush, note
from clipkit.errors import CollectionExists, CollectionNotFound

if TYPE_CHECKING:
    from clipkit.collection import Collection
    from clipkit.encoder import Encoder

_PANEL = "Common options"

_Db = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE",
        rich_help_panel=_PANEL,
        help="Where collections live: a folder or an object-store URI. Default: $CLIPKIT_HOME, or else the "
        "system's folder for application data.",
    ),
]
_Name = Annotated[str, typer.Option(metavar="NAME", rich_help_panel=_PANEL, help="Which collection.")]
_Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE",
        rich_help_panel=_PANEL,
        help="Run the model on cpu, cuda, cuda:1 or mps. Default: the best there is.",
    ),
]
_Precision = Annotated[
    str | None,
    typer.Option(
        metavar="PRECISION", rich_help_panel=_PANEL, help="Run the model in fp32, bf16, fp16 or int8."
    ),
]
_Json = Annotated[
    bool, typer.Option("--json", rich_help_panel=_PANEL, help="Print one JSON document, also for an error.")
]

_DB = inspect.Parameter("db", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_Db)
_NAME = inspect.Parameter("name", inspect.Parameter.KEYWORD_ONLY, default="default", annotation=_Name)
_DEVICE = inspect.Parameter("device", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_Device)
_PRECISION = inspect.Parameter(
    "precision", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_Precision
)
_CONTEXT = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
_JSON = inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Json)


@dataclass(frozen=True, slots=True)
class Session:
    """The common options of one call, its filters, and `arguments`, all that was typed after `clipkit`."""

    db: str | None = None
    name: str = "default"
    device: str | None = None
    precision: str | None = None
    json: bool = False
    arguments: tuple[str, ...] = ()
    filters: Filters = field(default_factory=Filters)

    @property
    def where(self) -> str | None:
        """The filter that the options of `filtering` make together. Raises FilterError."""
        return self.filters.condition()

    def open(self, model: str | None = None) -> Collection:
        """The collection that --db and --name name, its model on the device that --device names."""
        from clipkit.collection import Collection

        try:
            return Collection.open(
                self.name, db=self.db, encoder=model, device=self.device, precision=self.precision
            )
        except CollectionNotFound as error:
            raise CollectionNotFound(f"{error}\n  {self.again('index')} FOLDER  makes it") from error

    def open_or_create(self, model: str | None) -> Collection:
        """As `open`; where there is none, a new one."""
        from clipkit.collection import Collection
        from clipkit.encoders import load_encoder

        if self.name in Collection.names(self.db):
            return self.open(model)
        encoder = load_encoder(model, device=self.device, precision=self.precision)
        try:
            return Collection.create(self.name, db=self.db, encoder=encoder)
        except CollectionExists:  # another process was faster
            return self.open(model)

    def encoder(self, model: str | None) -> Encoder:
        """The model of that name; None stands for the collection's, or where there is none the default."""
        from clipkit.collection import Collection
        from clipkit.encoders import load_encoder

        if model is None and self.name in Collection.names(self.db):
            return self.open().encoder
        return load_encoder(model, device=self.device, precision=self.precision)

    def again(self, command: str, *arguments: str) -> str:
        """A command line for the same collection, to be copied from a message."""
        words = ["clipkit", *command.split(), *arguments]
        if self.db is not None:
            words += ["--db", self.db]
        if self.name != "default":
            words += ["--name", self.name]
        return shlex.join(words)

    def typed(self, *more: str) -> str:
        """The command line that is running, with `more` options, to be copied from a message."""
        return shlex.join(["clipkit", *self.arguments[:1], *more, *self.arguments[1:]])


def register(
    app: typer.Typer,
    function: Callable[..., None],
    *,
    collection: bool = True,
    model: bool = False,
    filters: bool = False,
) -> None:
    """Makes `function` a command: it takes a Session, and the common options that fill it are added.

    `collection` adds --db and --name, `model` --device and --precision, `filters` --where and its short
    forms; --json is on every command. A command that Python has for a name ends with _, as list_.
    """
    signature = inspect.signature(function, eval_str=True)
    common = [*([_DB, _NAME] if collection else []), *([_DEVICE, _PRECISION] if model else []), _JSON]
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in list(signature.parameters.values())[1:]
    ]
    choosing = filtering.PARAMETERS if filters else ()

    @wraps(function)
    def command(context: typer.Context, **given: Any) -> None:
        chosen = {parameter.name: given.pop(parameter.name) for parameter in common}
        chosen["filters"] = Filters(**{parameter.name: given.pop(parameter.name) for parameter in choosing})
        session = Session(arguments=tuple(context.obj or ()), **chosen)
        try:
            with _warnings_as_notes():
                function(session, **given)
            flush()
        except typer.Exit:
            raise
        except (Exception, KeyboardInterrupt) as error:
            # Here, not in main(): typer would make its own of Ctrl-C and of a closed pipe on the way.
            if os.environ.get("CLIPKIT_DEBUG"):
                raise
            raise typer.Exit(failed(error, json=session.json)) from None

    parameters = [_CONTEXT, *own, *choosing, *common]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    help_text = "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)
    app.command(function.__name__.rstrip("_").replace("_", "-"), help=help_text)(command)


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Warnings as one line each, without the source line that Python would add."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)

        def show(message: Warning | str, *_: object, **__: object) -> None:
            note(str(message))

        warnings.showwarning = show
        yield
