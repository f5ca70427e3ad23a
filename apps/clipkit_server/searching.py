"""/v1/search, /v1/describe and /v1/classify: collections and models asked across texts and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
from fastapi import APIRouter, Response

from clipkit import Collection, Query
from clipkit.encoder import Vectors
from clipkit.errors import InvalidInput
from clipkit.hiding import visible
from clipkit.hits import Hit
from clipkit.query import Part
from clipkit_server.answers import answer, errors
from clipkit_server.embeddings import embedded, usage
from clipkit_server.pictures import checked_bytes
from clipkit_server.schemas import (
    ClassifyRequest,
    ClassifyResponse,
    DescribeRequest,
    DescribeResponse,
    SearchRequest,
    SearchResponse,
    Term,
)
from clipkit_server.service import Service

SHARE_SCALE = 100.0  # CLIP's logit scale, where training clips it (Radford et al. 2021, section 2.5)


def routes(service: Service) -> APIRouter:
    """The routes, without a prefix."""
    router = APIRouter(tags=["search"])

    @router.post(
        "/search",
        summary="Find items of a collection",
        response_model=None,
        responses={200: {"model": SearchResponse}, **errors(404, 409, 413)},
    )
    async def search(request: SearchRequest) -> Response:
        return answer(await service.in_thread(_search, service, request))

    @router.post(
        "/describe",
        summary="Say what a picture shows",
        response_model=None,
        responses={200: {"model": DescribeResponse}, **errors(404, 409, 413)},
    )
    async def describe(request: DescribeRequest) -> Response:
        return answer(await service.in_thread(_describe, service, request))

    @router.post(
        "/classify",
        summary="Tell texts and pictures apart by labels, without training",
        response_model=None,
        responses={200: {"model": ClassifyResponse}, **errors(404, 413)},
    )
    async def classify(request: ClassifyRequest) -> Response:
        spec = service.models.spec(request.model)
        labels = await service.in_thread(
            service.library.label_vectors, spec, request.labels, request.templates
        )
        async with service.leased(spec) as model:
            rows = await embedded(service, model, request.input)
        vectors = np.stack([row.vector for row in rows])
        data = await service.in_thread(_classes, vectors @ labels.T, request.labels)
        tokens = sum(row.tokens for row in rows)
        return answer({"model": request.model, "data": data, "usage": usage(tokens)})

    return router


def _search(service: Service, request: SearchRequest) -> dict[str, Any]:
    collection = service.library.collection(request.collection)
    hits = collection.search(
        _query(request.query, _reader(service)),
        k=request.k,
        kind=request.kind,
        where=visible(collection, request.where),
        min_score=request.min_score,
        hybrid=request.hybrid,
    )
    shown = [_shown(collection, hit) for hit in hits]
    return {"collection": collection.name, "hits": shown, "cutoffs": hits.cutoffs}


def _describe(service: Service, request: DescribeRequest) -> dict[str, Any]:
    collection = service.library.collection(request.collection)
    picture = _reader(service)(request.image)
    vectors = collection.encoder.encode_images([picture])
    texts = collection.search(Query.vector(vectors[0]), k=request.k, kind="text", where=visible(collection))
    tagger = service.library.tagger(collection, request.labels)
    (tags,) = tagger.tags(vectors, threshold=request.threshold, top=request.top)
    shown = [_shown(collection, hit) for hit in texts]
    return {"collection": collection.name, "texts": shown, "tags": [asdict(tag) for tag in tags]}


def _reader(service: Service) -> Callable[[str], bytes]:
    return lambda said: checked_bytes(said, service.limits, allow_urls=service.options.allow_urls)


def _query(said: str | Sequence[Term], read: Callable[[str], bytes]) -> Query:
    """The query that a request asks. Raises QueryError, and InvalidInput for a path: none is ever opened."""
    if isinstance(said, str):
        return Query(tuple(_at_hand(part, read) for part in Query.parse(said).parts))
    parts: list[Part] = []
    for term in said:
        if term.text is not None:
            query = Query.text(term.text)
        elif term.id is not None:
            query = Query.item(term.id)
        elif term.vector is not None:
            query = Query.vector(term.vector)
        else:
            query = Query.image(read(str(term.image)))
        parts += (term.weight * query).parts
    return Query(tuple(parts))


def _at_hand(part: Part, read: Callable[[str], bytes]) -> Part:
    """A part of a one-line query, its picture fetched if it is an address."""
    if part.what != "image":
        return part
    if not str(part.value).lower().startswith(("http://", "https://")):
        raise InvalidInput(
            f"image:{part.value} is a path, which the server does not open: send the picture as a part of "
            'the query, {"image": "data:image/jpeg;base64,..."}'
        )
    return replace(part, value=read(str(part.value)))


def _shown(collection: Collection, hit: Hit) -> dict[str, Any]:
    where = f"/v1/collections/{quote(collection.name, safe='')}/thumbnail?{urlencode({'id': hit.id})}"
    return {**asdict(hit), "thumbnail": where if hit.kind == "image" else None}


def _classes(scores: Vectors, labels: Sequence[str]) -> list[dict[str, Any]]:
    """The labels of each row of cosines, (n, labels), the nearest first."""
    raised = np.exp(SHARE_SCALE * (scores - scores.max(axis=1, keepdims=True)).astype(np.float64))
    shares = raised / raised.sum(axis=1, keepdims=True)
    data = []
    for place, order in enumerate(np.argsort(-scores, axis=1, kind="stable")):
        ranked = [
            {"label": labels[at], "score": float(scores[place, at]), "share": float(shares[place, at])}
            for at in order
        ]
        data.append({"index": place, "label": ranked[0]["label"], "scores": ranked})
    return data
