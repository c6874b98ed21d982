"""Folders of data sets whose tables, lists, annotation files or descriptions are wrong; and recipes."""

import gzip
import json
import random
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fuzz.mutate import VALUES, changed, damaged

_NAMES = [f"{i}.png" for i in range(4)]
_SPLITS = {"train": _NAMES[:2], "val": _NAMES[2:3], "test": _NAMES[3:]}
_INFO = "title: Mine\nlicence: CC0\nmodality: endoscopy\nschema_version: 1\nsalt: abc\n"
_VOCABULARY = "version: '1'\ntargets:\n  my polyp: {modality: endoscopy, synonyms: [thing]}\n"
_RECIPE = """\
name: mine
title: Mine
summary: Mine
licence: none
sources:
  - {folder: set, target: polyp, modality: endoscopy, name: Mine, licence: own, citation: none}
model: {image_size: 32, sizes: {patch_size: 8}}
prompts: {mix: {p1: 1}}
trainer: {max_epochs: 2, batch_size: 4}
"""
_YAML = (
    "&a [*a]",
    "a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
    + "".join(f"{chr(99 + i)}: &{chr(99 + i)} [{','.join([f'*{chr(98 + i)}'] * 9)}]\n" for i in range(10)),
    "[" * 3000,
    "- " * 3000 + "x",
    "{? {a: 1} : 2}",
    "!!python/object/apply:os.system [ls]",
    "x: 2001-99-99",
    "x: " + "9" * 6000,
    "x: 1:1:1:" + "1:" * 3000 + "1",
    "<<: [{a: 1}, {b: 2}]\nmodality: 3",
    "%YAML 9.9\n---\nx",
    "\ufeffmodality: endoscopy\n",
    "'",
    "\t- x",
)


def make_table(folder: Path, rng: random.Random) -> Path:
    """A set in split lists with `targets.csv` and `groups.csv`, one of whose texts is wrong."""
    found = _pictures(folder)
    rows = [["image", "mask", "target"], *([name, name, rng.choice(("polyp", "skin melanoma"))] for name in _NAMES)]
    what = rng.random()
    if what < 0.5:
        row, column = rng.randrange(len(rows)), rng.randrange(3)
        rows[row][column] = str(rng.choice(VALUES))
    elif what < 0.6:
        rows.append([str(rng.choice(VALUES)) for _ in range(rng.randrange(6))])
    elif what < 0.65:
        rows = []
    delimiter = rng.choice((",", ",", ";", "\t"))
    text = "\r\n".join(delimiter.join(_quoted(field, delimiter, rng) for field in row) for row in rows)
    encoding = rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    data = text.encode(encoding, "replace")
    if rng.random() < 0.35:
        data = damaged(rng, data)
    (found / "targets.csv").write_bytes(data)
    groups = "\n".join(["image,group", *(f"{name},{rng.choice('ab')}" for name in _NAMES)]).encode()
    if rng.random() < 0.3:
        (found / "groups.csv").write_bytes(damaged(rng, groups))
    for split, names in _SPLITS.items():
        lines = list(names)
        if rng.random() < 0.15:
            lines.append(str(rng.choice(VALUES)))
        raw = "\n".join(lines).encode("utf-8", "surrogatepass")
        (found / "splits" / f"{split}.txt").write_bytes(damaged(rng, raw) if rng.random() < 0.15 else raw)
    return found


def make_annotations(folder: Path, rng: random.Random) -> Path:
    """A set in upstream's layout, one of whose annotation files or descriptions is wrong."""
    found = _pictures(folder)
    wrong = rng.choice((*_SPLITS, *_SPLITS, "dataset.yaml", "vocabulary.yaml"))
    (found / "anns").mkdir()
    for split, names in _SPLITS.items():
        entries: object = [_entry(name, rng) for name in names]
        if split != wrong:
            (found / "anns" / f"{split}.json").write_text(json.dumps(entries))
            continue
        what = rng.random()
        if what < 0.7:
            data = json.dumps(changed(rng, entries)).encode()
        elif what < 0.75:
            data = b"[" * rng.choice((100, 5000, 100_000))
        elif what < 0.8:
            data = b'[{"x":' * rng.choice((100, 5000))
        else:
            data = damaged(rng, json.dumps(entries).encode())
        if rng.random() < 0.25:
            packed = gzip.compress(bytes(200_000_000) if rng.random() < 0.02 else data)
            (found / "anns" / f"{split}.json.gz").write_bytes(damaged(rng, packed) if rng.random() < 0.3 else packed)
        else:
            (found / "anns" / f"{split}.json").write_bytes(data)
    for name, text in (("dataset.yaml", _INFO), ("vocabulary.yaml", _VOCABULARY)):
        (found / name).write_bytes(_wrong_yaml(rng, text) if name == wrong else text.encode())
    return found


def make_recipe(folder: Path, rng: random.Random) -> Path:
    """A recipe that is wrong."""
    path = folder / "mine.yaml"
    path.write_bytes(_wrong_yaml(rng, _RECIPE))
    return path


def _wrong_yaml(rng: random.Random, text: str) -> bytes:
    what = rng.random()
    if what < 0.3:
        return rng.choice(_YAML).encode()
    if what < 0.5:
        return (text + rng.choice(_YAML)).encode()
    if what < 0.7:
        lines = text.splitlines()
        at = rng.randrange(len(lines))
        value = json.dumps(rng.choice(VALUES))
        lines[at] = f"{lines[at].partition(':')[0]}: {value}"
        return "\n".join(lines).encode()
    return damaged(rng, text.encode())


def _entry(name: str, rng: random.Random) -> dict[str, object]:
    entry: dict[str, object] = {
        "img_name": name,
        "mask_name": name,
        "bbox": [1, 2, 3, 4],
        "prompts": {"p0": "", "p1": "polyp", "p2": ["round polyp", "pink polyp"], "p3": "one small round polyp"},
    }
    if rng.random() < 0.5:
        said = {"said": {"color": "pink"}, "measured": {"number": "one"}}
        entry |= {"target": "polyp", "attributes": said, "modality": "endoscopy", "group": "patient 7", "split_rank": 3}
    return entry


def _pictures(folder: Path) -> Path:
    found = folder / "set"
    for part in ("images", "masks", "splits"):
        (found / part).mkdir(parents=True)
    for i, name in enumerate(_NAMES):
        pixels = np.full((12, 14), 40 * i, np.uint8)
        Image.fromarray(pixels).save(found / "images" / name)
        pixels[3:8, 2 + i : 9] = 255
        Image.fromarray(((pixels == 255) * 255).astype(np.uint8)).save(found / "masks" / name)
    return found


def _quoted(field: str, delimiter: str, rng: random.Random) -> str:
    if any(sign in field for sign in (delimiter, '"', "\n", "\r")) and rng.random() < 0.8:
        return '"' + field.replace('"', '""') + '"'
    return field
