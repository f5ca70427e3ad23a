"""Texts embedded by a service that speaks OpenAI's interface: api:text-embedding-v3, or any other.

Where it is and the key to it are in the environment, together, so that no key goes to another's address:

    CLIPKIT_API_BASE, CLIPKIT_API_KEY       first, for any service; a local one may need no key
    DASHSCOPE_API_KEY                       for the models of Alibaba Cloud Model Studio, at its own address
    OPENAI_API_KEY, OPENAI_BASE_URL         otherwise; the address is OpenAI's, unless it is said

The key is kept in memory only, by the client; no name, message, log or collection holds it. Nobody can see
the weights behind a service: the fingerprint covers its host, the model's name and the dimensions, so
vectors change unnoticed if the service changes the model under that name.

A service refuses what is too long; how many tokens a text has, only the service knows. A text is cut where an
estimate says that it is too long, a token for four characters of ASCII or one of any other script. One that
is refused all the same is an error with its position.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from clipkit.encoder import TextEncoder, Vectors
from clipkit.encoders import catalog, lengths
from clipkit.errors import ClipkitError, InvalidInput, ModelUnavailable, ServiceError

if TYPE_CHECKING:
    from clipkit.encoders import Options
    from clipkit.encoders.catalog import ModelCard

ROWS = 32  # of a request for a model without a card: what Hugging Face's text-embeddings-inference takes
MOST_ROWS = 2048  # of any request: with 1,536 dimensions the answer is some 60 MB of JSON
PARALLEL = 4  # requests at once: a service answers in a second or so, and limits how many a minute
RETRIES = 6  # by the client: 0.5 s, doubled up to 8 s, less up to a quarter by chance, or as Retry-After says
TIMEOUT = 60.0  # seconds for one request
CHARACTERS = 4  # of ASCII in a token of English, about
SHOWN = 300  # characters of what a service says
_REFUSED = (400, 413, 422)  # what services say to an input that they do not take
_OPENAI = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class Service:
    """Where a service is, and the key to it, which nothing shows. `variable` is where the key comes from."""

    url: str
    key: str = field(repr=False)
    variable: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    def hidden(self, text: object) -> str:
        """What the service said, on one line, less the key: some services repeat it."""
        said = " ".join(str(text).split())
        said = said.replace(self.key, "***") if self.key else said
        return said if len(said) <= SHOWN else f"{said[:SHOWN]}..."


@dataclass(frozen=True, slots=True)
class _Request:
    """Texts that go to the service together, the first of them at `start` of all."""

    start: int
    texts: list[str]


class RemoteEncoder(TextEncoder):
    """A model behind a service, as an Encoder of texts.

    `tokens_used` is what the service has counted since it was loaded. What was embedded before an error is
    kept until the same texts are asked for again, so that nothing is paid for twice.
    """

    batch_size = sys.maxsize  # all texts of a call: cutting them into requests is done here

    def __init__(self, name: str, service: Service, *, rows: int | None = None) -> None:
        plain, self._wanted = lengths.split(name)
        card = catalog.find(plain)
        self.name = name
        self.tokens_used = 0
        self._model = plain.partition(":")[2]
        self._service = service
        self._limit = card.context_length if card else None
        self._rows_at_once = min(rows or MOST_ROWS, (card.rows if card else None) or ROWS, MOST_ROWS)
        self._kept: dict[str, NDArray[np.float32]] = {}
        self._lock = Lock()
        self._client = _client(service)
        self.dim = self._wanted or (card.dim if card else 0)
        if not self.dim:
            self.dim = self._answered(_Request(0, ["dimensions"])).shape[1]
        self.fingerprint = f"api {service.host} {self._model} {self.dim}"

    def _overlong(self, texts: list[str]) -> list[int]:
        limit = self._limit
        return [] if limit is None else [i for i, text in enumerate(texts) if _estimate(text) > limit]

    def _text_batch(self, texts: list[str]) -> NDArray[Any]:
        sent = [self._as_sent(text) for text in texts]
        with self._lock:
            rows = {text: self._kept.pop(text) for text in set(sent) & self._kept.keys()}
        missing = list(dict.fromkeys(text for text in sent if text not in rows))
        done = False
        try:
            self._answer(missing, rows)
            done = True
        except ServiceError as error:
            embedded = next(at for at, text in enumerate(sent) if text not in rows)
            raise ServiceError(error.reason, embedded=embedded) from None
        except InvalidInput as error:
            raise InvalidInput(error.reason, position=sent.index(missing[error.position or 0])) from None
        finally:
            if not done:
                self._kept = rows
        return np.stack([rows[text] for text in sent])

    def _as_sent(self, text: str) -> str:
        """`text` cut by the estimate; a blank where it is empty, which services refuse."""
        if self._limit is None or _estimate(text) <= self._limit:
            return text or " "
        whole = np.cumsum([1 if ord(c) < 128 else CHARACTERS for c in text])
        return text[: int(np.searchsorted(whole, self._limit * CHARACTERS, side="right"))]

    def _answer(self, texts: list[str], rows: dict[str, NDArray[np.float32]]) -> None:
        """Put the row of each text into `rows`; a few requests are on their way at once.

        The first request that fails is raised, after the answers to those behind it that were on their way.
        """
        size = self._rows_at_once
        requests = iter([_Request(at, texts[at : at + size]) for at in range(0, len(texts), size)])
        failed: ClipkitError | None = None
        pool = ThreadPoolExecutor(PARALLEL, "clipkit-api")
        try:
            sent = [(each, pool.submit(self._answered, each)) for each in islice(requests, PARALLEL)]
            while sent:
                request, answer = sent.pop(0)
                try:
                    rows.update(zip(request.texts, answer.result(), strict=True))
                except (ServiceError, InvalidInput) as error:
                    failed = failed or error
                if not failed:
                    sent += [(each, pool.submit(self._answered, each)) for each in islice(requests, 1)]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if failed:
            raise failed

    def _answered(self, request: _Request) -> Vectors:
        """The service's rows, (n, dim). Raises ServiceError, or InvalidInput for a text that it refuses."""
        import openai

        try:
            return self._read(self._post(request.texts), len(request.texts))
        except openai.APIStatusError as error:
            if error.status_code in _REFUSED:
                raise self._refused(request, error) from None
            raise ServiceError(self._explained(error)) from None  # whose own text may repeat the key
        except openai.APITimeoutError:
            said = f"did not answer within {TIMEOUT:.0f} s, asked {RETRIES + 1} times"
        except openai.APIConnectionError as error:
            said = f"cannot be reached: {self._service.hidden(error.__cause__ or error)}"
        raise ServiceError(f"{self._service.host} {said}")

    def _post(self, texts: Sequence[str]) -> bytes:
        import openai

        raw = self._client.embeddings.with_raw_response.create(
            model=self._model,
            input=list(texts),
            dimensions=openai.omit if self._wanted is None else self._wanted,
            encoding_format="float",
        )
        content: bytes = raw.content
        return content

    def _refused(self, request: _Request, error: Any) -> InvalidInput | ServiceError:
        """Which text it is that the service does not take, or that it is the request, whatever the text."""
        import openai

        start, texts = request.start, request.texts
        try:
            while len(texts) > 1:
                half = len(texts) // 2
                if self._takes(texts[:half]):
                    start, texts = start + half, texts[half:]
                else:
                    texts = texts[:half]
            if self._takes(["text"]):
                said = self._service.hidden(_message(error))
                return InvalidInput(f"{self._service.host} refuses the text: {said}", position=start)
        except (openai.APIError, ServiceError):
            pass  # what the service said first is what counts
        return ServiceError(self._explained(error))

    def _takes(self, texts: Sequence[str]) -> bool:
        import openai

        try:
            self._read(self._post(texts), len(texts))
        except openai.APIStatusError as error:
            if error.status_code in _REFUSED:
                return False
            raise
        return True

    def _explained(self, error: Any) -> str:
        service, model = self._service, self._model
        reasons = {
            401: f"does not accept the key in {service.variable}",
            403: f"does not allow {model} with the key in {service.variable}",
            404: f"has no model {model!r}, or no embeddings at the address that it was asked at",
            429: f"limits how much it is asked, and went on to after {RETRIES} more tries",
        }
        told = reasons.get(error.status_code, "refused" if error.status_code < 500 else "failed")
        return f"{service.host} {told} (HTTP {error.status_code}): {service.hidden(_message(error))}"

    def _read(self, content: bytes, wanted: int) -> Vectors:
        """The rows of an answer in the order of the texts. Raises ServiceError for anything else."""
        try:
            said = json.loads(content)
            data = said["data"]
            places = [each["index"] for each in data]
            vectors = [each["embedding"] for each in data]
        except (ValueError, TypeError, KeyError):
            shown = self._service.hidden(content.decode("utf-8", "replace")[: 2 * SHOWN]) or "nothing"
            raise self._nonsense(f"no embeddings: {shown}") from None
        if sorted(places, key=str) != sorted(range(wanted), key=str):
            raise self._nonsense(f"{len(data)} vectors, of the indices {places[:20]}, for {wanted} texts")
        lengths = {len(vector) if isinstance(vector, list) else 0 for vector in vectors}
        dim = getattr(self, "dim", 0) or max(lengths)
        if lengths != {dim} or not dim:
            raise self._nonsense(f"vectors of {sorted(lengths)} dimensions, not {dim}")
        try:
            rows = np.asarray(vectors, np.float32)
        except (TypeError, ValueError, OverflowError):
            raise self._nonsense("vectors that hold something else than numbers") from None
        if not np.isfinite(rows).all():
            raise self._nonsense("a vector with numbers that are not finite")
        with self._lock:
            self.tokens_used += _tokens(said)
        return rows[np.argsort(places)]

    def _nonsense(self, what: str) -> ServiceError:
        return ServiceError(f"{self._service.host} answered for {self._model} with {what}")


