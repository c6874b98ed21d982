"""Builders shared by the tests of training: tiny images, data sets on disk, and the parts of tiny recipes."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from medvlsm_training.config import SourceConfig

# A CLIPSeg that trains in milliseconds a step; with an image side of 32.
TINY = {"patch_size": 8, "hidden_size": 48, "layers": 3, "text_size": 32, "text_layers": 1}
PROMPTS = {"p1": "polyp", "p2": "round polyp", "p3": "white round polyp"}


def disk(rng, size=48, radius=9, margin=12):
    """A bright disk on noise, (size, size, 3), and its mask, (size, size)."""
    y, x = np.mgrid[:size, :size]
    row, col = rng.integers(margin, size - margin, 2)
    mask = (y - row) ** 2 + (x - col) ** 2 < radius**2
    return bright(rng, mask, 80, 150), mask


def bright(rng, mask, noise=90, contrast=140):
    """Noise that is brighter inside a mask, (H, W, 3)."""
    image = rng.integers(0, noise, (*mask.shape, 3)) + contrast * mask[..., None]
    return image.astype(np.uint8)


def write_set(
    folder: Path,
    splits: Mapping[str, Iterable[int]],
    picture: Callable,
    prompts: Mapping[str, str] | None = None,
    suffix: str = ".png",
) -> Path:
    """A data set of `picture(number)` -> (image, mask); in upstream's layout with prompts, else with split lists."""
    lists = "splits" if prompts is None else "anns"
    for part in ("images", "masks", lists):
        (folder / part).mkdir(parents=True)
    for split, numbers in splits.items():
        numbers = list(numbers)
        for i in numbers:
            image, mask = picture(i)
            Image.fromarray(image).save(folder / "images" / f"{i}{suffix}")
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"{i}.png")
        if prompts is None:
            (folder / "splits" / f"{split}.txt").write_text("\n".join(f"{i}{suffix}" for i in numbers))
        else:
            entries = [{"img_name": f"{i}{suffix}", "mask_name": f"{i}.png", "prompts": prompts} for i in numbers]
            (folder / "anns" / f"{split}.json").write_text(json.dumps(entries))
    return folder


def source(folder: str, layout: str = "lists", **more) -> SourceConfig:
    """A source of CC0 polyps, but for what is said otherwise."""
    facts = {"modality": "endoscopy", "name": folder, "licence": "CC0", "citation": "none", "target": "polyp"}
    return SourceConfig(folder=folder, layout=layout, **(facts | more))
