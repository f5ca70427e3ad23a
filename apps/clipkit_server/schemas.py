"""What requests and answers hold, as the OpenAPI document shows it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from clipkit_server.limits import Limits

_LIMITS = Limits()
_PICTURE = (  # one red pixel
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSu"
    "QmCC"
)
_MOST_DIMENSIONS = 16_384

Name = Annotated[str, Field(min_length=1, max_length=256)]
Id = Annotated[str, Field(min_length=1, max_length=4_096)]
Text = Annotated[str, Field(min_length=1, max_length=_LIMITS.characters)]
Picture = Annotated[
    str,
    Field(
        min_length=1,
        max_length=_LIMITS.body_bytes,
        description="A picture: a data: URI, base64, or where the server allows it an http(s) URL.",
        examples=[_PICTURE],
    ),
]


class Said(BaseModel):
    """What a client says. Fields that are not known are passed over: clients send what other servers take."""

    model_config = ConfigDict(frozen=True)


class TextInput(Said):
    """A text, whatever it looks like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Text = Field(examples=["a dog on the beach"])


class ImageInput(Said):
    """A picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: Picture


Input = TextInput | ImageInput


def _inputs(given: Any) -> tuple[Input, ...]:
    """The texts and pictures that `input` stands for, in its many forms."""
    many = given if isinstance(given, list) else [given]
    if not many:
        raise PydanticCustomError("input_empty", "the list is empty: give at least one text or picture")
    if len(many) > _LIMITS.inputs:
        raise PydanticCustomError(
            "input_long",
            "the list has {given} inputs, over the limit of {limit}: send several requests",
            {"given": len(many), "limit": _LIMITS.inputs},
        )
    if any(isinstance(one, int) or (isinstance(one, list) and one) for one in many):
        raise PydanticCustomError(
            "input_tokens",
            "lists of token ids are not taken, since they depend on the model: send the text itself "
            "(LangChain's OpenAIEmbeddings does with check_embedding_ctx_length=False)",
        )
    return tuple(_input(one, place) for place, one in enumerate(many))


def _input(one: Any, place: int) -> Input:
    if isinstance(one, str):
        one = {"image": one} if one[:11].lower() == "data:image/" else {"text": one}
    said = one if isinstance(one, dict) and len(one) == 1 else {}
    ((kind, value),) = said.items() or {("", "")}
    if kind not in ("text", "image") or not isinstance(value, str) or not value:
        raise PydanticCustomError(
            "input_kind",
            "input {place} is neither a text of at least one character, nor an object with one of text and "
            "image, the latter a data: URI or base64",
            {"place": place},
        )
    if kind == "image":
        return ImageInput.model_construct(image=value)
    if len(value) > _LIMITS.characters:
        raise PydanticCustomError(
            "input_characters",
            "input {place} has {given} characters, over the limit of {limit}: cut it into several",
            {"place": place, "given": len(value), "limit": _LIMITS.characters},
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError(
            "input_unicode",
            "input {place} holds half of a surrogate pair: it is not Unicode",
            {"place": place},
        ) from None
    return TextInput.model_construct(text=value)


_ONE = [
    {"type": "string", "minLength": 1, "maxLength": _LIMITS.characters},
    {"$ref": "#/components/schemas/TextInput"},
    {"$ref": "#/components/schemas/ImageInput"},
]
Inputs = Annotated[
    tuple[Input, ...],
    PlainValidator(_inputs),
    WithJsonSchema(
        {
            "anyOf": [
                *_ONE,
                {"type": "array", "minItems": 1, "maxItems": _LIMITS.inputs, "items": {"anyOf": _ONE}},
            ],
            "description": "A text, a picture, or a list of them. A string is a text, but one that begins "
            'with data:image/ is a picture; {"text": "..."} and {"image": "..."} say which.',
            "examples": ["a dog on the beach", ["a dog", {"image": _PICTURE}]],
        }
    ),
]


class EmbeddingRequest(Said):
    """What to embed, as in OpenAI's API."""

    model: Name = Field(description="One of those that /v1/models lists.", examples=["bundled"])
    input: Inputs
    dimensions: int | None = Field(
        None,
        ge=1,
        le=_MOST_DIMENSIONS,
        description="The length of the vectors. Below the model's own they are cut after so many numbers and "
        "made of unit length again: harmless with models trained for it (Matryoshka), a loss with others. "
        "Above it, zeros are put behind, which changes no cosine, where the name asked for is an alias that "
        "the server's owner gave; otherwise that is refused.",
        examples=[128],
    )
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="base64: the numbers as little-endian float32."
    )
    user: str | None = Field(None, max_length=1_024, description="Not used.")


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens by the model's own tokenizer, uncut; words, where it has none. Pictures count none."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    """Rows of unit length in the order of the inputs: their dot product is the cosine similarity."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class ModelInfo(BaseModel):
    """A model that can be asked for. `spec` is clipkit's name for it; `dimensions` is known once loaded."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    spec: str
    loaded: bool
    dimensions: int | None = None


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelInfo]


class ErrorBody(BaseModel):
    """`type` is the kind of error, `param` the field that is to blame, `code` a name that stays the same."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(BaseModel):
    error: ErrorBody


