"""Loss, optimiser and validation of a model of any family under Lightning's Trainer."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from monai.losses import DiceCELoss
from torch import Tensor
from torch.nn import functional

from medvlsm_training.config import Recipe
from napari_medvlsm.core.models.base import VLSM, repeat_for_prompts

Batch = tuple[Tensor, list[str], Tensor]


class SegmentationModule(LightningModule):
    """Trains whatever of the model is not frozen: by default everything, with `core.models.lora` the adapters alone.

    The loss is Dice plus binary cross-entropy on logits, per prompt and averaged; the Dice term is
    smoothed by one pixel so that an empty mask pulls the prediction to zero.
    """

    def __init__(self, model: VLSM, recipe: Recipe, total_steps: int) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.total_steps = total_steps
        self.loss = DiceCELoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One batch: images encoded once, all their prompts decoded together."""
        pixels, texts, masks = batch
        if self.current_epoch < self.recipe.early_epochs:
            pixels = _to_side(pixels, self.recipe.early_size)
        loss = self._loss(pixels, texts, masks)
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(pixels))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Dice at logit resolution and threshold 0.5, for the curve; `evaluate` gives the real numbers."""
        pixels, texts, masks = batch
        logits = self._logits(pixels, texts)
        truth = _to_side(masks[:, None], logits.shape[-1])[:, 0] > 0.5
        found = logits > 0
        present = truth.any(dim=(1, 2))
        overlap = 2 * (found & truth).sum((1, 2)) / (found.sum((1, 2)) + truth.sum((1, 2))).clamp(min=1)
        if present.any():
            self.log("val/dice", overlap[present].mean(), prog_bar=True, batch_size=int(present.sum()))
        if not present.all():
            drawn = found[~present].float().mean((1, 2)) > 0.01
            self.log("val/absent_drawn", drawn.float().mean(), prog_bar=True, batch_size=int((~present).sum()))

    def configure_optimizers(self) -> Any:
        """AdamW without decay on biases, norms and embeddings; linear warm-up, then cosine to zero."""
        trained = [(n, p) for n, p in self.named_parameters() if p.requires_grad]
        decayed = [p for n, p in trained if p.ndim > 1 and "embedding" not in n]
        plain = [p for n, p in trained if not (p.ndim > 1 and "embedding" not in n)]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(
            groups,
            lr=self.recipe.learning_rate,
            weight_decay=self.recipe.weight_decay,
            betas=(0.9, 0.98),
        )
        warmup = max(1, int(self.recipe.warmup * self.total_steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, self.total_steps - warmup))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _logits(self, pixels: Tensor, texts: list[str]) -> Tensor:
        unique = sorted(set(texts))
        conditions = self.model.encode_text(unique)[[unique.index(text) for text in texts]]
        activations = self.model.encode_image(pixels)
        return self.model.decode(repeat_for_prompts(activations, len(texts) // len(pixels)), conditions)

    def _loss(self, pixels: Tensor, texts: list[str], masks: Tensor) -> Tensor:
        logits = self._logits(pixels, texts)[:, None]
        loss: Tensor = self.loss(logits, _to_side(masks[:, None], logits.shape[-1]))
        return loss


def _to_side(planes: Tensor, side: int) -> Tensor:
    return functional.interpolate(planes, size=(side, side), mode="bilinear", antialias=True)
