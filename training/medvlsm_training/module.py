"""Loss, optimiser and validation of a model of any family under Lightning's Trainer."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import functional

from medvlsm_training.cache import ActivationCache
from medvlsm_training.config import Recipe
from medvlsm_training.consistency import consistency
from medvlsm_training.data import Batch
from medvlsm_training.losses import mean_over_images, prompt_loss
from medvlsm_training.models import image_encoder
from medvlsm_training.opposition import opposition
from napari_medvlsm.core.models.architectures.base import VLSM, Activations, Conditions
from napari_medvlsm.core.runs.scores import FALSE_POSITIVE_FRACTION

# Texts whose conditions are cached in memory: some 150 MB of CRIS, which needs those of every word.
CACHED_TEXTS = 4096


class SegmentationModule(LightningModule):
    """Trains whatever of the model requires gradients; encoders that are frozen whole stay in evaluation mode.

    Parameters
    ----------
    model : VLSM
    recipe : Recipe
    total_steps : int
        Of the whole run, for the cosine.
    cache : ActivationCache, optional
        Where activations of frozen encoders are cached.

    Raises
    ------
    ValueError
        If the model cannot take images of the recipe's `early_size`.
    """

    def __init__(self, model: VLSM, recipe: Recipe, total_steps: int, cache: ActivationCache | None = None) -> None:
        super().__init__()
        if recipe.trainer.early_epochs and recipe.trainer.early_size % model.STRIDE:
            raise ValueError(
                f"trainer.early_size must be a multiple of {model.STRIDE} for this model, but is "
                f"{recipe.trainer.early_size}."
            )
        # Convolutions on a CPU take two thirds of the time in this order of memory; results are the same.
        self.model = model.to(memory_format=torch.channels_last)
        self.recipe = recipe
        self.total_steps = total_steps
        self.cache = cache
        self._conditions: dict[str, Conditions] = {}
        # Sums and counts of loss, Dice of present targets, and false positives. Not a buffer: the moving average would
        # average it like a weight.
        self._sums = torch.zeros(6)

    def on_train_epoch_start(self) -> None:
        """Keep frozen encoders in evaluation mode, without dropout, as they will be used; and norms where wanted."""
        if self.recipe.model.trained == "decoder":
            self.model.get_submodule(self.model.ENCODERS).eval()
        if self.recipe.model.norms == "kept":
            for module in self.model.modules():
                if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One batch: images encoded once, all their prompts decoded together."""
        pixels = batch.pixels
        if self.current_epoch < self.recipe.trainer.early_epochs:
            pixels = _to_side(pixels, self.recipe.trainer.early_size)
        loss = self._loss(self._logits(pixels, batch), batch)
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=len(batch), sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Reset the sums."""
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
        false_positive = found.float().mean((1, 2)) > FALSE_POSITIVE_FRACTION
        losses = self._losses(logits, batch)
        once = self._counted(batch, batch_idx)
        counted, absent = counted & once, ~present & once
        pairs = ((losses * once, once), (dice * counted, counted), (false_positive & absent, absent))
        self._sums += torch.stack([column.float().sum() for pair in pairs for column in pair])

    def _counted(self, batch: Batch, batch_idx: int) -> Tensor:
        """Which prompts (P,) count: all but those of an image that was repeated to give all processes as many."""
        sampler = self.trainer.val_dataloaders.sampler
        repeated = sampler.rank + (len(sampler) - 1) * sampler.num_replicas >= len(sampler.dataset)
        if repeated and batch_idx == self.trainer.num_val_batches[0] - 1:
            return batch.owner != batch.owner[-1]
        return torch.ones_like(batch.owner, dtype=torch.bool)

    def on_validation_epoch_end(self) -> None:
        """Means over the cases of all processes."""
        sums = self.trainer.strategy.reduce(self._sums, reduce_op="sum")
        for name, total, count in (("loss", *sums[0:2]), ("dice", *sums[2:4]), ("false_positive_rate", *sums[4:6])):
            if count:
                self.log(f"val/{name}", total / count, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """As the recipe's `optimizer` says."""
        config = self.recipe.optimizer
        trained = [(n, p) for n, p in self.named_parameters() if p.requires_grad]
        pretrained: set[int] = set()
        if self.recipe.model.encoder_weights and config.encoder_rate != 1:
            pretrained = {id(p) for p in image_encoder(self.model)[0].parameters()}
        groups: list[dict[str, Any]] = []
        for of_encoder, rate in ((True, config.encoder_rate * config.learning_rate), (False, config.learning_rate)):
            own = [(n, p) for n, p in trained if (id(p) in pretrained) == of_encoder]
            plain = [p for n, p in own if not config.decay_all and (p.ndim < 2 or "embedding" in n)]
            without_decay = {id(p) for p in plain}
            decayed = [p for _, p in own if id(p) not in without_decay]
            groups += [{"params": decayed, "lr": rate}, {"params": plain, "lr": rate, "weight_decay": 0.0}]
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
            # At the last step of an epoch, after its validation; Lightning's "epoch" comes only after the checkpoint is
            # written, and a run that goes on would miss it.
            self.trainer.fit_loop.setup_data()  # else the number of batches is not known yet
            every = {"interval": "step", "frequency": self.trainer.num_training_batches, "monitor": "val/loss"}
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, **every}}
        cosine = torch.optim.lr_scheduler.LambdaLR(optimizer, self._cosine)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    def _cosine(self, step: int) -> float:
        warmup = max(1, int(self.recipe.optimizer.warmup * self.total_steps))
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, self.total_steps - warmup))))

    def _logits(self, pixels: Tensor, batch: Batch) -> Tensor:
        conditions = self._encode_text(batch.texts)
        if self.cache is None:
            activations = self.model.encode_image(pixels.contiguous(memory_format=torch.channels_last))
        else:
            activations = self.model.complete(self._features(batch, self.cache))
        return self.model.decode(tuple(a[batch.owner] for a in activations), conditions)

    def _features(self, batch: Batch, cache: ActivationCache) -> Activations:
        """Of all images of a batch, in the order that `owner` counts in."""
        found = cache.encode(self.model, batch.pixels, batch.names) if batch.names else ()
        both = zip(found, batch.kept, strict=True) if found and batch.kept else ((f,) for f in found or batch.kept)
        return tuple(torch.cat(parts).float() for parts in both)

    def _encode_text(self, texts: list[str]) -> Conditions:
        if self.recipe.model.trained != "decoder":
            unique = sorted(set(texts))
            return self.model.encode_text(unique)[[unique.index(text) for text in texts]]
        if len(self._conditions) > CACHED_TEXTS:
            self._conditions.clear()
        for text in texts:
            if text not in self._conditions:
                # Alone, so that the result does not depend on the other texts of a batch; and not as a tensor of the
                # validation's inference mode, which no step may use.
                with torch.inference_mode(False), torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                    self._conditions[text] = self.model.encode_text([text])
        return Conditions.join([self._conditions[text] for text in texts])

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Of a batch: the prompts' own, but for wrong sentences, and the opposition of these to the right ones."""
        plain = batch.against < 0
        loss = mean_over_images(self._losses(logits, batch)[plain], batch.owner[plain])
        config = self.recipe.loss
        if config.opposition:
            truth = _to_side(batch.masks[:, None], logits.shape[-1])[:, 0]
            loss = loss + config.opposition * opposition(logits, truth, batch.against, config.opposition_lead)
        if config.consistency:
            loss = loss + config.consistency * consistency(logits, batch.masks, batch.owner, batch.against)
        return loss

    def _losses(self, logits: Tensor, batch: Batch) -> Tensor:
        truth = _to_side(batch.masks[:, None], logits.shape[-1])[:, 0]
        return prompt_loss(logits, truth, self.recipe.loss)


def _to_side(planes: Tensor, side: int) -> Tensor:
    if planes.shape[-1] == side:
        return planes
    return functional.interpolate(planes, size=(side, side), mode="bilinear", antialias=True)
