"""Loss, optimiser and validation of a model of any family under Lightning's Trainer."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional

from medvlsm_training.config import Recipe
from medvlsm_training.data import Batch
from medvlsm_training.losses import mean_over_images, prompt_loss
from napari_medvlsm.core.models.base import VLSM

# Part of an image above which something counts as drawn where nothing should be.
DRAWN = 0.01


class SegmentationModule(LightningModule):
    """Trains whatever of the model requires gradients; what is frozen whole stays in evaluation mode.

    Parameters
    ----------
    model : VLSM
    recipe : Recipe
    total_steps : int
        Of the whole run, for the cosine.
    """

    def __init__(self, model: VLSM, recipe: Recipe, total_steps: int) -> None:
        super().__init__()
        # Convolutions on a CPU take two thirds of the time in this order of memory; results are the same.
        self.model = model.to(memory_format=torch.channels_last)
        self.recipe = recipe
        self.total_steps = total_steps
        # Loss, its prompts, Dice of what is there, its prompts, drawn where nothing is, its prompts. No buffer: the
        # moving average would take it for a weight.
        self._sums = torch.zeros(6)

    def on_train_epoch_start(self) -> None:
        """Frozen encoders answer as they will in use, without dropout."""
        if self.recipe.model.trained == "decoder":
            self.model.get_submodule(self.model.ENCODERS).eval()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One batch: images encoded once, all their prompts decoded together."""
        pixels = batch.pixels
        if self.current_epoch < self.recipe.trainer.early_epochs:
            pixels = _to_side(pixels, self.recipe.trainer.early_size)
        loss = mean_over_images(self._losses(self._logits(pixels, batch), batch), batch.owner)
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(batch), sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin the sums anew."""
        self._sums = torch.zeros(6, device=self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Dice at the size of the logits, for the curve; `evaluation` gives the real numbers."""
        logits = self._logits(batch.pixels, batch)
        truth = _to_side(batch.masks[:, None], logits.shape[-1])[:, 0] > 0.5
        found = logits.sigmoid() > self.recipe.trainer.threshold
        present = truth.any(dim=(1, 2))
        dice = 2 * (found & truth).sum((1, 2)) / (found.sum((1, 2)) + truth.sum((1, 2))).clamp(min=1)
        counted = present
        if self.recipe.trainer.count_empty:
            dice, counted = torch.where(present, dice, (~found.any(dim=(1, 2))).to(dice)), torch.ones_like(present)
        drawn = found.float().mean((1, 2)) > DRAWN
        losses = self._losses(logits, batch)
        pairs = ((losses, torch.ones_like(losses)), (dice * counted, counted), (drawn & ~present, ~present))
        self._sums += torch.stack([column.float().sum() for pair in pairs for column in pair])

    def on_validation_epoch_end(self) -> None:
        """Means over the cases of all processes."""
        sums = self.trainer.strategy.reduce(self._sums, reduce_op="sum")
        for name, total, count in (("loss", *sums[0:2]), ("dice", *sums[2:4]), ("absent_drawn", *sums[4:6])):
            if count:
                self.log(f"val/{name}", total / count)

    def configure_optimizers(self) -> Any:
        """As the recipe's `optimizer` says."""
        config = self.recipe.optimizer
        trained = [(n, p) for n, p in self.named_parameters() if p.requires_grad]
        plain = [p for n, p in trained if not config.decay_all and (p.ndim < 2 or "embedding" in n)]
        kept = {id(p) for p in plain}
        decayed = [p for _, p in trained if id(p) not in kept]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
        optimizer = kind(
            [group for group in groups if group["params"]],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=config.betas,
        )
        if config.schedule == "constant":
            return optimizer
        if config.schedule == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=config.plateau_factor, patience=config.plateau_patience
            )
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val/loss"}}
        cosine = torch.optim.lr_scheduler.LambdaLR(optimizer, self._cosine)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    def _cosine(self, step: int) -> float:
        warmup = max(1, int(self.recipe.optimizer.warmup * self.total_steps))
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, self.total_steps - warmup))))

    def _logits(self, pixels: Tensor, batch: Batch) -> Tensor:
        unique = sorted(set(batch.texts))
        conditions = self.model.encode_text(unique)[[unique.index(text) for text in batch.texts]]
        activations = self.model.encode_image(pixels.contiguous(memory_format=torch.channels_last))
        return self.model.decode(tuple(a[batch.owner] for a in activations), conditions)

    def _losses(self, logits: Tensor, batch: Batch) -> Tensor:
        truth = _to_side(batch.masks[:, None], logits.shape[-1])[:, 0]
        return prompt_loss(logits, truth, self.recipe.loss)


def _to_side(planes: Tensor, side: int) -> Tensor:
    if planes.shape[-1] == side:
        return planes
    return functional.interpolate(planes, size=(side, side), mode="bilinear", antialias=True)
