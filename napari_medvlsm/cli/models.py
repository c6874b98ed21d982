"""`medvlsm models`: list, fetch, import, merge and check models. torch is imported by the commands that need it."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medvlsm.cli._codes import OK
from napari_medvlsm.core.io.atomic import megabytes
from napari_medvlsm.core.models.families import IMPORTABLE
from napari_medvlsm.core.models.store.naming import target_dir
from napari_medvlsm.core.models.store.registry import available_models, fetched_folder, find_model
from napari_medvlsm.core.models.store.sources import SOURCES, find_source

if TYPE_CHECKING:
    from napari_medvlsm.core.models.store.hub import Plan

_COMMIT = re.compile(r"[0-9a-f]{40}")


def add_to(commands: Any) -> None:
    """Add `models` to the subparsers of `medvlsm`."""
    models = commands.add_parser("models", help="list, fetch, import, merge and check models")
    models.set_defaults(run=_list)
    below = models.add_subparsers(dest="models_command")

    listed = below.add_parser("list", help="which models there are, and which can be fetched (the default)")
    listed.set_defaults(run=_list)

    fetch = below.add_parser("fetch", help="make a model of public weights from the hub")
    fetch.add_argument("name", help=f"one of {', '.join(SOURCES)}")
    fetch.add_argument("--to", type=Path, help="only fetch into this folder, for `medvlsm models import` elsewhere")
    fetch.add_argument("--revision", help="branch or commit of the hub (default: the pinned one)")
    fetch.set_defaults(run=_fetch)

    imported = below.add_parser("import", help="make a model of a checkpoint, a folder or fetched files")
    imported.add_argument("path", type=Path, help=".ckpt, .pt, .pth, .bin or .safetensors file, or a folder")
    imported.add_argument("--family", help=f"what it is, where its names do not tell: {', '.join(IMPORTABLE)}")
    imported.add_argument("--tokenizer", type=Path, help="folder with the tokenizer (needed for BiomedCLIPSeg)")
    imported.add_argument("--decoder", type=Path, help="CLIPSeg that gives its decoder to BiomedCLIP's encoders")
    imported.add_argument("--like", type=Path, help="model folder whose config.json holds, for other sizes")
    imported.add_argument("--licence", default="unknown", help="terms of the weights (default: %(default)s)")
    imported.set_defaults(run=_import)
    for parser in (fetch, imported):
        parser.add_argument("--name", dest="model_name", help="of the new model (default: that of the weights)")
        parser.add_argument("--replace", action="store_true", help="replace a model of this name")
        parser.add_argument("--accept-change", action="store_true", help="accept other content than was fetched before")

    merge = below.add_parser("merge", help="make a plain model of an adapter and the model that it adapts")
    merge.add_argument("adapter", help="folder with the adapter, or the name of a model that is one")
    merge.add_argument("--name", dest="model_name", required=True, help="of the new model")
    merge.add_argument("--replace", action="store_true", help="replace a model of this name")
    merge.set_defaults(run=_merge)

    parity = below.add_parser("parity", help="compare with the upstream implementations")
    parity.add_argument("keys", type=Path, help="JSON: tag -> entry of upstream's state dict -> shape")
    parity.add_argument("expected", type=Path, help="npz: upstream's answers")
    parity.add_argument("--tags", nargs="+", help="only these models (default: all in the JSON file)")
    parity.add_argument(
        "--image-constants", nargs=3, type=float, metavar=("COLUMN", "IMAGE", "ROW"), help="of the images' formula"
    )
    parity.set_defaults(run=_parity)


def _list(options: argparse.Namespace) -> int:
    entries = available_models()
    for name, entry in entries.items():
        targets = ", ".join(entry.card.targets) or "any words"
        print(f"{name:16} {'shipped' if entry.shipped else 'yours':8} {entry.card.licence:34} {targets}")
    for name, source in SOURCES.items():
        if name not in entries:
            print(f"{name:16} {'to fetch':8} {source.licence:34} {source.title}, {megabytes(source.size)}")
    return OK


def _fetch(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from napari_medvlsm.core.models.store.download import download_and_import
    from napari_medvlsm.core.models.store.fetched import forget
    from napari_medvlsm.core.models.store.hub import fetch, plan

    source = find_source(options.name)
    name = options.model_name or source.name
    if options.to is None:
        # Before any request to the hub.
        target_dir(name, replace=options.replace)
    planned = plan(source, options.to or fetched_folder(source.name), revision=options.revision)
    print("\n".join(_told(planned)))
    if options.accept_change:
        for repository in source.repositories:
            forget(repository)
    with tqdm(total=planned.total, unit="B", unit_scale=True, disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.update(done - bar.n)

        if options.to is None:
            folder = download_and_import(planned, _import_here, name, show, replace=options.replace)
        else:
            folder = fetch(planned, show)
    if options.to is not None:
        print(f"Fetched; copy {folder} to the other machine and run there: medvlsm models import {folder.name}")
        return OK
    _tell(folder, "imported")
    return OK


def _import_here(path: Path, name: str, /, *, replace_existing: bool, check: Callable[[], None] | None) -> Path:
    from napari_medvlsm.core.models.checkpoints.convert import import_model

    return import_model(path, name, replace_existing=replace_existing)


def _told(plan: Plan) -> Iterator[str]:
    """What the user should know before the download."""
    yield f"{plan.source.title}. {plan.source.summary}"
    for repository in plan.source.repositories:
        files = [file for file in plan.files if file.repository == repository]
        pinned = _COMMIT.fullmatch(files[0].asked) is not None
        yield f"{repository.name} at {files[0].revision}" + ("" if pinned else " (unpinned)")
        yield from (f"  {file.name:34} {megabytes(file.size):>10}" for file in files)
        yield f"  Licence: {repository.licence}. Cite: {repository.citation}"
    yield f"{megabytes(plan.left)} of {megabytes(plan.total)} to fetch into {plan.folder}; {megabytes(plan.free)} free."


def _import(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.models.checkpoints.convert import ImportOptions, import_model
    from napari_medvlsm.core.models.store.fetched import MANIFEST_FILE, read_fetched

    if options.accept_change and (options.path / MANIFEST_FILE).is_file():
        read_fetched(options.path, accept_change=True)
    wanted = ImportOptions(options.family, options.tokenizer, options.like, options.decoder, options.licence)
    _tell(import_model(options.path, options.model_name, wanted, replace_existing=options.replace), "imported")
    return OK


def _merge(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.models.adapters import merge_model

    adapter = find_model(options.adapter).folder
    _tell(merge_model(adapter, options.model_name, replace_existing=options.replace), "merged")
    return OK


def _tell(folder: Path, done: str) -> None:
    from napari_medvlsm.core.models.store.card import read_card

    card = read_card(folder)
    print(f"{card.title}: {done} as {card.name}, in {folder}. {card.summary}")


def _parity(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.models.parity import IMAGE_CONSTANTS, table

    return table(options.keys, options.expected, options.tags, tuple(options.image_constants or IMAGE_CONSTANTS))
