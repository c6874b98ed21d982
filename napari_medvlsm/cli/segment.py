"""`medvlsm segment`: outline one thing, or several, in many scans."""

from __future__ import annotations

import argparse
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medvlsm.cli._codes import FAILED, OK, SOME_FAILED
from napari_medvlsm.cli._scans import find_scans
from napari_medvlsm.core.models.store.registry import STARTER
from napari_medvlsm.core.options import SegmentOptions, Tiling

if TYPE_CHECKING:
    from napari_medvlsm.core.bulk.run import Outcome
    from napari_medvlsm.core.models.store.card import ModelCard
    from napari_medvlsm.core.prompts import Prompt, Vocabulary


def add_to(commands: Any) -> None:
    """Add the command to the subparsers of `medvlsm`."""
    segment = commands.add_parser("segment", help="outline one thing, or several, in many scans")
    segment.add_argument("images", nargs="+", help="scans, folders of scans, or patterns such as 'case*.png'")
    segment.add_argument(
        "--prompt",
        required=True,
        help="what to outline, for example 'polyp', or several things: 'left lung and right lung'",
    )
    segment.add_argument("--model", default=STARTER, help="name or folder of a model (default: %(default)s)")
    segment.add_argument("--threshold", type=float, help="certainty from 0 to 1 (default: the model's own)")
    segment.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default: %(default)s)")
    segment.add_argument(
        "--precision", default="auto", help="float32, bfloat16, float16 or auto (default: %(default)s)"
    )
    segment.add_argument("--tiles", action="store_true", help="segment overlapping tiles, in full detail")
    segment.add_argument(
        "--rectangle",
        type=int,
        nargs=4,
        metavar=("ROW0", "COL0", "ROW1", "COL1"),
        help="segment this rectangle only, in pixels; the last row and column are not part of it",
    )
    segment.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for the masks (<scan>.tif, or <scan>_<target>.tif where there are several) and their manifest.csv",
    )
    segment.add_argument(
        "--anyway", action="store_true", help="outline what is probably not in a scan, too, rather than nothing"
    )
    segment.add_argument("--again", action="store_true", help="outline what is done already, too")
    segment.add_argument("--batch-size", type=int, help="scans encoded at once (default: what the device does well)")
    segment.add_argument(
        "--processes",
        type=int,
        help="that share the scans, on the CPU or each on a GPU (default: one, or the launcher's)",
    )
    segment.add_argument("--nodes", type=int, help="computers with so many processes (default: one, or the launcher's)")
    segment.set_defaults(run=_segment)


def _segment(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.bulk.processes import find_launcher
    from napari_medvlsm.core.bulk.run import PredictionRequest, Sharing, segment_folder
    from napari_medvlsm.core.models.store.registry import find_model
    from napari_medvlsm.core.prompts import free_text, load_vocabulary
    from napari_medvlsm.core.prompts.own_words import own_words_path
    from napari_medvlsm.core.prompts.several import parts

    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise ValueError(f"The threshold must lie between 0 and 1, but is {options.threshold}.")
    if not options.prompt.strip():
        raise ValueError("The prompt is empty; say what to outline, for example --prompt polyp.")
    region = tuple(options.rectangle) if options.rectangle else None
    where = SegmentOptions(Tiling() if options.tiles else None, region)
    sharing = Sharing(options.batch_size, options.processes, options.nodes)
    paths = _scans(options.images, options.out)
    entry = find_model(options.model)
    vocabulary = load_vocabulary(own_words_path())
    prompts = tuple(free_text(part, vocabulary) for part in parts(options.prompt, vocabulary))
    for prompt in prompts:
        if prompt.attributes.number == "zero":
            raise ValueError(f"{prompt.text!r} says that there is nothing to outline; name a target.")
    names = _names(paths, options.out, prompts, vocabulary)
    launched = find_launcher()
    if launched is None or launched.first:
        for prompt in prompts:
            _warn_of_unknown(prompt, entry.card, vocabulary)
    outcome = segment_folder(
        names,
        options.out,
        PredictionRequest(
            entry,
            prompts,
            options.threshold,
            where,
            options.device,
            options.precision,
            vocabulary.digest,
            options.anyway,
        ),
        sharing,
        again=options.again,
        progress=True,
        notify=_notice,
    )
    return OK if outcome is None else _conclude(outcome, options.out, len(prompts))


def _warn_of_unknown(prompt: Prompt, card: ModelCard, vocabulary: Vocabulary) -> None:
    from napari_medvlsm.core.prompts.trained import covered, in_trained_words, nearest

    if not card.open_vocabulary and not covered(prompt.text, vocabulary, card).complete:
        other = in_trained_words(prompt.text, vocabulary, card).text
        near = [other] if other != prompt.text else [t.phrase for t in nearest(prompt.text, vocabulary, card.targets)]
        words = f"nearest it knows: {', '.join(near)}" if near else f"it knows {', '.join(card.targets)}"
        _notice(f"the model {card.name} was not trained on {prompt.text!r}; {words}.")


def _conclude(outcome: Outcome, out: Path, targets: int) -> int:
    there = outcome.done + outcome.skipped
    before = (
        f"; {outcome.skipped} of them before, and left as they are (--again redoes them)" if outcome.skipped else ""
    )
    every = there + outcome.failed
    what = f"{every} scans outlined" if targets == 1 else f"{every} outlines made, {targets} of each scan"
    print(f"{there} of {what}, in {out}{before}")
    return OK if not outcome.failed else SOME_FAILED if there else FAILED


def _notice(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(f"medvlsm: {text}", file=sys.stderr)


def _scans(names: Sequence[str], out: Path) -> list[Path]:
    """The scans, without the masks of an earlier run where these go to the folder of the scans."""
    from napari_medvlsm.core.io.labels import is_own_mask

    paths = dict.fromkeys(find_scans(names))
    return [path for path in paths if not (path.parent.resolve() == out.resolve() and is_own_mask(path))]


def _names(
    paths: Sequence[Path], out: Path, prompts: Sequence[Prompt], vocabulary: Vocabulary
) -> dict[Path, tuple[str, ...]]:
    """The names of each scan's masks. Two with one name, or a mask over a scan, are refused before any work."""
    from napari_medvlsm.core.io.labels import file_stem

    targets = [vocabulary.target(prompt.attributes.target or prompt.text) for prompt in prompts]
    names: dict[Path, tuple[str, ...]] = {}
    taken: dict[str, Path] = {}
    scans = {path.resolve() for path in paths}
    for path in paths:
        stems = [path.stem] if len(targets) == 1 else [path.stem + file_stem("", target) for target in targets]
        names[path] = tuple(f"{stem}.tif" for stem in stems)
        for name in names[path]:
            # Some disks take names for the same that differ in capitals, or in how an accent is written.
            plain = unicodedata.normalize("NFC", name).casefold()
            if plain in taken:
                raise ValueError(
                    f"{taken[plain]} and {path} would both be written to {out / name}; segment them apart."
                )
            if (out / name).resolve() in scans:
                raise ValueError(
                    f"The mask of {path} would replace the scan {out / name}; choose another folder with --out."
                )
            taken[plain] = path
    return names
