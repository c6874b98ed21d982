"""`medvlsm prompts`: build, read, check and measure prompts."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medvlsm.cli._codes import OK, SOME_FAILED
from napari_medvlsm.cli._scans import add_foreground, find_scans
from napari_medvlsm.core.models.store.registry import STARTER
from napari_medvlsm.core.prompts import LABELS, Attributes, Vocabulary, build, load_vocabulary, parse
from napari_medvlsm.core.prompts.attributes import LISTS
from napari_medvlsm.core.prompts.english import NUMBER_WORDS
from napari_medvlsm.core.prompts.own_words import own_words_path
from napari_medvlsm.core.prompts.upstream import load_datasets, upstream_prompts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medvlsm.core.effect import EffectCase

_ATTRIBUTES = tuple(f.name for f in fields(Attributes))


def add_to(commands: Any) -> None:
    """Add the commands to the subparsers of `medvlsm`."""
    group = commands.add_parser("prompts", help="build, read, check and measure prompts")
    prompts = group.add_subparsers(dest="action", required=True)

    builder = prompts.add_parser("build", help="attributes to text, at every level or at one")
    for name in _ATTRIBUTES:
        label = LABELS.get(name, "what to outline")
        builder.add_argument(f"--{name.replace('_', '-')}", default="", metavar="WORD", help=label)
    builder.add_argument("--level", help="p0 to p9 (default: all that the kind of scan has)")
    builder.add_argument("--wording", type=int, default=0, help="which paraphrase, from 0 (default: %(default)s)")
    builder.add_argument("--dataset", help="write as upstream medvlsm does for this data set, to the letter, as JSON")
    builder.set_defaults(run=_build)

    reader = prompts.add_parser("parse", help="text to attributes, as JSON")
    reader.add_argument("text", help="for example 'two small polyps, located in the left of the image'")
    reader.set_defaults(run=_parse)

    describer = prompts.add_parser("describe", help="a mask to attributes, as JSON")
    describer.add_argument("mask", type=Path, help="a mask file, read by what it holds: 0 and 1, 0 and 255, alpha, ...")
    add_foreground(describer)
    describer.add_argument("--image", type=Path, help="its scan, for the colour and for the pixel size")
    describer.add_argument(
        "--rules",
        type=_rules,
        choices=("clean", "upstream"),
        default="clean",
        help="those of the interface, or those of upstream medvlsm (default: %(default)s)",
    )
    describer.set_defaults(run=_describe)

    lister = prompts.add_parser("list", help="targets and their words, or the paper's data sets")
    lister.add_argument("--target", help="the words of one target")
    lister.add_argument("--datasets", action="store_true", help="the eleven data sets")
    lister.set_defaults(run=_list)

    checker = prompts.add_parser("check", help="build the prompts of annotation files again and describe their masks")
    checker.add_argument(
        "folders",
        nargs="+",
        type=Path,
        help="folders named like a data set, with annotation files in them or in anns/, and masks/ beside these",
    )
    checker.set_defaults(run=_check)

    effect = prompts.add_parser("effect", help="how much the words change a model's outlines")
    effect.add_argument("scans", nargs="*", help="scans, folders or patterns; with --prompt")
    effect.add_argument("--prompt", help="what to outline in them")
    effect.add_argument("--data", type=Path, help="instead: a data set of the paper with images/, masks/ and anns/")
    effect.add_argument("--split", default="val", help="of --data (default: %(default)s)")
    effect.add_argument("--level", default="p6", help="of --data's attributes (default: %(default)s)")
    effect.add_argument(
        "--pairs", type=int, default=0, help="also this many pairs of --data's scans side by side: which one is found?"
    )
    effect.add_argument("--model", default=STARTER, help="name or folder of a model (default: %(default)s)")
    effect.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default: %(default)s)")
    effect.add_argument("--card", action="store_true", help="write the summary into the model's card")
    effect.set_defaults(run=_effect)


def _rules(name: str) -> str:
    """The rules' name; "reference" is what versions before 0.2 called those of upstream."""
    if name == "reference":
        print("medvlsm: --rules reference is now called upstream.", file=sys.stderr)
        return "upstream"
    return name


