"""A training run, from a recipe and a data folder to a model folder."""

from __future__ import annotations

import logging
import math
import time
import warnings
from dataclasses import asdict
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, DistributedSampler
from transformers import CLIPSegConfig, CLIPTokenizer

from medvlsm_training.check import check_items
from medvlsm_training.config import ModelConfig, Recipe
from medvlsm_training.data import PromptedImages, Sample, collate, training_texts
from medvlsm_training.init import init_from_scratch
from medvlsm_training.module import SegmentationModule
from medvlsm_training.sources import Item, read_source
from medvlsm_training.tokenizer import cut_tokenizer
from napari_medvlsm.core.io.folders import SPLITS
from napari_medvlsm.core.models.base import VLSM
from napari_medvlsm.core.models.clipseg import CLIPSeg
from napari_medvlsm.core.models.families import load_model
from napari_medvlsm.core.models.lora import LoraSettings, add_lora
from napari_medvlsm.core.models.registry import find_model
from napari_medvlsm.core.prompts import Vocabulary, load_vocabulary

_log = logging.getLogger(__name__)
LAST = "last.ckpt"


def read_items(recipe: Recipe, data: Path) -> dict[str, list[Item]]:
    """All items of a recipe by split, training images not yet repeated."""
    vocabulary = load_vocabulary()
    items: dict[str, list[Item]] = {split: [] for split in SPLITS}
    for source in recipe.sources:
        for split, found in read_source(data, source, vocabulary, "missing-file" in recipe.accept).items():
            items[split] += found
    return items


