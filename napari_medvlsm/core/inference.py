"""`Segmenter`: encode a scan once, prompt it many times; `kept_base.load_segmenter` makes one. Imports torch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from napari_medvlsm.core.devices import out_of_memory, pick_device, pick_precision
from napari_medvlsm.core.images import Scan, Window, content_hash, to_model_input, window_of
from napari_medvlsm.core.masks import Bytes, Cleanup, Mask, binarize
from napari_medvlsm.core.models.architectures.base import VLSM, Activations, Conditions, repeat_for_prompts
from napari_medvlsm.core.models.store.card import ModelCard
from napari_medvlsm.core.options import AUTO, Region, Tiling, check_region
from napari_medvlsm.core.tiles import Blend, grid
from napari_medvlsm.core.upsampling import scaled, to_scan_size, within

# Encoded scans kept in memory. A true-size CLIPSeg scan takes 4.5 MB.
CACHE_BYTES = 256 * 2**20
# Tiles encoded at once on a GPU; a CPU gains nothing from several, and can be cancelled between them.
_TILE_BATCH = 8
# Texts whose conditions are kept.
_TEXTS = 1024

Float32 = npt.NDArray[np.float32]
Check = Callable[[], None]
T = TypeVar("T")


class Cancelled(Exception):
    """The caller cancelled the request."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """A model's answer to one prompt.

    Attributes
    ----------
    prompt : str
    logits : float32 array of shape (L, L), or None
        At the model's own resolution, of what it saw: the scan, or a rectangle of it. None for tiles.
    probability : uint8 array of shape (H, W)
        At the scan's size, 255 for 1.
    threshold : float
        The model's own decision threshold.
    """

    prompt: str
    logits: Float32 | None
    probability: Bytes
    threshold: float

    def mask(self, threshold: float | None = None, cleanup: Cleanup | None = None) -> Mask:
        """The binary mask (H, W) at a threshold, by default the model's own."""
        mask = binarize(self.probability, self.threshold if threshold is None else threshold)
        return mask if cleanup is None else cleanup.apply(mask)


@dataclass(frozen=True, eq=False)
class ModelInput:
    """A preprocessed scan, ready to be batched.

    Attributes
    ----------
    pixels : float32 array of shape (3, S, S)
        See `images.to_model_input`.
    size : (int, int)
        Rows and columns of the scan.
    """

    pixels: Float32
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class _Plane:
    """The current scan."""

    key: str
    pixels: npt.NDArray[np.generic]

    @cached_property
    def window(self) -> Window:
        return window_of(self.pixels)

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def everything(self) -> Region:
        return (0, 0, *self.size)

    def part(self, region: Region) -> npt.NDArray[np.generic]:
        row0, col0, row1, col1 = region
        return self.pixels[row0:row1, col0:col1]