def _build(options: argparse.Namespace) -> int:
    vocabulary = load_vocabulary(own_words_path())
    attributes = Attributes(**{name: " ".join(getattr(options, name).split()) for name in _ATTRIBUTES})
    if options.dataset:
        datasets = load_datasets()
        if options.dataset not in datasets:
            raise ValueError(f"There is no data set {options.dataset!r}; known are {', '.join(datasets)}.")
        dataset = datasets[options.dataset]
        if not attributes.target and len(dataset.targets) == 1:
            attributes = replace(attributes, target=dataset.targets[0])
        print(json.dumps(upstream_prompts(dataset, attributes), indent=1, ensure_ascii=False))
        return OK
    if not attributes.target:
        raise ValueError("Say what to outline, for example --target polyp.")
    family = vocabulary.family(attributes.target)
    if not 0 <= options.wording < len(family.clean):
        raise ValueError(
            f"{attributes.target!r} has {len(family.clean)} wordings, counted from 0; not {options.wording}."
        )
    attributes = _listed(attributes, vocabulary)
    levels = [options.level] if options.level else list(family.levels)
    for level in levels:
        prompt = build(attributes, vocabulary, level, options.wording)
        print(prompt.text if options.level else f"{level}\t{prompt.text}")
    return OK


def _listed(attributes: Attributes, vocabulary: Vocabulary) -> Attributes:
    """The vocabulary's words for those given; an unknown one is kept, with a warning."""
    words = {n: vocabulary.canonical(n, v) for n, v in vars(attributes).items() if n != "target"}
    for name, value in words.items():
        known = {*vocabulary.words(name, attributes.target), *(NUMBER_WORDS if name in ("age", "number") else ()), ""}
        for word in value.split(", ") if name in LISTS else [value]:
            if word not in known and name != "general":
                print(
                    f"medvlsm: {word!r} is not among the words for {LABELS[name]}; written as it is.", file=sys.stderr
                )
    return replace(attributes, **words)


def _parse(options: argparse.Namespace) -> int:
    parsed = parse(options.text, load_vocabulary(own_words_path()))
    said = {name: value for name, value in vars(parsed.attributes).items() if value}
    print(json.dumps({**said, "level": parsed.level, "not placed": parsed.unplaced}, indent=1, ensure_ascii=False))
    return OK


