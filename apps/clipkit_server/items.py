"""/v1/collections: what they hold, their items added and deleted, and thumbnails."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from clipkit.errors import ImageError, InvalidInput
from clipkit.reports import AddReport
from clipkit_server.answers import Refusal, answer, errors
from clipkit_server.pictures import checked_bytes
from clipkit_server.schemas import (
    AddRequest,
    AddResponse,
    CollectionInfo,
    CollectionList,
    DeleteResponse,
    Id,
    NewItem,
)
from clipkit_server.service import Service

CollectionName = Annotated[
    str, Path(min_length=1, max_length=256, description="A collection's name.", examples=["default"])
]
_CACHED = {"cache-control": "private, max-age=3600"}
_SHOWN = ("name", "encoder", "dim", "images", "texts", "failures", "size_bytes")


def routes(service: Service) -> APIRouter:
    """The routes, without a prefix."""
    router = APIRouter(tags=["collections"])

    @router.get(
        "/collections",
        summary="The collections that there are",
        response_model=None,
        responses={200: {"model": CollectionList}, **errors()},
    )
    async def collections() -> Response:
        return answer({"data": await service.in_thread(service.library.names)})

    @router.get(
        "/collections/{name}",
        summary="What a collection holds",
        response_model=None,
        responses={200: {"model": CollectionInfo}, **errors(404, 409)},
    )
    async def status(name: CollectionName) -> Response:
        return answer(await service.in_thread(_status, service, name))

    @router.post(
        "/collections/{name}/items",
        summary="Store texts or pictures",
        response_model=None,
        responses={200: {"model": AddResponse}, **errors(404, 409, 413)},
    )
    async def add(name: CollectionName, request: AddRequest) -> Response:
        return answer(asdict(await service.in_thread(_add, service, name, request.items)))

    @router.delete(
        "/collections/{name}/items",
        summary="Delete items by their ids",
        response_model=None,
        responses={200: {"model": DeleteResponse}, **errors(404, 409)},
    )
    async def delete(
        name: CollectionName,
        ids: Annotated[list[Id], Query(alias="id", min_length=1, max_length=100)],
    ) -> Response:
        def done() -> int:
            return service.library.collection(name).delete(ids)

        return answer({"deleted": await service.in_thread(done)})

    @router.get(
        "/collections/{name}/thumbnail",
        summary="The small picture that is stored of an item",
        response_model=None,
        responses={200: {"content": {"image/jpeg": {}}, "description": "A JPEG."}, **errors(404, 409)},
    )
    async def thumbnail(name: CollectionName, item: Annotated[Id, Query(alias="id")]) -> Response:
        pictures = await service.in_thread(lambda: service.library.collection(name).thumbnails([item]))
        if item not in pictures:
            raise Refusal(404, "there is no picture of that id", param="id")
        return Response(pictures[item], media_type="image/jpeg", headers=_CACHED)

    return router


def _status(service: Service, name: str) -> dict[str, Any]:
    status = asdict(service.library.collection(name).status())
    index = status["index"]
    return {**{key: status[key] for key in _SHOWN}, "columns": dict(status["columns"]), "index": index}


def _add(service: Service, name: str, items: list[NewItem]) -> AddReport:
    """Stores items of one kind, all or none. Raises InvalidInput with the position of what cannot be used."""
    kinds = {item.image is None for item in items}
    if len(kinds) > 1:
        raise InvalidInput(
            "texts and pictures go in requests of their own, so that each is done as a whole or not at all"
        )
    collection = service.library.collection(name)
    # Where none has an id, all get random ones. Where some have, the others would need one made here.
    ids = [item.id for item in items]
    if any(ids) and not all(ids):
        raise InvalidInput("some items have an id and others none", position=ids.index(None))
    given: dict[str, Any] = {"metadata": [item.metadata for item in items]}
    if all(ids):
        given["ids"] = ids
    if kinds == {True}:
        return collection.add_texts([str(item.text) for item in items], **given)
    pictures = [_picture(service, place, str(item.image)) for place, item in enumerate(items)]
    return collection.add_images(pictures, **given)


def _picture(service: Service, place: int, said: str) -> bytes:
    try:
        return checked_bytes(said, service.limits, allow_urls=service.options.allow_urls)
    except InvalidInput as error:
        kind = ImageError if isinstance(error, ImageError) else InvalidInput
        raise kind(error.reason, position=place) from error