class Segmenter:
    """A model ready to segment: `set_image` is costly, `segment` is cheap.

    When a GPU runs out of memory, its cache is cleared and the batches are made smaller; if that is not enough, the
    work continues on the CPU, and `notify` is called.

    Parameters
    ----------
    model : VLSM
        Its weights stay in float32 and are moved to the device.
    card : ModelCard
    device : str
        "cpu", "cuda", "mps", or "auto" for the best one available.
    precision : str
        "float32", "bfloat16", "float16", or "auto" for what the device does well. In a lower one, products are
        computed in it and what suffers from rounding (norms, softmax) in float32, as torch's autocast chooses.
    cache_bytes : int
        Bound on the encoded scans that are kept.
    notify : callable, optional
        Gets a sentence for the user.

    Raises
    ------
    ValueError
        If there is no such device, or it does not compute in that precision.
    """

    def __init__(
        self,
        model: VLSM,
        card: ModelCard,
        device: str = AUTO,
        precision: str = AUTO,
        cache_bytes: int = CACHE_BYTES,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self.model = model.eval()
        self.card = card
        self.cache_bytes = cache_bytes
        self.notify = notify
        self._images: OrderedDict[str, Activations] = OrderedDict()
        self._texts: OrderedDict[str, Conditions] = OrderedDict()
        self._current: _Plane | None = None
        self._careful = False
        self._device = torch.device("cpu")
        self._precision = "float32"
        self.use(device, precision)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._device

    @property
    def precision(self) -> str:
        """Precision: "float32", "bfloat16" or "float16"."""
        return self._precision

    def use(self, device: str = AUTO, precision: str = AUTO) -> None:
        """Change device or precision; the current scan is kept.

        Raises
        ------
        ValueError
            As the class; then nothing has changed.
        """
        before, where = self._device, pick_device(device)
        self._precision = pick_precision(where, precision)
        self.free_memory()
        self._device, self._careful = where, False
        try:
            self._move(where)
            _give_back(before)
            return
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        self._fall_back()

    def set_image(
        self, image: Scan | npt.NDArray[np.generic], check: Check | None = None, *, encode: bool = True
    ) -> str:
        """Make a scan the current one, and encode it unless it is still in the cache.

        Parameters
        ----------
        image : Scan or array of shape (H, W) or (H, W, C)
        check : callable, optional
            Called between steps; may raise `Cancelled`.
        encode : bool
            False to leave the encoding to `segment`, for instance where only tiles are wanted.

        Returns
        -------
        str
            The content hash of the pixels.
        """
        pixels = image.pixels if isinstance(image, Scan) else Scan(image).pixels
        plane = _Plane(content_hash(pixels), pixels)
        self._current = plane
        if encode:
            self._survive(lambda: self._activations(plane, plane.everything, check))
        return plane.key

    def encode(self, image: Scan | npt.NDArray[np.generic], check: Check | None = None) -> None:
        """Encode a scan that comes later, for `set_image` to find in the cache; the current one stays.

        Parameters
        ----------
        image, check
            As `set_image`.
        """
        pixels = image.pixels if isinstance(image, Scan) else Scan(image).pixels
        plane = _Plane(content_hash(pixels), pixels)
        self._survive(lambda: self._activations(plane, plane.everything, check))

    def segment(
        self,
        prompts: str | Sequence[str],
        check: Check | None = None,
        size: tuple[int, int] | None = None,
        region: Region | None = None,
    ) -> list[Prediction]:
        """Answer prompts about the current scan, all of them on its one encoding.

        Parameters
        ----------
        prompts : str or sequence of str
        check : callable, optional
            Called between steps; may raise `Cancelled`.
        size : (int, int), optional
            Rows and columns of the probability maps; by default those of the scan.
        region : (int, int, int, int), optional
            Only this rectangle (row0, col0, row1, col1) of the scan is seen, and squashed to the model's
            square; outside it the probability is 0.

        Returns
        -------
        list of Prediction
            One for each prompt, in order.

        Raises
        ------
        RuntimeError
            If no scan was set.
        ValueError
            If the rectangle does not lie inside the scan.
        """
        plane = self._plane()
        seen = plane.everything if region is None else check_region(region, plane.size)
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        return self._survive(lambda: self._answers(plane, seen, texts, size or plane.size, check))

    def prepare(self, image: Scan | npt.NDArray[np.generic]) -> ModelInput:
        """Preprocess a whole scan for `segment_batch`.

        Only the model's size and normalisation are read: other threads may call this while the model computes.
        """
        scan = image if isinstance(image, Scan) else Scan(image)
        return ModelInput(
            to_model_input(scan.pixels, self.model.image_size, self.model.mean, self.model.std), scan.size
        )

    def segment_batch(self, inputs: Sequence[ModelInput], prompts: str | Sequence[str]) -> list[list[Prediction]]:
        """Answer prompts about several scans that are encoded in one forward pass.

        Nothing of them is cached, and the current scan stays. Where memory runs out, they are encoded one by one.

        Parameters
        ----------
        inputs : sequence of ModelInput
            See `prepare`; the scans may differ in size.
        prompts : str or sequence of str

        Returns
        -------
        list of list of Prediction
            For each scan, one for each prompt; those of `set_image` and `segment`, but for rounding.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        return self._survive(
            lambda: [
                answer
                for part in _batches(inputs, 1 if self._careful else max(1, len(inputs)))
                for answer in self._batch_answers(part, texts)
            ]
        )

    def segment_tiled(
        self,
        prompts: str | Sequence[str],
        tile: int | None = None,
        overlap: float = Tiling.overlap,
        progress: Callable[[float], None] | None = None,
        check: Check | None = None,
        region: Region | None = None,
    ) -> list[Prediction]:
        """Answer prompts tile by tile, so that details smaller than a pixel of the model's square are seen.

        The answers of overlapping tiles are blended smoothly. Each tile is normalised with the window of the whole
        scan (see `images.window_of`). Tiles are not cached: a further prompt encodes them again, so ask
        for several at once.

        Parameters
        ----------
        prompts : str or sequence of str
        tile : int, optional
            Rows and columns of a tile in pixels of the scan; by default as many as the model takes: native resolution.
        overlap : float
            Of neighbouring tiles, as a fraction of a tile: 0 to 0.9.
        progress : callable, optional
            Gets the fraction that is done, after each batch of tiles.
        check : callable, optional
            Called between steps; may raise `Cancelled`.
        region : (int, int, int, int), optional
            Tiles cover this rectangle (row0, col0, row1, col1) only; outside it the probability is 0.

        Returns
        -------
        list of Prediction
            One for each prompt, in order, at the scan's size.

        Raises
        ------
        RuntimeError
            If no scan was set.
        ValueError
            If tile or overlap are out of range, or the rectangle does not lie inside the scan.
        """
        plane, tiling = self._plane(), Tiling(tile, overlap)
        row0, col0, row1, col1 = seen = plane.everything if region is None else check_region(region, plane.size)
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        tiles = grid((row1 - row0, col1 - col0), tiling.side or self.model.image_size, tiling.overlap)
        maps: list[Bytes] = [np.zeros(plane.size, np.uint8) for _ in texts]
        blend = Blend(maps, seen, tiles.side)
        waiting, done = iter(tiles), 0
        while batch := list(islice(waiting, self._tile_batch)):
            regions = [(row0 + r.start, col0 + c.start, row0 + r.stop, col0 + c.stop) for r, c in batch]
            answers = self._survive(partial(self._tile_answers, plane, regions, texts, check))
            for (row, col), answer in zip(batch, answers, strict=True):
                blend.add(row, col, answer)
            done += len(batch)
            if progress is not None:
                progress(done / len(tiles))
        blend.finish()
        return [Prediction(text, None, answer, self.card.threshold) for text, answer in zip(texts, maps, strict=True)]

    def features(self, check: Check | None = None) -> Float32:
        """What the image encoder sees in the current scan, whatever the prompt: one vector (D,), to compare scans by.

        Of each of the encoder's tensors the means of its channels, scaled to length 1, so that none outweighs another.

        Raises
        ------
        RuntimeError
            If no scan was set.
        """
        plane = self._plane()
        activations = self._own(self._survive(lambda: self._activations(plane, plane.everything, check)))
        # Tokens are (1, N, D), planes (1, C, rows, cols).
        means = [a.float().mean(dim=1 if a.ndim == 3 else (2, 3))[0] for a in activations if a.ndim in (3, 4)]
        parts = [functional.normalize(mean, dim=0) for mean in means]
        return torch.cat(parts).cpu().numpy()

    def precision_difference(self, prompt: str) -> float:
        """The error of the lower precision, on the current scan.

        Returns
        -------
        float
            Largest difference of a probability (0 to 1, at the model's own resolution) from that in float32.

        Raises
        ------
        RuntimeError
            If no scan was set.
        """
        pixels, model = self._model_input(self._plane(), [self._plane().everything]), self._answering(prompt)

        def probability(precision: str) -> Tensor:
            with torch.inference_mode(), self._computing_in(precision):
                return torch.sigmoid(model(pixels, [prompt]).float())

        return float((probability(self._precision) - probability("float32")).abs().max())

    @property
    def cached_bytes(self) -> int:
        """Size of the encoded scans in memory."""
        return sum(a.nbytes for activations in self._images.values() for a in activations)

    def free_memory(self) -> None:
        """Drop everything that is cached; the current scan is encoded again when it is needed."""
        self._images.clear()
        self._texts.clear()
        _give_back(self._device)

    # Running the model -------------------------------------------------------------------------------------------

    def _answers(
        self, plane: _Plane, seen: Region, texts: Sequence[str], size: tuple[int, int], check: Check | None
    ) -> list[Prediction]:
        activations = self._activations(plane, seen, check)
        box = scaled(seen, plane.size, size)
        predictions: list[Prediction] = []
        for batch in _batches(texts, self._prompt_batch):
            for text, logits in zip(batch, self._decode(activations, batch), strict=True):
                _call(check)
                probability = within(to_scan_size(logits, (box[2] - box[0], box[3] - box[1])), box, size)
                predictions.append(Prediction(text, logits.cpu().numpy(), probability, self.card.threshold))
        return predictions

    def _batch_answers(self, inputs: Sequence[ModelInput], texts: Sequence[str]) -> list[list[Prediction]]:
        pixels = torch.from_numpy(np.stack([scan.pixels for scan in inputs])).to(self.model.device)
        activations = self._encode(pixels)
        answers: list[list[Prediction]] = [[] for _ in inputs]
        for batch in _batches(texts, max(1, self._prompt_batch // len(inputs))):
            logits = self._decode(activations, batch).split(len(batch))
            for scan, answer, planes in zip(inputs, answers, logits, strict=True):
                for text, plane in zip(batch, planes, strict=True):
                    probability = to_scan_size(plane, scan.size)
                    answer.append(Prediction(text, plane.cpu().numpy(), probability, self.card.threshold))
        return answers

    def _tile_answers(
        self, plane: _Plane, regions: Sequence[Region], texts: Sequence[str], check: Check | None
    ) -> list[Float32]:
        """Probabilities (P, rows, cols) of each tile; all tiles are of one size."""
        row0, col0, row1, col1 = regions[0]
        answers = [np.empty((len(texts), row1 - row0, col1 - col0), np.float32) for _ in regions]
        for start in range(0, len(regions), self._tile_batch):
            part = answers[start : start + self._tile_batch]
            _call(check)
            activations = self._encode(self._model_input(plane, regions[start : start + self._tile_batch]))
            first = 0
            for batch in _batches(texts, max(1, self._prompt_batch // len(part))):
                _call(check)
                logits = self._decode(activations, batch)[:, None]
                wide = functional.interpolate(logits, size=part[0].shape[1:], mode="bilinear")
                maps = torch.sigmoid(wide).reshape(len(part), len(batch), *wide.shape[2:]).cpu().numpy()
                for answer, planes in zip(part, maps, strict=True):
                    answer[first : first + len(batch)] = planes
                first += len(batch)
        return answers

    def _activations(self, plane: _Plane, seen: Region, check: Check | None) -> Activations:
        key = f"{plane.key}{seen}"
        if key not in self._images:
            _call(check)
            pixels = self._model_input(plane, [seen])
            _call(check)
            self._images[key] = self._encode(pixels)
            _call(check)
        self._images.move_to_end(key)
        while len(self._images) > 1 and self.cached_bytes > self.cache_bytes:
            self._images.popitem(last=False)
        return self._images[key]

    def _model_input(self, plane: _Plane, regions: Sequence[Region]) -> Tensor:
        side, mean, std = self.model.image_size, self.model.mean, self.model.std
        arrays = [to_model_input(plane.part(region), side, mean, std, plane.window) for region in regions]
        return torch.from_numpy(np.stack(arrays)).to(self.model.device)

    def _encode(self, pixels: Tensor) -> Activations:
        with torch.inference_mode(), self._computing_in(self._precision):
            return self.model.encode_image(pixels)

    def _decode(self, activations: Activations, texts: Sequence[str]) -> Tensor:
        """Float32 logits (B * P, L, L) of all prompts about all images, image by image."""
        with torch.inference_mode(), self._computing_in(self._precision):
            return decoded(self.model, activations, self._conditions(texts))

    def _own(self, activations: Activations) -> Activations:
        """Those of the model itself."""
        return activations

    def _answering(self, text: str) -> VLSM:
        """The model that answers a prompt."""
        return self.model

    def _conditions(self, texts: Sequence[str]) -> Conditions:
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if new:
            self._texts.update(zip(new, self.model.encode_text(new).split(), strict=True))
        conditions = Conditions.join([self._texts[text] for text in texts])
        while len(self._texts) > _TEXTS:
            self._texts.popitem(last=False)
        return conditions

    def _plane(self) -> _Plane:
        if self._current is None:
            raise RuntimeError("There is no scan yet: call set_image before segment.")
        return self._current

    def _move(self, device: torch.device) -> None:
        self.model.to(device)

    # Precision and memory ------------------------------------------------------------------------------------------

    def _computing_in(self, precision: str) -> AbstractContextManager[object]:
        if precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, getattr(torch, precision))

    @property
    def _prompt_batch(self) -> int:
        return 1 if self._careful else self.model.PROMPT_BATCH

    @property
    def _tile_batch(self) -> int:
        return 1 if self._careful or self._device.type == "cpu" else _TILE_BATCH

    def _survive(self, work: Callable[[], T]) -> T:
        """Call `work`; when memory runs out, retry with small batches, then on the CPU."""
        for relief in (self._be_careful, self._fall_back):
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            # Only here, after the except block, is nothing held any more by the error's traceback.
            relief()
        return work()

    def _be_careful(self) -> None:
        self._careful = True
        self.free_memory()

    def _fall_back(self) -> None:
        if self._device.type == "cpu":
            raise MemoryError("The computer has too little free memory for this. Close other programs and try again.")
        self.free_memory()
        self._move(torch.device("cpu"))
        _give_back(self._device)
        self._device, self._precision, self._careful = torch.device("cpu"), "float32", False
        if self.notify is not None:
            self.notify(
                "The graphics card has too little free memory, so the CPU is used, which is slower. "
                "Close other programs that use the card, then choose it again."
            )


def decoded(model: VLSM, activations: Activations, conditions: Conditions) -> Tensor:
    """Float32 logits (B * P, L, L) of P conditions about each of B images, image by image."""
    images, prompts = len(activations[0]), len(conditions)
    if images > 1:
        conditions = conditions[[*range(prompts)] * images]
    return model.decode(repeat_for_prompts(activations, prompts), conditions).float()


def _give_back(device: torch.device) -> None:
    """Return the GPU memory that torch has cached."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _batches(items: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    return (items[start : start + count] for start in range(0, len(items), count))


def _call(check: Check | None) -> None:
    if check is not None:
        check()
