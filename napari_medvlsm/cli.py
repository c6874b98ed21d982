"""`medvlsm`: the command line. Knows no Qt; the window's entry point is `widgets.app`."""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from napari_medvlsm import __version__
from napari_medvlsm.core.models.registry import STARTER, available_models

# Exit codes: all done; some scans failed; nothing could be done.
OK, SOME_FAILED, FAILED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code (0 all done, 1 some scans failed, 2 nothing could be done)."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, OSError) as error:
        print(f"medvlsm: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("medvlsm: stopped; what is written so far is complete.", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="medvlsm", description="Outline medical scans with words. For research use, not a medical device."
    )
    parser.add_argument("--version", action="version", version=f"medvlsm {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    segment = commands.add_parser("segment", help="outline one thing in many scans")
    segment.add_argument("images", nargs="+", help="scans, folders of scans, or patterns such as 'case*.png'")
    segment.add_argument("--prompt", required=True, help="what to outline, for example 'polyp'")
    segment.add_argument("--model", default=STARTER, help="name or folder of a model (default: %(default)s)")
    segment.add_argument("--threshold", type=float, help="certainty from 0 to 1 (default: the model's own)")
    segment.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default: %(default)s)")
    segment.add_argument("--out", type=Path, required=True, help="folder for the masks, one <scan>.tif each")
    segment.set_defaults(run=_segment)

    models = commands.add_parser("models", help="list the models")
    models.set_defaults(run=_models)
    return parser


def _segment(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from napari_medvlsm.core.images import content_hash
    from napari_medvlsm.core.inference import Segmenter
    from napari_medvlsm.core.io.images import read_scan
    from napari_medvlsm.core.io.labels import save_mask, story
    from napari_medvlsm.core.prompts import coverage, free_text, load_vocabulary

    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise ValueError(f"The threshold must lie between 0 and 1, but is {options.threshold}.")
    if not options.prompt.strip():
        raise ValueError("The prompt is empty; say what to outline, for example --prompt polyp.")
    paths = list(dict.fromkeys(_scans(options.images)))
    outputs = _outputs(paths, options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        segmenter = Segmenter.load(options.model, options.device)
    except (RuntimeError, AssertionError) as error:  # torch's words for a device that is not there
        raise ValueError(f"The device {options.device!r} cannot be used here ({error}).") from error
    card = segmenter.card
    prompt = free_text(options.prompt, load_vocabulary())
    if not card.open_vocabulary and not (known := coverage(prompt.text, card.phrases, card.words)).complete:
        print(
            f"medvlsm: the model {card.name} was not trained on {prompt.text!r}; nearest it knows: "
            f"{', '.join(known.nearest)}.",
            file=sys.stderr,
        )
    failed = 0
    progress = tqdm(paths, unit="scan", disable=None)
    for path in progress:
        try:
            scan = read_scan(path)
            segmenter.set_image(scan)
            (prediction,) = segmenter.segment(prompt.text)
            threshold = prediction.threshold if options.threshold is None else options.threshold
            made = story(prompt, card.name, threshold, None, corrected=False, scan_hash=content_hash(scan.pixels))
            save_mask(outputs[path], prediction.mask(threshold), made, scan.spacing)
        except Exception as error:  # whatever one scan does, the others go on
            failed += 1
            progress.write(f"medvlsm: skipped {path}: {error}", file=sys.stderr)
    print(f"{len(paths) - failed} of {len(paths)} scans outlined, in {options.out}")
    return OK if not failed else SOME_FAILED if failed < len(paths) else FAILED


def _models(options: argparse.Namespace) -> int:
    for name, entry in available_models().items():
        targets = ", ".join(entry.card.targets) or "any words"
        print(f"{name:16} {'shipped' if entry.shipped else 'yours':8} {entry.card.licence:34} {targets}")
    return OK


def _scans(names: Sequence[str]) -> Iterator[Path]:
    """Files in the order given; folders and patterns in alphabetical order."""
    from napari_medvlsm.core.io.images import SUFFIXES

    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise ValueError(f"The folder {path} holds no PNG, JPEG, BMP or TIFF scan.")
            yield from inside
        elif not path.exists() and glob.has_magic(name):
            matches = sorted(glob.glob(name, recursive=True))
            if not matches:
                raise ValueError(f"No file matches the pattern {name!r}.")
            yield from (Path(m) for m in matches if Path(m).is_file())
        else:
            yield path  # a missing file is reported when its turn comes, the others go on


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


if __name__ == "__main__":
    raise SystemExit(main())