def _describe(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.describe import describe, describe_upstream
    from napari_medvlsm.core.io.images import read_scan
    from napari_medvlsm.core.io.mask_files import AmbiguousMask, read_foreground, read_grey

    if options.rules == "upstream":
        seen = describe_upstream(read_grey(options.mask))
        print(json.dumps(seen.measured, indent=1))
        return OK
    try:
        mask = read_foreground(options.mask, options.foreground).mask
    except AmbiguousMask as error:
        raise ValueError(f"{error} Here, say it with --foreground.") from error
    scan = read_scan(options.image) if options.image else None
    if scan is not None and scan.size != mask.shape:
        raise ValueError(f"The mask is {mask.shape} but the scan is {scan.size}; they must have one size.")
    seen = describe(mask, *((scan.pixels, scan.spacing) if scan else ()))
    print(json.dumps({"measured": seen.measured, "suggested": seen.suggested, "fraction": seen.fraction}, indent=1))
    return OK


def _list(options: argparse.Namespace) -> int:
    vocabulary = load_vocabulary(own_words_path())
    if options.datasets:
        for name, dataset in load_datasets().items():
            print(f"{name:16} {dataset.title:38} {', '.join(dataset.targets)}")
    elif options.target:
        _list_words(options.target, vocabulary)
    else:
        for target in vocabulary.targets.values():
            own = "  (yours)" if target.own else ""
            print(f"{target.phrase:28} {target.modality:18} {target.label}{own}")
    return OK


def _list_words(phrase: str, vocabulary: Vocabulary) -> None:
    target = vocabulary.find_target(phrase)
    if target is None:
        raise ValueError(f"There is no target {phrase!r}; `medvlsm prompts list` names all.")
    family = vocabulary.family(target.phrase)
    print(f"{target.label} ({target.phrase}); other names: {', '.join(target.names[1:])}")
    for name in family.attributes:
        words = vocabulary.words(name, target.phrase)
        print(f"  {LABELS[name]}: {'; '.join(words) or ('years in words' if name == 'age' else 'none yet')}")
    for level in family.levels:
        print(f"  {level.upper()}: {family.explain(level)}")


def _check(options: argparse.Namespace) -> int:
    from napari_medvlsm.core.datasets.annotation_files import MEASURED, Agreement, check, dataset_of, find_annotations
    from napari_medvlsm.core.datasets.annotation_files import read_annotations as read

    head = " ".join(f"{name:>15}" for name in MEASURED)
    print(f"{'data set':16} {'items':>6} {'rebuilt':>8} {'masks':>6} {head}")
    failed = False
    for folder in options.folders:
        dataset = dataset_of(folder)
        masks = folder / "masks"
        items = [item for path in find_annotations(folder) for item in read(path)]
        found: Agreement = check(dataset, items, masks if masks.is_dir() else None)
        rates = [f"{found.equal[n]} ({found.equal[n] / found.masks:.1%})" if found.masks else "-" for n in MEASURED]
        print(
            f"{dataset.name:16} {found.items:6} {found.rebuilt:8} {found.masks:6} {' '.join(f'{r:>15}' for r in rates)}"
        )
        if found.first_failure:
            failed = True
            print(f"medvlsm: {dataset.name}: the first item not rebuilt is {found.first_failure}.", file=sys.stderr)
    return SOME_FAILED if failed else OK


def _effect(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from napari_medvlsm.core.effect import measure
    from napari_medvlsm.core.kept_base import load_segmenter
    from napari_medvlsm.core.models.store.card import read_card, write_card
    from napari_medvlsm.core.models.store.registry import find_model
    from napari_medvlsm.core.one_of_two import pick_one_of_two, side_by_side

    if options.pairs and not options.data:
        raise ValueError("--pairs needs a data set with --data: which one is right is told by its masks.")
    if bool(options.data) == bool(options.scans):
        raise ValueError("Give either scans with --prompt, or a data set with --data.")
    vocabulary = load_vocabulary(own_words_path())
    cases = list(_annotated(options, vocabulary) if options.data else _named(options, vocabulary))
    segmenter = load_segmenter(options.model, options.device)
    found = measure(segmenter, tqdm(cases, unit="scan", disable=None), vocabulary)
    if options.pairs:
        pairs = side_by_side(cases, vocabulary, options.pairs)
        found["one of two"] = pick_one_of_two(segmenter, tqdm(pairs, unit="pair", disable=None), vocabulary)
    print(f"{found['outlined']} of {found['cases']} scans outlined; in brackets, the scans that allow a contrast")
    for contrast, row in found["contrasts"].items():
        change = f"changes {row['change']:.1%} of the outline ({row['cases']})" if "change" in row else ""
        true = f"Dice with the truth {row['dice']:.3f} ({row['dice_cases']})" if "dice" in row else ""
        if "margin" in row:
            way = "below" if row["margin"] >= 0 else "above"
            true += f", {100 * abs(row['margin']):.1f} points {way} the prompt's own"
        print(f"  {contrast:40} {change:38} {true}")
    if two := found.get("one of two"):
        print(f"in {two['cases']} pairs side by side, the place finds the right one of two in {two['picked']:.0%}")
    if options.card:
        folder = find_model(options.model).folder
        what = f"{options.data.name}, {options.split}, {options.level}" if options.data else f"“{options.prompt}”"
        card = read_card(folder)
        write_card(replace(card, prompt_effect=card.prompt_effect | {what: found}), folder)
        print(f"written into the card of {card.name}, as “{what}”")
    return OK


def _named(options: argparse.Namespace, vocabulary: Vocabulary) -> Iterator[EffectCase]:
    from napari_medvlsm.core.effect import EffectCase
    from napari_medvlsm.core.io.images import read_scan
    from napari_medvlsm.core.prompts import free_text

    if not (options.prompt or "").strip():
        raise ValueError("The prompt is empty; say what to outline, for example --prompt polyp.")
    prompt = free_text(options.prompt, vocabulary)
    for path in find_scans(options.scans):
        yield EffectCase(read_scan(path), prompt)


def _annotated(options: argparse.Namespace, vocabulary: Vocabulary) -> Iterator[EffectCase]:
    from napari_medvlsm.core.datasets.annotation_files import dataset_of
    from napari_medvlsm.core.datasets.reader import read_items
    from napari_medvlsm.core.datasets.source import SourceConfig
    from napari_medvlsm.core.effect import EffectCase
    from napari_medvlsm.core.io.images import read_scan

    dataset = dataset_of(options.data)
    source = SourceConfig(dataset.name, "upstream")
    for item in read_items(options.data, source, options.split, vocabulary, skip_missing=True).items:
        for mask in item.masks.values():
            if mask.upstream is None:
                raise ValueError(f"The prompts of {options.data} are not those of {dataset.title}.")
            clean = {k: vocabulary.canonical(k, value) for k, value in vars(mask.upstream).items() if k != "target"}
            if mask.upstream.number == "zero":
                clean = {"number": ""}
            prompt = build(Attributes(mask.upstream.target, **clean), vocabulary, options.level)
            theirs = mask.prompts.get(options.level, prompt.text)
            also = {"upstream's wording": theirs if isinstance(theirs, str) else theirs[0]}
            yield EffectCase(read_scan(item.image), prompt, mask.load(), also)