def load(name: str, options: Options) -> RemoteEncoder:
    """The model of that canonical name; `load_encoder` says what is raised.

    One request is made where neither the name nor a card tells the dimensions.
    """
    plain, _ = lengths.split(name)
    if options.local_only:
        raise ModelUnavailable(
            f"{name} is a service, which no machine has the files of: ask without local_only"
        )
    encoder = RemoteEncoder(name, service_of(plain.partition(":")[2]), rows=options.batch_size)
    encoder.upright = options.upright
    return encoder


def service_of(model: str) -> Service:
    """The service for a model, by the environment. Raises ModelUnavailable or InvalidInput."""
    given = {name: os.environ.get(name, "").strip() for name in _VARIABLES}
    if given["CLIPKIT_API_BASE"]:
        return Service(_checked(given["CLIPKIT_API_BASE"]), given["CLIPKIT_API_KEY"], "CLIPKIT_API_KEY")
    if given["CLIPKIT_API_KEY"]:
        raise InvalidInput("CLIPKIT_API_KEY is set, but not CLIPKIT_API_BASE, the address that it is for")
    if _is_studio(catalog.find(f"api:{model}")) and given["DASHSCOPE_API_KEY"]:
        return Service(catalog.DASHSCOPE, given["DASHSCOPE_API_KEY"], "DASHSCOPE_API_KEY")
    if given["OPENAI_BASE_URL"] or given["OPENAI_API_KEY"]:
        url = _checked(given["OPENAI_BASE_URL"] or _OPENAI)
        return Service(url, given["OPENAI_API_KEY"], "OPENAI_API_KEY")
    raise ModelUnavailable(
        f"nothing in the environment says where api:{model} is: set CLIPKIT_API_BASE, as in "
        "http://127.0.0.1:8000/v1, and CLIPKIT_API_KEY, or for the services themselves DASHSCOPE_API_KEY or "
        "OPENAI_API_KEY"
    )


