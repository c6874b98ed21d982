"""`Segmenter`: encode a scan once, prompt it many times. Imports torch."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from napari_medvlsm.core.images import Scan, content_hash, to_model_input
from napari_medvlsm.core.masks import Bytes, Cleanup, Mask, cut, quantise
from napari_medvlsm.core.models.base import VLSM, Activations, Conditions, repeat_for_prompts
from napari_medvlsm.core.models.card import ModelCard
from napari_medvlsm.core.models.families import load_model
from napari_medvlsm.core.models.registry import STARTER, find_model

# Encoded scans kept in memory. A true-size CLIPSeg scan takes 4.5 MB.
CACHE_BYTES = 256 * 2**20
# Prompts decoded at once: bounds the memory of the decoder.
_PROMPT_BATCH = 16
# Texts whose conditions are kept.
_TEXTS = 1024
# Rows brought to the scan's own size at once: bounds the memory for very large scans.
_STRIP_PIXELS = 2**22


class Cancelled(Exception):
    """The work was cancelled by the one who asked for it."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """A model's answer to one prompt.

    Attributes
    ----------
    prompt : str
    logits : float32 array of shape (L, L)
        At the model's own resolution.
    probability : uint8 array of shape (H, W)
        At the scan's size, 255 for 1.
    threshold : float
        The model's own decision threshold.
    """

    prompt: str
    logits: npt.NDArray[np.float32]
    probability: Bytes
    threshold: float

    def mask(self, threshold: float | None = None, cleanup: Cleanup | None = None) -> Mask:
        """The binary mask (H, W) at a threshold, by default the model's own."""
        mask = cut(self.probability, self.threshold if threshold is None else threshold)
        return mask if cleanup is None else cleanup.apply(mask)


class Segmenter:
    """A model ready to segment: `set_image` is costly, `segment` is cheap.

    Parameters
    ----------
    model : VLSM
    card : ModelCard
    device : str
        "cpu", "cuda", "mps", or "auto" for the best there is.
    cache_bytes : int
        Bound on the encoded scans that are kept.
    """

    def __init__(self, model: VLSM, card: ModelCard, device: str = "auto", cache_bytes: int = CACHE_BYTES) -> None:
        self.device = pick_device() if device == "auto" else torch.device(device)
        self.model = model.to(self.device).eval()
        self.card = card
        self.cache_bytes = cache_bytes
        self._images: OrderedDict[str, Activations] = OrderedDict()
        self._texts: OrderedDict[str, Conditions] = OrderedDict()
        self._current: tuple[str, npt.NDArray[np.generic]] | None = None

    @classmethod
    def load(cls, model: str = STARTER, device: str = "auto") -> Segmenter:
        """Load a model by its name or by the path of its folder.

        Raises
        ------
        ValueError
            If there is no such model or its folder is broken.
        """
        entry = find_model(model)
        return cls(load_model(entry.folder), entry.card, device)

    def set_image(self, image: Scan | npt.NDArray[np.generic], check: Callable[[], None] | None = None) -> str:
        """Encode a scan, unless it is still in the cache.

        Parameters
        ----------
        image : Scan or array of shape (H, W) or (H, W, C)
        check : callable, optional
            Called between steps; may raise `Cancelled`.

        Returns
        -------
        str
            The content hash of the pixels.
        """
        pixels = image.pixels if isinstance(image, Scan) else Scan(image).pixels
        key = content_hash(pixels)
        self._current = (key, pixels)
        self._activations(check)
        return key

    def segment(
        self,
        prompts: str | Sequence[str],
        check: Callable[[], None] | None = None,
        size: tuple[int, int] | None = None,
    ) -> list[Prediction]:
        """Answer prompts about the current scan, all of them on its one encoding.

        Parameters
        ----------
        prompts : str or sequence of str
        check : callable, optional
            Called between steps; may raise `Cancelled`.
        size : (int, int), optional
            Rows and columns of the probability maps; by default those of the scan.

        Returns
        -------
        list of Prediction
            One for each prompt, in order.

        Raises
        ------
        RuntimeError
            If no scan was set.
        """
        if self._current is None:
            raise RuntimeError("There is no scan yet: call set_image before segment.")
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        activations = self._activations(check)
        rows, cols = size or self._current[1].shape[:2]
        predictions: list[Prediction] = []
        with torch.inference_mode():
            for start in range(0, len(texts), _PROMPT_BATCH):
                batch = texts[start : start + _PROMPT_BATCH]
                conditions = self._conditions(batch)
                logits = self.model.decode(repeat_for_prompts(activations, len(batch)), conditions)
                for text, plane in zip(batch, logits, strict=True):
                    _call(check)
                    probability = to_scan_size(plane, (rows, cols))
                    predictions.append(Prediction(text, plane.float().cpu().numpy(), probability, self.card.threshold))
        return predictions

    @property
    def cached_bytes(self) -> int:
        """Size of the encoded scans in memory."""
        return sum(a.nbytes for activations in self._images.values() for a in activations)

    def _activations(self, check: Callable[[], None] | None) -> Activations:
        assert self._current is not None
        key, pixels = self._current
        if key not in self._images:
            _call(check)
            array = to_model_input(pixels, self.model.image_size, self.model.mean, self.model.std)
            _call(check)
            with torch.inference_mode():
                self._images[key] = self.model.encode_image(torch.from_numpy(array)[None].to(self.device))
            _call(check)
        self._images.move_to_end(key)
        while len(self._images) > 1 and self.cached_bytes > self.cache_bytes:
            self._images.popitem(last=False)
        return self._images[key]

    def _conditions(self, texts: Sequence[str]) -> Conditions:
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if new:
            self._texts.update(zip(new, self.model.encode_text(new).split(), strict=True))
        conditions = Conditions.join([self._texts[text] for text in texts])
        while len(self._texts) > _TEXTS:
            self._texts.popitem(last=False)
        return conditions


def to_scan_size(logits: Tensor, size: tuple[int, int]) -> Bytes:
    """Logits (L, L) to probabilities as bytes at `size` (rows, cols): bilinear, a strip of rows at a time."""
    rows, cols = size
    side = logits.shape[0]
    result = np.empty(size, np.uint8)
    step = max(1, _STRIP_PIXELS // cols)
    wide = functional.interpolate(logits[None, None].float(), size=(side, cols), mode="bilinear")[0, 0]
    for start in range(0, rows, step):
        stop = min(rows, start + step)
        # Source position of each row, as in interpolate(align_corners=False).
        position = ((torch.arange(start, stop, device=wide.device) + 0.5) * (side / rows) - 0.5).clamp(0, side - 1)
        low = position.floor().long()
        weight = (position - low)[:, None]
        high = (low + 1).clamp(max=side - 1)
        strip = wide[low] * (1 - weight) + wide[high] * weight
        result[start:stop] = quantise(torch.sigmoid(strip).cpu().numpy())
    return result


def pick_device() -> torch.device:
    """CUDA, else Apple MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """A device in words."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} (CUDA)"
    return "Apple GPU (MPS)" if device.type == "mps" else f"CPU, {os.cpu_count()} cores"


def _call(check: Callable[[], None] | None) -> None:
    if check is not None:
        check()
