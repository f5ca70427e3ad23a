"""/v1/embeddings and /v1/models, as OpenAI's clients speak them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter, Response

from clipkit.encoder import Pixels, Vectors
from clipkit.encoders import canonical_name
from clipkit.errors import ImageError, InvalidInput, MissingExtra
from clipkit_server.answers import answer, errors, json_bytes
from clipkit_server.models import IMAGES, TEXTS, Model, Row
from clipkit_server.pictures import picture_bytes, unreadable
from clipkit_server.schemas import (
    EmbeddingRequest,
    EmbeddingResponse,
    ImageInput,
    Input,
    ModelInfo,
    ModelList,
    TextInput,
)
from clipkit_server.service import Service

_INLINE = 8  # rows written at once by the event loop; more in a thread


def routes(service: Service) -> APIRouter:
    """The routes, without a prefix."""
    router = APIRouter(tags=["embeddings"])

    @router.post(
        "/embeddings",
        summary="Embed texts and pictures",
        response_model=None,
        responses={200: {"model": EmbeddingResponse}, **errors(404, 413)},
    )
    async def embeddings(request: EmbeddingRequest) -> Response:
        spec = service.models.spec(request.model)
        async with service.leased(spec) as model:
            dim = model.encoder.dim
            wanted = _dimensions(
                request.dimensions, dim, request.model, service.models.is_alias(request.model)
            )
            rows = await embedded(service, model, request.input)
        tokens = sum(row.tokens for row in rows)
        write = partial(_body, rows, wanted, request)
        body = write(tokens) if len(rows) <= _INLINE else await service.in_thread(write, tokens)
        return Response(body, media_type="application/json")

    @router.get(
        "/models",
        summary="The models that can be asked for",
        response_model=None,
        responses={200: {"model": ModelList}, **errors()},
    )
    async def models() -> Response:
        return answer({"object": "list", "data": [_info(service, name) for name in service.models.names]})

    @router.get(
        "/models/{model:path}",
        summary="One model",
        response_model=None,
        responses={200: {"model": ModelInfo}, **errors(404)},
    )
    async def one_model(model: str) -> Response:
        return answer(_info(service, model))

    return router


async def embedded(service: Service, model: Model, inputs: Sequence[Input]) -> list[Row]:
    """The rows of texts and pictures, in their order. Pictures are decoded first, all that can fail alone.

    Raises InvalidInput with the position of what cannot be used, and as `Service.rows`.
    """
    texts = [place for place, one in enumerate(inputs) if isinstance(one, TextInput)]
    images = [place for place, one in enumerate(inputs) if isinstance(one, ImageInput)]
    if len(images) > service.limits.images:
        raise InvalidInput(
            f"there are {len(images)} pictures, over the limit of {service.limits.images} of a request"
        )
    for kind, places in ((TEXTS, texts), (IMAGES, images)):
        if places and kind not in model.encoder.modalities:
            raise InvalidInput(
                f"{model.encoder.name} embeds no {kind}s: ask for another model", position=places[0]
            )
    decode = partial(_pixels, service, model)
    pixels = await service.decoded(decode, [(place, inputs[place]) for place in images]) if images else []
    rows: dict[int, Row] = {}
    for kind, places, items in (
        (TEXTS, texts, [one.text for one in inputs if isinstance(one, TextInput)]),
        (IMAGES, images, pixels),
    ):
        if places:
            rows.update(zip(places, await service.rows(model, kind, items), strict=True))
    return [rows[place] for place in range(len(inputs))]


def usage(tokens: int) -> dict[str, int]:
    """What a request has used; nothing is generated, so both are the same."""
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _pixels(service: Service, model: Model, given: tuple[int, ImageInput]) -> Pixels:
    place, one = given
    try:
        data = picture_bytes(one.image, service.limits, allow_urls=service.options.allow_urls)
        return model.pixels(data, service.limits.pixels)
    except MissingExtra as error:
        raise ImageError(unreadable(error).reason, position=place) from error
    except ImageError as error:
        reason = error.reason if error.reason.startswith("the ") else unreadable(error).reason
        raise ImageError(reason, position=place) from error
    except InvalidInput as error:
        raise type(error)(error.reason, position=place) from error


def _dimensions(wanted: int | None, dim: int, name: str, is_alias: bool) -> int:
    if wanted is not None and wanted > dim and not is_alias:
        raise InvalidInput(
            f"{name} has {dim} dimensions, not {wanted}: ask for up to {dim}. Under an alias "
            f"(clipkit serve --model NAME={name}), vectors are filled up with zeros"
        )
    return wanted or dim


def resized(vectors: Vectors, wanted: int) -> Vectors:
    """Rows of that length: cut and of unit length again, or with zeros behind. Raises InvalidInput for a row
    of which nothing is left."""
    dim = vectors.shape[1]
    if wanted == dim:
        return vectors
    if wanted > dim:
        return np.pad(vectors, ((0, 0), (0, wanted - dim)))
    cut = vectors[:, :wanted].astype(np.float64)
    norms = np.linalg.norm(cut, axis=1, keepdims=True)
    if not norms.all():
        place = int(np.flatnonzero(norms[:, 0] == 0.0)[0])
        raise InvalidInput(
            f"its first {wanted} numbers are all zero: ask for more dimensions", position=place
        )
    return np.asarray(cut / norms, np.float32)


def _body(rows: Sequence[Row], wanted: int, request: EmbeddingRequest, tokens: int) -> bytes:
    """The answer, written row by row: one piece of JSON would hold up all other threads while it is made."""
    vectors = resized(np.stack([row.vector for row in rows]), wanted)
    as_base64 = request.encoding_format == "base64"
    written = (
        b'{"object":"embedding","index":%d,"embedding":%b}' % (place, _written(row, as_base64))
        for place, row in enumerate(vectors)
    )
    rest = json_bytes({"model": request.model, "usage": usage(tokens)})
    return b'{"object":"list","data":[%b],%b' % (b",".join(written), rest[1:])


def _written(vector: Vectors, as_base64: bool) -> bytes:
    if as_base64:
        return b'"%b"' % base64.b64encode(vector.astype("<f4").tobytes())
    return json_bytes(vector)


def _info(service: Service, name: str) -> dict[str, Any]:
    spec = service.models.spec(name)
    model = service.models.loaded().get(canonical_name(spec))
    return {
        "id": name,
        "object": "model",
        "created": service.started,
        "owned_by": "clipkit",
        "spec": spec,
        "loaded": model is not None,
        "dimensions": None if model is None else model.encoder.dim,
    }