_VARIABLES = ("CLIPKIT_API_BASE", "CLIPKIT_API_KEY", "DASHSCOPE_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_KEY")


def _is_studio(card: ModelCard | None) -> bool:
    return card in catalog.STUDIO_CARDS


def _checked(url: str) -> str:
    """`url`, if it is one of a service. What is wrong with it is said without showing it."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(
            "the address of a service begins with https:// or http://, as in http://127.0.0.1/v1"
        )
    if parts.username or parts.password:
        raise InvalidInput(
            f"the address of {parts.hostname} holds a name or password: put the key into a variable"
        )
    return url


def _client(service: Service) -> Any:
    """OpenAI's client. It tries again by itself. What else is in the environment stays there."""
    from openai import OpenAI, omit

    return OpenAI(
        base_url=service.url,
        api_key=service.key or "none",  # the client insists on one, and a local service ignores it
        default_headers={"OpenAI-Organization": omit, "OpenAI-Project": omit},
        max_retries=RETRIES,
        timeout=TIMEOUT,
    )


def _message(error: Any) -> str:
    """What the service says of an error, without the client's own words."""
    body = error.body
    if isinstance(body, dict) and body.get("message"):
        return str(body["message"])
    return str(body or error.message)


def _tokens(said: Any) -> int:
    """What the service counted for an answer; 0 where it does not say."""
    usage = said.get("usage")
    counted = usage.get("total_tokens") if isinstance(usage, dict) else None
    return counted if isinstance(counted, int) else 0


def _estimate(text: str) -> int:
    """About so many tokens: one for four characters of ASCII, or for one of any other script."""
    plain = sum(map(str.isascii, text)) if not text.isascii() else len(text)
    return -(-plain // CHARACTERS) + len(text) - plain
