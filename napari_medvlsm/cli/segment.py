"""`medvlsm segment`: outline one thing in many scans."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medvlsm.cli._codes import FAILED, OK, SOME_FAILED
from napari_medvlsm.cli._scans import find_scans
from napari_medvlsm.core.models.registry import STARTER
from napari_medvlsm.core.options import SegmentOptions, Tiling


def add_to(commands: Any) -> None:
    """Add the command to the subparsers of `medvlsm`."""
    segment = commands.add_parser("segment", help="outline one thing in many scans")
    segment.add_argument("images", nargs="+", help="scans, folders of scans, or patterns such as 'case*.png'")
    segment.add_argument("--prompt", required=True, help="what to outline, for example 'polyp'")
    segment.add_argument("--model", default=STARTER, help="name or folder of a model (default: %(default)s)")
    segment.add_argument("--threshold", type=float, help="certainty from 0 to 1 (default: the model's own)")
    segment.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default: %(default)s)")
    segment.add_argument(
        "--precision", default="auto", help="float32, bfloat16, float16 or auto (default: %(default)s)"
    )
    segment.add_argument("--tiles", action="store_true", help="look at overlapping tiles, in full detail")
    segment.add_argument(
        "--rectangle",
        type=int,
        nargs=4,
        metavar=("ROW0", "COL0", "ROW1", "COL1"),
        help="look inside this rectangle alone, in pixels; the last row and column are not part of it",
    )
    segment.add_argument("--out", type=Path, required=True, help="folder for the masks, one <scan>.tif each")
    segment.set_defaults(run=_segment)


def _segment(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from napari_medvlsm.core.images import content_hash
    from napari_medvlsm.core.inference import Segmenter
    from napari_medvlsm.core.io.images import read_scan
    from napari_medvlsm.core.io.labels import save_mask, story
    from napari_medvlsm.core.prompts import coverage, free_text, load_vocabulary
    from napari_medvlsm.core.prompts.own_words import own_words_path

    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise ValueError(f"The threshold must lie between 0 and 1, but is {options.threshold}.")
    if not options.prompt.strip():
        raise ValueError("The prompt is empty; say what to outline, for example --prompt polyp.")
    region = tuple(options.rectangle) if options.rectangle else None
    where = SegmentOptions(Tiling() if options.tiles else None, region)
    paths = list(dict.fromkeys(find_scans(options.images)))
    outputs = _outputs(paths, options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter.load(options.model, options.device, options.precision, notify=_notice)
    card = segmenter.card
    vocabulary = load_vocabulary(own_words_path())
    prompt = free_text(options.prompt, vocabulary)
    if prompt.attributes.number == "zero":
        raise ValueError(f"{prompt.text!r} says that there is nothing to outline; say what to look for.")
    if not card.open_vocabulary and not (known := coverage(prompt.text, *vocabulary.trained(card))).complete:
        words = (
            f"nearest it knows: {', '.join(known.nearest)}" if known.nearest else f"it knows {', '.join(card.targets)}"
        )
        print(f"medvlsm: the model {card.name} was not trained on {prompt.text!r}; {words}.", file=sys.stderr)
    failed = 0
    progress = tqdm(paths, unit="scan", disable=None)
    for path in progress:
        try:
            scan = read_scan(path)
            segmenter.set_image(scan, encode=where.whole)
            if options.tiles:
                (prediction,) = segmenter.segment_tiled(prompt.text, region=region)
            else:
                (prediction,) = segmenter.segment(prompt.text, region=region)
            threshold = prediction.threshold if options.threshold is None else options.threshold
            made = story(prompt, card.name, threshold, None, False, content_hash(scan.pixels), where)
            save_mask(outputs[path], prediction.mask(threshold), made, scan.spacing)
        except Exception as error:  # whatever one scan does, the others go on
            failed += 1
            progress.write(f"medvlsm: skipped {path}: {error}", file=sys.stderr)
    print(f"{len(paths) - failed} of {len(paths)} scans outlined, in {options.out}")
    return OK if not failed else SOME_FAILED if failed < len(paths) else FAILED


def _notice(text: str) -> None:
    print(f"medvlsm: {text}", file=sys.stderr)


def _outputs(paths: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Where each mask goes. Two scans with one name, or a mask over its own scan, are refused before any work."""
    outputs = {path: out / f"{path.stem}.tif" for path in paths}
    taken: dict[Path, Path] = {}
    for path, output in outputs.items():
        if output in taken:
            raise ValueError(f"{taken[output]} and {path} would both be written to {output}; segment them apart.")
        if output.resolve() == path.resolve():
            raise ValueError(f"The mask of {path} would replace the scan itself; choose another folder with --out.")
        taken[output] = path
    return outputs
