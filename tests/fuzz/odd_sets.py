"""Data sets whose every file is whole and of the right form, but says odd things."""

import csv
import io
import json
import random
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

TARGETS = (
    "polyp",
    "left lung",
    "lungs",
    "skin melanoma",
    "Polyp",
    "polyps",
    "my own thing",
    "a, b; c",
    "x" * 400,
    "no",
)
_GROUPS = ("1", "patient 7", "  7 ", "a/b", "", "007", "NaN", "ä", "1.0", "patient  7", "-")
_TEXTS = (
    *(
        "",
        "polyp",
        "one small round polyp",
        "two polyps, located in the top left",
        "no polyp",
        "polyp " * 60,
        "\u202epylop",
    ),
    *("left lung; right lung", "skin melanoma.", "POLYP", "a {} b", "%s", "polyp\tand\tpolyp", "пoлип", "0", "p0", "-"),
)
_NUMBERS = (0, 1, -1, 2, 3.5, 1e9, 10**12, 255, 256)
_MODALITIES = ("endoscopy", "Endoscopy", "chest x-ray", "dermoscopy", "endo", "", "ct")
_ATTRIBUTES = ("number", "size", "color", "shape", "location", "general", "view", "tumor_class", "nothing")


def make(folder: Path, rng: random.Random) -> Path:
    """A set in either layout."""
    found = folder / "set"
    for part in ("images", "masks"):
        (found / part).mkdir(parents=True)
    names = [f"{stem}{rng.choice(('.png', '.png', '.bmp', '.tif'))}" for stem in _stems(rng)]
    size = (rng.choice((9, 12, 2)), rng.choice((9, 14, 3)))
    for i, name in enumerate(names):
        pixels = np.full((*size, 3), (40 * i) % 256, np.uint8)
        Image.fromarray(pixels if rng.random() < 0.8 else pixels[..., 0]).save(found / "images" / name)
    masks = {name: _masks(found / "masks", name, size, rng) for name in names}
    splits = _splits(names, rng)
    if rng.random() < 0.5:
        _lists(found, splits, masks, rng)
    else:
        _annotations(found, splits, masks, rng)
    if rng.random() < 0.5:
        (found / "dataset.yaml").write_text(yaml.safe_dump(_info(rng), allow_unicode=True), "utf-8")
    if rng.random() < 0.3:
        (found / "vocabulary.yaml").write_text(yaml.safe_dump(_vocabulary(rng), allow_unicode=True), "utf-8")
    if rng.random() < 0.4:
        rows = [["image", rng.choice(("patient", "group", "sequence"))], *([n, rng.choice(_GROUPS)] for n in names)]
        (found / rng.choice(("groups.csv", "patients.csv", "own.csv"))).write_bytes(_table(rows, rng))
    if rng.random() < 0.1:
        rows = [["image", "licence"], *([n, rng.choice(("CC0", "", "own"))] for n in names)]
        (found / "licences.csv").write_bytes(_table(rows, rng))
    return found


def _stems(rng: random.Random) -> list[str]:
    odd = ("a b", "a.b", "ä", "_mask", "x_mask", "x", "x_1", "A", "a" * 100, "1", "01", "-", "scan_seg", "#1", "'q'")
    return rng.sample(odd, 4) if rng.random() < 0.4 else [f"{i}" for i in range(4)]


def _masks(folder: Path, image: str, size: tuple[int, int], rng: random.Random) -> list[str]:
    stem = image.rsplit(".", 1)[0]
    ends = rng.choice(((".png",), (".png",), ("_mask.png",), ("_mask.png", "_mask_1.png"), (".bmp",), (".png", ".bmp")))
    for end in ends:
        mask = np.zeros(size, np.uint8)
        mask[: rng.choice((0, 1, 2, size[0])), :2] = rng.choice((255, 255, 255, 1, 7, 128))
        if rng.random() < 0.05:
            mask = np.tile(mask, (1, 2))
        if rng.random() < 0.1:
            mask[-1, -1] = rng.choice((254, 60, 1))
        Image.fromarray(mask).save(folder / f"{stem}{end}")
    return [f"{stem}{end}" for end in ends]


