"""Stop a training that diverges, before it damages weights or checkpoints."""

from __future__ import annotations

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


class Diverged(Exception):
    """A loss or gradient is NaN or infinite."""


class DivergenceCheck(Callback):
    """Raises `Diverged` at a gradient or validation loss that is NaN or infinite."""

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Check the gradients before they reach the weights."""
        norm = torch.nn.utils.get_total_norm([p.grad for p in pl_module.parameters() if p.grad is not None])
        # In float16 the gradient scaler skips such a step itself.
        if trainer.precision != "16-mixed":
            self._check(norm, "gradient", trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the loss of the validation: checkpoints are written after it."""
        if (loss := trainer.callback_metrics.get("val/loss")) is not None:
            self._check(loss, "validation loss", trainer)

    def _check(self, value: Tensor, what: str, trainer: Trainer) -> None:
        if not torch.isfinite(value):
            where = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step + 1}"
            raise Diverged(f"Training diverged: the {what} became {float(value)} ({where}); try a lower learning_rate")
