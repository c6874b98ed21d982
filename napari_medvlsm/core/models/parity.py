"""Agreement with the upstream implementations, on weights and inputs that come from a formula.

`medvlsm models parity KEYS.json EXPECTED.npz` prints a table. KEYS.json holds, for each
tag, the names and shapes of upstream's state dict; EXPECTED.npz what upstream medvlsm answered: `TAG.logits`
(evenly spaced rows and columns), `TAG.stats` (mean, unbiased deviation, minimum, maximum of all logits) and
`TAG.input_ids`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import BertTokenizer, CLIPTokenizer

from napari_medvlsm.core.models.architectures.base import VLSM
from napari_medvlsm.core.models.architectures.biomedclipseg import BiomedCLIPSeg, BiomedCLIPSegConfig
from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg, published_config
from napari_medvlsm.core.models.architectures.cris import CRIS, CRISConfig

# The images' waves: per column, per image, per row.
IMAGE_CONSTANTS = (0.05, 0.3, 0.03)
# Largest difference from upstream medvlsm, in deviations of its logits; CRIS is the most sensitive.
LIMIT = 1e-3

Keys = Mapping[str, Sequence[int]]
Arrays = Mapping[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Parity:
    """How one model compares with its reference.

    Attributes
    ----------
    tag : str
    deviation : float
        Standard deviation of upstream's logits.
    difference : float
        Largest absolute difference of a logit from upstream's.
    stats_difference : float
        The same for mean, deviation, minimum and maximum of all logits.
    """

    tag: str
    deviation: float
    difference: float
    stats_difference: float

    @property
    def relative(self) -> float:
        """The larger difference, in deviations."""
        return max(self.difference, self.stats_difference) / self.deviation

    @property
    def met(self) -> bool:
        """Whether the model agrees with its reference."""
        return self.relative <= LIMIT


def compare(
    tag: str, keys: Keys, expected: Arrays, image_constants: tuple[float, float, float] = IMAGE_CONSTANTS
) -> Parity:
    """Build the model of a tag, give it the formula's weights and inputs, and compare.

    Raises
    ------
    ValueError
        For an unknown tag, or if upstream's entries are not those of our model.
    """
    model = build(tag).from_upstream_state_dict(formula_state(keys)).eval()
    images = formula_images(model.image_size, image_constants)
    ids = torch.from_numpy(np.asarray(expected[f"{tag}.input_ids"], np.int64))
    with torch.inference_mode():
        logits = model.decode(model.encode_image(images), model.encode_tokens(ids)).numpy()
    reference = np.asarray(expected[f"{tag}.logits"], np.float64)[:, 0]
    stats = np.asarray(expected[f"{tag}.stats"], np.float64)
    step = logits.shape[-1] // reference.shape[-1]
    ours = np.array([logits.mean(dtype=np.float64), logits.std(dtype=np.float64, ddof=1), logits.min(), logits.max()])
    return Parity(
        tag,
        float(stats[1]),
        float(np.abs(logits[:, ::step, ::step] - reference).max()),
        float(np.abs(ours - stats).max()),
    )


def build(tag: str) -> VLSM:
    """The model of a tag, with random weights and a tokenizer that is not used.

    Raises
    ------
    ValueError
        For an unknown tag; the sentence lists the known ones.
    """
    if tag not in _MODELS:
        raise ValueError(f"There is no parity model {tag!r}. Known: {', '.join(_MODELS)}.")
    return _MODELS[tag]()


def formula_state(keys: Keys) -> dict[str, Tensor]:
    """The formula's value for every entry of a state dict."""
    return {name: torch.from_numpy(np.asarray(_formula_value(name, shape))) for name, shape in keys.items()}


def formula_images(side: int, constants: tuple[float, float, float] = IMAGE_CONSTANTS) -> Tensor:
    """Two images of three channels, (2, 3, side, side), already normalised."""
    column, image, row = constants
    i = np.arange(2)[:, None, None, None]
    channel = np.arange(1, 4)[None, :, None, None]
    y, x = np.arange(side)[:, None], np.arange(side)[None, :]
    values = np.sin(column * channel * x + image * i) * np.cos(row * channel * y)
    return torch.from_numpy(values.astype(np.float32))


def table(
    keys_file: Path,
    expected_file: Path,
    tags: Sequence[str] | None = None,
    image_constants: tuple[float, float, float] = IMAGE_CONSTANTS,
) -> int:
    """Print how the models of two files compare; return 1 if one does not agree with its reference."""
    keys = json.loads(keys_file.read_text("utf-8"))
    failed = 0
    print(f"{'model':<20}  {'difference / deviation':>22}  {'deviation':>10}  limit {LIMIT:g}")
    with np.load(expected_file) as expected:
        for tag in tags or keys:
            try:
                if tag not in keys or f"{tag}.logits" not in expected:
                    raise ValueError(f"not in both files; the keys hold {', '.join(keys)}.")
                result = compare(tag, keys[tag], expected, image_constants)
            except ValueError as error:
                failed += 1
                print(f"{tag:<20}  {error}")
                continue
            failed += not result.met
            verdict = "met" if result.met else "NOT MET"
            print(f"{tag:<20}  {result.relative:>22.2e}  {result.deviation:>10.4f}  {verdict}", flush=True)
    return int(failed > 0)


def _formula_value(name: str, shape: Sequence[int]) -> npt.NDArray[np.generic]:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    value = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    value = np.asarray(value, np.float32)
    if name.endswith("running_var"):
        return 1 + np.float32(0.1) * np.abs(value)
    if name.endswith(("running_mean", "bias")):
        return np.float32(0.1) * value
    if len(shape) >= 2:
        return value / np.float32(np.sqrt(np.prod(shape[1:])))
    return 1 + np.float32(0.1) * value


def _clipseg(**text_and_vision: dict[str, int]) -> CLIPSeg:
    return CLIPSeg.from_config(published_config(**text_and_vision), CLIPTokenizer(), 352)


_MODELS: dict[str, Callable[[], VLSM]] = {
    "clipseg": _clipseg,
    "clipseg_small": lambda: _clipseg(
        text_config={"hidden_size": 128, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 256},
        vision_config={"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768, "num_hidden_layers": 12},
    ),
    "cris": lambda: CRIS.from_config(CRISConfig(), CLIPTokenizer()),
    "cris_small": lambda: CRIS.from_config(
        CRISConfig(
            vision_layers=(1, 1, 1, 1),
            vision_width=16,
            text_width=128,
            text_layers=2,
            text_heads=2,
            embed_dim=512,
            neck_widths=(64, 128, 256),
            decoder_layers=2,
            decoder_heads=4,
            decoder_mlp=256,
        ),
        CLIPTokenizer(),
    ),
    "biomedclipseg": lambda: BiomedCLIPSeg.from_config(BiomedCLIPSegConfig(), BertTokenizer()),
    "biomedclipseg_small": lambda: BiomedCLIPSeg.from_config(
        BiomedCLIPSegConfig("vit_tiny_patch16_224", text_width=64, text_layers=2, text_heads=2, text_mlp=128),
        BertTokenizer(),
    ),
}