def _splits(names: list[str], rng: random.Random) -> dict[str, list[str]]:
    what = rng.random()
    if what < 0.6:
        return {"train": names[:2], "val": names[2:3], "test": names[3:]}
    if what < 0.8:
        return {split: rng.sample(names, rng.randrange(5)) for split in ("train", "val", "test")}
    return dict.fromkeys(rng.sample(("train", "val", "test", "testB", "validation"), 3), names[:2])


def _lists(found: Path, splits: dict[str, list[str]], masks: dict[str, list[str]], rng: random.Random) -> None:
    (found / "splits").mkdir()
    for split, names in splits.items():
        ends = rng.choice(("\n", "\r\n", "\n\n"))
        prefix = "images/" if rng.random() < 0.05 else ""
        (found / "splits" / f"{split}.txt").write_text(ends.join(prefix + n for n in names), "utf-8", newline="")
    columns = ["image", "mask", "target", *rng.choice(([], ["target"], ["note"], [""]))]
    rows = [columns]
    for image, own in masks.items():
        for mask in own * rng.choice((1, 1, 1, 2)):
            odd = rng.random() < 0.15
            row = [image, mask, rng.choice(TARGETS if odd else TARGETS[:4])]
            rows.append([*row, *["more"] * (len(columns) - 3)][: rng.choice((3, 4))])
    (found / "targets.csv").write_bytes(_table(rows, rng))


def _annotations(found: Path, splits: dict[str, list[str]], masks: dict[str, list[str]], rng: random.Random) -> None:
    (found / "anns").mkdir()
    for split, names in splits.items():
        entries = [_entry(name, mask, rng) for name in names for mask in masks[name]]
        (found / "anns" / f"{split}.json").write_text(json.dumps(entries), "utf-8")


def _entry(image: str, mask: str, rng: random.Random) -> dict[str, object]:
    texts = {f"p{i}": rng.choice((_TEXTS[1], rng.choice(_TEXTS))) for i in range(rng.choice((2, 7, 10)))}
    if rng.random() < 0.3:
        texts[rng.choice([*texts])] = [rng.choice(_TEXTS) for _ in range(rng.randrange(4))]
    box = [rng.choice(_NUMBERS) for _ in range(rng.choice((4, 4, 4, 0, 5)))]
    entry: dict[str, object] = {"img_name": image, "mask_name": mask, "bbox": box, "prompts": texts}
    if rng.random() < 0.5:
        said = {name: rng.choice(_TEXTS) for name in rng.sample(_ATTRIBUTES[:-1], rng.randrange(4))}
        entry |= {"target": rng.choice(TARGETS), "attributes": {"said": said, "measured": {"number": "one"}}}
        entry |= {"modality": rng.choice(_MODALITIES), "group": rng.choice(_GROUPS)}
        entry |= {"split_rank": rng.choice(_NUMBERS), "absent": rng.choice((True, False, None, 1))}
    return entry


def _info(rng: random.Random) -> dict[str, object]:
    info: dict[str, object] = {"title": rng.choice(_TEXTS), "licence": "CC0", "modality": rng.choice(_MODALITIES)}
    info["foreground"] = rng.choice(
        ("", "nonzero", "half", "dark", "alpha", 1, [1, 255], [], -1, "bright", 10**30, 0.5)
    )
    return {key: value for key, value in info.items() if rng.random() < 0.6}


def _vocabulary(rng: random.Random) -> dict[str, object]:
    facts = {
        "modality": rng.choice(_MODALITIES),
        "synonyms": [rng.choice(_TEXTS)],
        "colors": [rng.choice(_TEXTS)],
        "plural": rng.choice(_TEXTS),
    }
    own = {key: value for key, value in facts.items() if rng.random() < 0.7}
    return {"version": rng.choice(("1", "2", "")), "targets": {rng.choice(TARGETS): own}}


def _table(rows: list[list[str]], rng: random.Random) -> bytes:
    out = io.StringIO()
    quoting = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    csv.writer(
        out, delimiter=rng.choice(",,;\t"), quoting=quoting, lineterminator=rng.choice(("\n", "\r\n"))
    ).writerows(rows)
    return out.getvalue().encode(rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16")))
