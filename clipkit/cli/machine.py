"""`clipkit doctor`: what can be used here, and what is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from clipkit import __version__
from clipkit.cli.output import note, print_facts, print_json, size
from clipkit.cli.session import Session
from clipkit.errors import ClipkitError

PACKAGES = ("torch", "open-clip-torch", "lancedb", "pyarrow", "numpy", "pillow", "huggingface-hub")
"""What every installation has; a missing one is a broken installation."""

# extra: the module that shows whether it is installed, and what it is for
EXTRAS = {
    "heif": ("pillow_heif", "HEIC pictures"),
    "raw": ("rawpy", "raw files of cameras"),
    "text": ("sentence_transformers", "text models beside CLIP"),
    "web": ("plotly", "maps of a collection"),
    "mcp": ("mcp", "the page as tools for assistants"),
    "server": ("prometheus_client", "the HTTP server"),
    "langchain": ("langchain_core", "a retriever for LangChain"),
    "llama-index": ("llama_index", "a retriever for LlamaIndex"),
    "ray": ("ray", "indexing on many machines"),
    "learn": ("sklearn", "training classifiers from examples"),
    "xmp": ("lxml", "tags in XMP sidecars"),
    "pandas": ("pandas", "data frames"),
    "terminal": ("textual_image", "thumbnails on a terminal"),
}


def complete_model(incomplete: str) -> list[str]:
    """Model names for the shell's completion."""
    from clipkit.encoders import catalog

    known = ("bundled", *(card.name for card in catalog.cards() if card.spec))
    return [name for name in known if name.startswith(incomplete)]


def doctor(session: Session) -> None:
    """Check this installation: versions, device, models in the cache, where collections live.

    Exit code 1 if something is missing that every command needs.

    Example: clipkit doctor --device cuda
    """
    from clipkit.encoders import cached, catalog

    versions, missing = _versions()
    report: dict[str, Any] = {"versions": versions}
    report["extras"] = {
        extra: importlib.util.find_spec(module) is not None for extra, (module, _) in EXTRAS.items()
    }
    if not missing:
        report["device"] = _device(session)
        report["models"] = {name: cached(name) for name in ("bundled", *catalog.aliases())}
        report["collections"] = _collections(session)
        missing += report["collections"].pop("problems")
    report["missing"] = missing
    if session.json:
        print_json(report)
    else:
        _print_report(report)
    if missing:
        raise typer.Exit(1)


def _versions() -> tuple[dict[str, str], list[str]]:
    """Versions by package, and what to do about those that are not there."""
    versions = {"python": platform.python_version(), "clipkit": __version__}
    missing = []
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            missing.append(f"{package} is not installed:  pip install {package}")
    return versions, missing


def _device(session: Session) -> dict[str, Any]:
    import torch

    from clipkit.encoders.devices import available, cpu_has_int8, place

    placement = place(session.device, session.precision)
    found: dict[str, Any] = {"device": placement.device, "precision": placement.precision}
    found["available"] = available()
    found["threads"] = torch.get_num_threads()
    if placement.device.startswith("cuda"):
        card = torch.cuda.get_device_properties(placement.device)
        found |= {"card": card.name, "memory_bytes": card.total_memory}
    elif shutil.which("nvidia-smi") and not torch.cuda.is_available():
        found["hint"] = (
            "an NVIDIA driver is here, but this torch cannot use it: see pytorch.org for the other"
        )
    elif (placement.device, placement.precision) == ("cpu", "fp32") and cpu_has_int8():
        found["hint"] = (
            "with --precision int8, vision transformers of open_clip's own take half the time on this "
            "processor, for rows that are a little less exact"
        )
    return found


def _collections(session: Session) -> dict[str, Any]:
    from clipkit.collection import Collection
    from clipkit.places import database_uri

    place = database_uri(session.db)
    found: dict[str, Any] = {"place": place, "names": [], "problems": []}
    try:
        found["names"] = Collection.names(session.db)
    except ClipkitError as error:
        found["problems"].append(str(error))
    if "://" not in place:
        nearest = next(folder for folder in (Path(place), *Path(place).parents) if folder.exists())
        if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
            found["problems"].append(f"{place} cannot be written: choose another place with --db")
    return found


def _print_report(report: dict[str, Any]) -> None:
    facts = dict(report["versions"])
    if "device" in report:
        device = report["device"]
        card = f", {device['card']}, {size(device['memory_bytes'])}" if "card" in device else ""
        facts["device"] = f"{device['device']} in {device['precision']}{card}; {device['threads']} threads"
        facts["models"] = ", ".join(
            f"{alias} ({'in the cache' if cached else 'not here'})"
            for alias, cached in report["models"].items()
        )
        facts["collections"] = (
            f"{', '.join(report['collections']['names']) or 'none'} in {report['collections']['place']}"
        )
    for extra, (_, purpose) in EXTRAS.items():
        there = report["extras"][extra]
        facts[f"extra {extra}"] = f"{purpose}: " + ("yes" if there else f"no; pip install 'clipkit[{extra}]'")
    print_facts(facts)
    if "hint" in report.get("device", {}):
        note(report["device"]["hint"])
    for problem in report["missing"]:
        note(f"missing: {problem}")