def train(recipe: Recipe, data: Path, run: Path, minutes: float | None = None) -> Path:
    """Train, or go on with, a run.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        Folder of the recipe's data sets.
    run : Path
        Folder of the run: checkpoints and curves. A checkpoint in it is continued, at the start of
        the epoch that it was written in.
    minutes : float, optional
        Stop after this time; the same call goes on later.

    Returns
    -------
    Path
        The last checkpoint.
    """
    vocabulary = load_vocabulary()
    items = read_items(recipe, data)
    refuse_misleading(recipe, items)
    seed_everything(recipe.seed, verbose=False)
    if len(items["train"]) < recipe.batch_size:
        raise ValueError(f"{len(items['train'])} training images are fewer than one batch of {recipe.batch_size}.")
    model = starting_model(recipe, items["train"] + items["val"], vocabulary)
    repeats = {source.folder: source.repeat for source in recipe.sources}
    train_items = [item for item in items["train"] for _ in range(repeats[item.source])]
    train_set = prompted(train_items, model, recipe, vocabulary, recipe.prompts_per_image)
    val_set = prompted(items["val"], model, recipe, vocabulary, 2, augment=False)
    steps = recipe.epochs * (len(train_items) // recipe.batch_size)
    module = SegmentationModule(model, recipe, steps)
    _log.info("%d training images an epoch, %d steps", len(train_items), steps)

    checkpoints = ModelCheckpoint(
        dirpath=run, filename="last", save_top_k=1, enable_version_counter=False, save_on_train_epoch_end=True
    )
    epochs = _Epochs(train_set, minutes)
    callbacks: list[Callback] = [EMAWeightAveraging(decay=recipe.ema_decay), checkpoints, epochs]
    trainer = Trainer(
        max_epochs=recipe.epochs,
        callbacks=callbacks,
        logger=CSVLogger(run, name="", version="curves"),
        gradient_clip_val=1.0,
        precision="bf16-mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "32-true",
        log_every_n_steps=min(20, len(train_items) // recipe.batch_size),
        enable_model_summary=False,
        deterministic=False,
    )
    # Unlike a shuffling loader, this sampler's order depends on seed and epoch alone, also after a resume.
    sampler: DistributedSampler[Sample] = DistributedSampler(train_set, 1, 0, shuffle=True, seed=recipe.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
        trainer.fit(
            module,
            DataLoader(train_set, recipe.batch_size, sampler=sampler, collate_fn=collate, drop_last=True),
            DataLoader(val_set, recipe.batch_size, collate_fn=collate),
            ckpt_path=run / LAST if (run / LAST).is_file() else None,
            weights_only=True,
        )
    return run / LAST


def refuse_misleading(recipe: Recipe, items: dict[str, list[Item]]) -> None:
    """Look at all the data; raise ValueError where training would mislead in a way the recipe does not accept."""
    report = check_items(recipe.name, items)
    for kind, count in report.counts().items():
        _log.info("data check: %d x %s, such as: %s", count, kind, report.of(kind)[0].sentence)
    report.refuse(recipe.accept)


def prompted(
    items: list[Item], model: VLSM, recipe: Recipe, vocabulary: Vocabulary, prompts: int, augment: bool = True
) -> PromptedImages:
    """The items as samples for a model."""
    return PromptedImages(
        items, vocabulary, model.image_size, model.mean, model.std, prompts, recipe.seed, augment=augment
    )


def starting_model(recipe: Recipe, items: list[Item], vocabulary: Vocabulary) -> VLSM:
    """The recipe's base, with adapters if it asks for them, or else a model with fresh weights.

    With adapters nothing else trains, but the decoder where the recipe says so.
    """
    if not recipe.base:
        return fresh_model(recipe, items, vocabulary)
    model = load_model(find_model(recipe.base).folder).train()
    if recipe.lora is not None:
        wanted = {k: v for k, v in asdict(recipe.lora).items() if k != "decoder"}
        add_lora(model, LoraSettings(**wanted))
        for name, parameter in model.named_parameters():
            if recipe.lora.decoder and not name.startswith(f"{model.ENCODERS}."):
                parameter.requires_grad_(True)
    return model


def fresh_model(recipe: Recipe, items: list[Item], vocabulary: Vocabulary) -> CLIPSeg:
    """The recipe's model with fresh weights and a tokenizer cut to the recipe's texts."""
    _, texts = training_texts(items, vocabulary)
    tokenizer = cut_tokenizer(texts | set(vocabulary.targets))
    model = CLIPSeg.from_config(clipseg_config(recipe.model, tokenizer), tokenizer, recipe.model.image_size)
    init_from_scratch(model)
    return model


def clipseg_config(sizes: ModelConfig, tokenizer: CLIPTokenizer) -> CLIPSegConfig:
    """The `transformers` configuration for the recipe's sizes; three taps, evenly spread."""
    third = sizes.layers // 3
    return CLIPSegConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": sizes.text_size,
            "intermediate_size": 4 * sizes.text_size,
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_heads,
            "max_position_embeddings": 77,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": sizes.hidden_size,
            "intermediate_size": 4 * sizes.hidden_size,
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "image_size": sizes.image_size,
            "patch_size": sizes.patch_size,
        },
        projection_dim=sizes.text_size,
        extract_layers=[third - 1, 2 * third - 1, sizes.layers - 1],
        reduce_dim=sizes.reduce_dim,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=sizes.decoder_mlp,
        use_complex_transposed_convolution=True,
    )


def load_averaged(checkpoint: Path, recipe: Recipe, items: dict[str, list[Item]]) -> VLSM:
    """The moving average of the weights of a run's checkpoint, as a model."""
    model = starting_model(recipe, items["train"] + items["val"], load_vocabulary())
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    model.load_state_dict({k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")})
    return model.eval()


class _Epochs(Callback):
    """Tells the data set the epoch, so that its draws differ and a resumed run repeats none; ends a round in time.

    Not Lightning's Timer, which counts the time of earlier rounds too.
    """

    def __init__(self, data: PromptedImages, minutes: float | None) -> None:
        self.data = data
        self._end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self._start = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.data.epoch = trainer.current_epoch
        self._start = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("epoch_seconds", time.monotonic() - self._start)
        if time.monotonic() >= self._end:
            trainer.should_stop = True