class Term(Said):
    """A part of a query: exactly one of text, image, id and vector, and its weight (negative: unlike it)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Text | None = None
    image: Picture | None = None
    id: Id | None = Field(None, description="An item of the collection, by its stored vector.")
    vector: list[float] | None = Field(None, min_length=1, max_length=_MOST_DIMENSIONS)
    weight: float = Field(1.0, ge=-1_000, le=1_000)

    @model_validator(mode="after")
    def _has_one(self) -> Term:
        if sum(value is not None for value in (self.text, self.image, self.id, self.vector)) != 1:
            raise PydanticCustomError("term", "a part of a query has one of text, image, id and vector")
        return self


class SearchRequest(Said):
    """What to look for in a collection."""

    collection: Name | None = Field(None, description="By default the one that the server was started with.")
    query: (
        Annotated[str, Field(min_length=1, max_length=_LIMITS.characters)]
        | Annotated[list[Term], Field(min_length=1, max_length=64)]
    ) = Field(
        description="One line, in which texts and id:... are added and taken away, or a list of its parts.",
        examples=["a dog on the beach - people", [{"text": "beach"}, {"image": _PICTURE, "weight": 0.5}]],
    )
    k: int = Field(10, ge=1, le=1_000, description="How many hits at most.")
    kind: Literal["image", "text"] | None = None
    where: str | None = Field(
        None,
        min_length=1,
        max_length=8_192,
        description="An SQL condition over the columns.",
        examples=["width > 1000"],
    )
    min_score: Annotated[float, Field(ge=-1, le=1)] | Literal["auto"] | None = Field(
        None, description='The least cosine; "auto" keeps what stands out.'
    )
    hybrid: bool = Field(False, description="Look for the words of the query as well.")


class HitInfo(BaseModel):
    """An item that was found. `thumbnail` is where its picture is served, on this server."""

    id: str
    kind: Literal["image", "text"]
    score: float
    uri: str | None = None
    text: str | None = None
    thumbnail: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class SearchResponse(BaseModel):
    """Hits, best first; `cutoffs` are the scores that "auto" stood for, by kind."""

    collection: str
    hits: list[HitInfo]
    cutoffs: dict[str, float] = Field(default_factory=dict)


class DescribeRequest(Said):
    """A picture, of which the nearest texts of a collection and the tags that hold are wanted."""

    image: Picture
    collection: Name | None = None
    k: int = Field(5, ge=1, le=100, description="How many texts at most.")
    labels: Annotated[list[Name], Field(min_length=1, max_length=1_000)] | None = Field(
        None,
        description="Tags to choose from; by default some 500 of every day.",
        examples=[["dog", "beach"]],
    )
    threshold: float = Field(3.5, ge=-100, le=100, description="How far a tag has to stand out.")
    top: int = Field(5, ge=1, le=100, description="How many tags at most.")


class TagInfo(BaseModel):
    """`score` is the cosine; `strength`, by how many standard deviations the tag stands out from others."""

    label: str
    score: float
    strength: float


class DescribeResponse(BaseModel):
    collection: str
    texts: list[HitInfo]
    tags: list[TagInfo]


class ClassifyRequest(Said):
    """Texts or pictures, and the labels to tell them apart by."""

    model: Name = Field(examples=["bundled"])
    input: Inputs
    labels: list[Name] = Field(min_length=1, max_length=1_000, examples=[["a cat", "a dog"]])
    templates: Annotated[list[Name], Field(min_length=1, max_length=64)] | None = Field(
        None,
        description="What is said of a label: {} is its name, {a} its name with an article.",
        examples=[["a photo of {a}"]],
    )


class ClassInfo(BaseModel):
    """`score` is the cosine. `share` is the softmax of 100 times the cosines, CLIP's own scale: it compares
    the given labels with each other and says nothing of whether any of them holds."""

    label: str
    score: float
    share: float


class Classified(BaseModel):
    """The labels of one input, the nearest first."""

    index: int
    label: str
    scores: list[ClassInfo]


class ClassifyResponse(BaseModel):
    model: str
    data: list[Classified]
    usage: Usage


class NewItem(Said):
    """A text or a picture to store. Without an id it gets a random one; one that is there is replaced."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Id | None = Field(None, examples=["note-1"])
    text: Text | None = Field(None, examples=["a dog on the beach"])
    image: Picture | None = None
    metadata: dict[str, Any] = Field(default_factory=dict, max_length=256)

    @model_validator(mode="after")
    def _has_one(self) -> NewItem:
        if (self.text is None) == (self.image is None):
            raise PydanticCustomError("item", "an item has either a text or an image")
        return self


class AddRequest(Said):
    """Texts, or pictures: what one request holds is stored as a whole or not at all."""

    items: list[NewItem] = Field(min_length=1, max_length=_LIMITS.images)


class AddResponse(BaseModel):
    """The ids in the order of the items. `cut` texts were longer than the model's context."""

    ids: list[str]
    added: int
    updated: int
    cut: int


class DeleteResponse(BaseModel):
    deleted: int


class CollectionInfo(BaseModel):
    """What a collection holds. `index` is null where every search is exact."""

    name: str
    encoder: str
    dim: int
    images: int
    texts: int
    failures: int
    size_bytes: int
    columns: dict[str, str]
    index: dict[str, Any] | None = None


class CollectionList(BaseModel):
    data: list[str]


class Health(BaseModel):
    status: Literal["ok", "unavailable"]
    reason: str | None = None
