"""The configuration of a training run. A recipe is a YAML file whose keys are the fields below; `recipes` reads it."""

from __future__ import annotations

from dataclasses import asdict, field, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from napari_medvlsm.core.datasets.source import SourceConfig as SourceConfig
from napari_medvlsm.core.models.store.adapter import LoraSettings
from napari_medvlsm.core.prompts import LEVELS
from napari_medvlsm.core.runs.epochs import epochs_for

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
# Ranges of numbers; the upper bounds are far above what is of use, and below what no computer could do.
_Count: TypeAlias = Annotated[int, Field(ge=0, le=10**9)]
_Some: TypeAlias = Annotated[int, Field(ge=1, le=10**6)]
_Side: TypeAlias = Annotated[int, Field(ge=0, le=4096)]
_Part: TypeAlias = Annotated[float, Field(ge=0, le=1)]
_BelowOne: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
_Weight: TypeAlias = Annotated[float, Field(ge=0, le=1000)]
_Zoom: TypeAlias = Annotated[float, Field(ge=0.1, le=10)]
IMAGE_ONLY = "image-only"
# Kinds of prompts beside the levels; see `PromptConfig.mix`.
RANDOM, TYPED, SYNONYM, ATTRIBUTES = "random", "typed", "synonym", "attributes"
KINDS = (*LEVELS, RANDOM, TYPED, SYNONYM, ATTRIBUTES)
# Among the folders of a replay: the scans that ship with the starter.
SHIPPED_REPLAY = "shipped"
# Whose wording prompts have.
INTERFACE, UPSTREAM = "interface", "upstream"


@dataclass(frozen=True, config=_STRICT)
class LoraConfig:
    """Adapters that train instead of the weights of the encoders; fields as in `core.models.lora.LoraSettings`."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 8
    alpha: Annotated[float, Field(gt=0, le=1e4)] = 16.0
    dropout: _BelowOne = 0.0
    encoders: tuple[str, ...] = ("vision", "text")
    projections: tuple[str, ...] = ("query", "value")

    def __post_init__(self) -> None:
        LoraSettings(**asdict(self))


@dataclass(frozen=True, config=_STRICT)
class ModelConfig:
    """What is trained, and from where.

    Attributes
    ----------
    family : str
        "clipseg", "cris", "biomedclipseg", "biomedclipseg-d", "wordunet", or "image-only" for a baseline that ignores
        text.
    base : str
        Name or folder of the model to start from; "" for random weights in `sizes`.
    trained : str
        "all", "decoder" (the encoders stay as they are: their activations can be kept, see `CacheConfig`), or "lora":
        adapters in the encoders, and the decoder.
    lora : LoraConfig
        For `trained: lora`.
    image_size : int
        Rows and columns of the input; 0 for the base's own. Must be given with random weights.
    sizes : mapping
        Without a base: sizes of the family, see `models.ClipSegSizes`, `core.models.cris.CRISConfig` and
        `core.models.image_only.ImageOnlyConfig`. With one: what no weight depends on, which is how a CRIS reads
        (`word_length`, up to the positions that it has, and `attend_padding`).
    encoder_weights : str
        ImageNet weights that an image encoder of `segmentation_models_pytorch` starts from: "package" (an installed
        one), "library" (the library's own, fetched once) or a file; "" for random ones. See `pretrained`.
    least_change : bool
        Whether weights between the base's and the trained ones are kept where they validate as well; see
        `least_change`.
    keep_base : bool
        Whether the model's folder keeps the base, which then answers for the targets that the run does not train; see
        `core.kept_base`. A base that was trained on no target is not kept.
    norms : str
        "trained", or "kept": batch normalisation goes on by the base's statistics, not by those of a few scans.
    stored : str
        Number format of the packaged weights: "float32", or "float16" at half the size. They are rounded before
        anything is measured.
    """

    family: Literal["clipseg", "cris", "biomedclipseg", "biomedclipseg-d", "wordunet", "image-only"] = "clipseg"
    base: str = ""
    trained: Literal["all", "decoder", "lora"] = "all"
    lora: LoraConfig = field(default_factory=LoraConfig)
    image_size: _Side = 0
    sizes: dict[str, Any] = field(default_factory=dict)
    encoder_weights: str = ""
    least_change: bool = False
    keep_base: bool = False
    norms: Literal["trained", "kept"] = "trained"
    stored: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        if self.encoder_weights and self.base:
            raise ValueError("A base has its own encoder: leave out encoder_weights, or the base.")
        if self.trained != "all" and not self.base:
            raise ValueError(f"trained: {self.trained} keeps weights of a trained model: name it as base.")
        if self.norms == "kept" and not self.base:
            raise ValueError("norms: kept needs a base, whose statistics are kept.")
        if self.least_change and (not self.base or self.trained == "lora"):
            raise ValueError("least_change needs a base, and trains its own weights and not adapters.")
        if self.keep_base and (not self.base or self.trained == "lora" or self.image_size):
            raise ValueError(
                "keep_base needs a base, trains its own weights and not adapters, and takes images of its size (set "
                "model.image_size to 0, or model.keep_base to false)."
            )
        if not self.base and not self.image_size:
            raise ValueError("A model without a base needs an image_size.")
        if not self.base and self.family.startswith("biomedclipseg"):
            raise ValueError(f"{self.family} is made of public encoders and needs a base.")


@dataclass(frozen=True, config=_STRICT)
class PromptConfig:
    """Prompts of training. An image-only model gets the name of each target instead.

    Attributes
    ----------
    mix : mapping of kind to weight
        Kinds are the levels "p0" to "p9"; "random": for every access one of the item's levels but P0, as
        upstream does; "typed": the text `typed`; "synonym": another name of the target; "attributes": the name with
        whatever is known of the target, each attribute left out with `attribute_dropout`. Where a level has a list of
        sentences, one is sampled.
    wording : str
        "interface", or "upstream": the annotation files' prompts to the letter.
    typed : str
    per_image : int
        Prompts that are decoded for each encoded image; 0: one for each of its masks.
    per_mask : bool
        Show an image with several masks once for each of them, as the paper does, rather than once.
    attribute_dropout : float
        How often an attribute is left out of a prompt of the interface's wording.
    wrong : float
        Part of the prompts that name a wrong side or size (where there is an opposite): the true mask is empty.
    absent : float
        Part of the prompts that name something else: the true mask is empty. Images of an unknown kind of scan have
        none; what scans of the same kind show in the run is never named.
    absent_same : float
        Part of these, nonsense words apart, that name something which such a scan cannot show (the vocabulary's
        `absent`), rather than a target of another kind of scan.
    absent_described : float
        Part of those that name a target of another kind of scan which give it a place and a size too.
    opposed : bool
        Whether each image has a further pair of prompts, a true sentence and the same with the opposite side or size
        (where there is an opposite), for `LossConfig.opposition`.
    negatives_start_epoch : int
        Epochs of training before any prompt is `wrong` or `absent`: where to look is learned faster before when not to.
    templates : tuple of str
        Phrases with a "{}" in which a prompt may stand, such as "outline the {}".
    template_prob : float
        Probability that a prompt, unless its attribute is wrong, stands in one of them (if there are any).
    nonsense_prob : float
        Probability that a prompt in a template has words of random letters before it, and that it has some after it, so
        that the model learns to ignore words that no training has seen; and part of the absent targets that are such
        words.
    validation : str
        Kind of the prompts of the validation; "" for the mix. They depend on the image and the seed alone.
    """

    mix: dict[str, _Weight] = field(default_factory=lambda: {"p1": 1.0})
    wording: Literal["interface", "upstream"] = "interface"
    typed: str = ""
    per_image: Annotated[int, Field(ge=0, le=100)] = 1
    per_mask: bool = False
    attribute_dropout: _Part = 0.0
    wrong: _Part = 0.0
    absent: _Part = 0.0
    absent_same: _Part = 0.5
    absent_described: _Part = 0.0
    opposed: bool = False
    negatives_start_epoch: _Count = 0
    templates: tuple[str, ...] = ()
    template_prob: _Part = 0.0
    nonsense_prob: _Part = 0.0
    validation: str = ""

    def __post_init__(self) -> None:
        for kind in (*self.mix, *([self.validation] if self.validation else ())):
            if kind not in KINDS:
                raise ValueError(f"There is no kind of prompt {kind!r}; there are {', '.join(KINDS)}.")
        if not any(self.mix.values()):
            raise ValueError(f"The weights of the prompts must not all be 0, but are {self.mix}.")
        if (TYPED in self.mix or self.validation == TYPED) and not self.typed.strip():
            raise ValueError("The prompts are to be typed, but `typed` is empty.")
        if self.wrong + self.absent >= 1:
            raise ValueError("With wrong and absent at 1 together no prompt would ask for what is there.")
        if self.wording == UPSTREAM and (self.attribute_dropout or {SYNONYM, ATTRIBUTES} & {*self.mix}):
            raise ValueError("Upstream's wording is taken to the letter: no synonyms, no attributes left out.")
        if bad := [template for template in self.templates if template.count("{}") != 1]:
            raise ValueError(f"A template holds one '{{}}' for the prompt, but {bad[0]!r} does not.")


@dataclass(frozen=True, config=_STRICT)
class AugmentationConfig:
    """Augmentation that keeps prompts true: attributes are measured again on the augmented mask.

    Attributes
    ----------
    degrees, shift, shear : float
        Largest turn in degrees, shift as a part of the side, shear in degrees.
    zoom : tuple of two floats
        Smallest and largest; below 1 the image becomes smaller.
    flip : bool
        Mirror both ways, but never an image with a lateralised target.
    brightness, contrast, saturation, hue : float
        As in `torchvision.transforms.ColorJitter`.
    mosaic : float
        Part of the images that share their frame with another one of the same target, so that the words alone tell
        which of two is meant; see `mosaics`. An image with a lateralised target, or without any, never does.
    paste : float
        Part of the mosaics in which the image keeps its frame, and only the other's lesion is put into it.
    """

    degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    shift: _Part = 0.0
    shear: Annotated[float, Field(ge=0, lt=90)] = 0.0
    zoom: tuple[_Zoom, _Zoom] = (1.0, 1.0)
    flip: bool = False
    brightness: _Part = 0.0
    contrast: _Part = 0.0
    saturation: _Part = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    mosaic: _Part = 0.0
    paste: _Part = 0.0

    def __post_init__(self) -> None:
        if self.zoom[0] > self.zoom[1]:
            raise ValueError(f"zoom goes from the smaller to the larger, but is {list(self.zoom)}.")


@dataclass(frozen=True, config=_STRICT)
class LossConfig:
    """`dice` times soft Dice plus `bce` times binary cross-entropy; the mean over an image's prompts, then over images.

    `smooth` is added above and below in the Dice term: 1e-5 upstream; one pixel makes an empty mask pull
    the answer to zero.

    `opposition` times the loss of the pairs of `PromptConfig.opposed` is added: that on the true region the right
    sentence wins over the wrong one, by some logits (`opposition_lead`); see `opposition`.

    `consistency` times the loss of answers that differ though their prompts mean the same is added; see `consistency`.

    `presence` times the loss of the presence score is added to each prompt's; see `losses.presence_loss`.
    """

    dice: _Weight = 1.0
    bce: _Weight = 1.0
    smooth: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    opposition: _Weight = 0.0
    opposition_lead: _Weight = 2.0
    consistency: _Weight = 0.0
    presence: _Weight = 0.0

    def __post_init__(self) -> None:
        if not self.dice and not self.bce:
            raise ValueError("With loss.dice and loss.bce at 0 nothing would be learned of the masks.")


@dataclass(frozen=True, config=_STRICT)
class OptimizerConfig:
    """The optimizer and its schedule.

    Attributes
    ----------
    name : str
        "adamw" (no decay on biases, norms and embeddings) or "adam".
    learning_rate, weight_decay : float
    encoder_rate : float
        Times `learning_rate`: that of an image encoder with `ModelConfig.encoder_weights`.
    decay_all : bool
        Decay every weight, as upstream does.
    schedule : str
        "cosine" (after a warm-up over `warmup` of all steps, to zero at `TrainerConfig.max_epochs`), "plateau" (times
        `plateau_factor` when the validation loss has not fallen for `plateau_patience` epochs), or "constant".
    clip : float
        Largest norm of all gradients together; 0 for none.
    ema : float
        Decay of the moving average of the weights, which is what is then validated and kept; 0 for none.
    """

    name: Literal["adamw", "adam"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    encoder_rate: Annotated[float, Field(ge=0, le=100)] = 1.0
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.05
    decay_all: bool = False
    betas: tuple[_BelowOne, _BelowOne] = (0.9, 0.999)
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    warmup: _BelowOne = 0.05
    plateau_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    plateau_patience: _Count = 5
    clip: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    ema: _BelowOne = 0.999


@dataclass(frozen=True, config=_STRICT)
class TrainerConfig:
    """Epochs, batches and precision.

    Attributes
    ----------
    batch_size : int
        Images a step in each process.
    accumulate : int
        Batches a step.
    drop_last : bool
        Leave out the last batch of an epoch where it is smaller than the others.
    min_epochs, max_epochs : int
        With a `max_epochs` of 0 nothing trains: the base is measured as it is.
    max_images : int
        Training images that all epochs together show at most (but one epoch at least), so that a large set gets fewer
        epochs than a small one; 0 for as many as `max_epochs` says.
    patience : int
        Epochs without a better validation Dice (by `min_delta`) after which training stops; 0: never.
    early_size, early_epochs : int
        The first `early_epochs` epochs see images of side `early_size`, the others of the model's own.
    precision : str
        "auto" (bfloat16 where the device has it, else float32) or a precision of Lightning's Trainer.
    workers : int
        Processes that read images.
    keep_scans : bool
        Keep the scans in memory at the model's size, in each of these: some 150 MB for 1000 at 192 pixels.
    threshold : float
        At which the validation Dice is taken.
    tune_threshold : bool
        Whether the finished model's threshold is chosen on the validation scans; else it is `threshold`.
    count_empty : bool
        Count empty masks in the validation Dice too, as 1 where nothing is predicted and as 0 otherwise.
    """

    batch_size: _Some = 16
    accumulate: _Some = 1
    drop_last: bool = True
    min_epochs: _Count = 1
    max_epochs: _Count = 20
    max_images: _Count = 0
    patience: _Count = 0
    min_delta: _Part = 1e-4
    early_size: _Side = 0
    early_epochs: _Count = 0
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "auto"
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    keep_scans: bool = False
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    tune_threshold: bool = True
    count_empty: bool = False

    def __post_init__(self) -> None:
        if self.early_epochs and not self.early_size:
            raise ValueError("early_epochs needs an early_size above 0.")
        if self.min_epochs > self.max_epochs > 0:
            raise ValueError(f"min_epochs ({self.min_epochs}) is above max_epochs ({self.max_epochs}).")

    def for_images(self, images: int) -> TrainerConfig:
        """The same with the epochs that `max_images` leaves to a run whose epochs show so many images."""
        if not self.max_images or not self.max_epochs:
            return self
        epochs = epochs_for(images, self.max_epochs, self.max_images, self.min_epochs)
        early = round(self.early_epochs * epochs / self.max_epochs)
        return replace(self, max_epochs=epochs, early_epochs=early)


@dataclass(frozen=True, config=_STRICT)
class CacheConfig:
    """Activations of frozen encoders, kept on disk.

    Attributes
    ----------
    views : int
        Augmented views of each image that are kept and shown in turn, epoch by epoch; 0 turns the cache off. Without
        augmentation one is all there is.
    limit_gb : float
        Disk (1e9 bytes) that the activations of all runs together may take: those not used for longest make room; what
        then does not fit is encoded every time.
    """

    views: Annotated[int, Field(ge=0, le=1000)] = 0
    limit_gb: Annotated[float, Field(gt=0, le=1e6)] = 20.0


@dataclass(frozen=True, config=_STRICT)
class ReplayConfig:
    """Earlier scans beside the new ones, so that what the base knew is not forgotten.

    Attributes
    ----------
    share : float
        Part of the images of each epoch that are such, at most 0.9; 0 for none.
    folders : tuple of str
        Data sets whose training split is replayed: folders, or names inside the data folder. "shipped" stands for
        the scans that come with the starter, which are of its own training. What the run validates or tests is never
        replayed.
    """

    share: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    folders: tuple[str, ...] = (SHIPPED_REPLAY,)

    def __post_init__(self) -> None:
        if self.share and not self.folders:
            raise ValueError("replay.share needs replay.folders; for none, set replay.share to 0.")


@dataclass(frozen=True, config=_STRICT)
class MeasureConfig:
    """Evaluation of the best model on the test split after training, for its card and report.

    Attributes
    ----------
    kinds : tuple of str
        "class", "oracle", "annotated", "wrong side", "wrong size", "paraphrase", "other", "absent"; see
        `core.runs.prompt_kinds.PromptKind`. Oracle and wrong prompts need a set with annotations.
    levels : tuple of str
        Of oracle, annotated and wrong prompts: "p0" to "p9", or "random". By default those that the recipe trains
        with, or p6 where its prompts are made otherwise; see `Recipe.measured_levels`.
    file_names : bool
        Whether results and report name files and groups as they were found. By default they hold hashes of the images
        and numbers of the groups: names often are those of patients.
    """

    kinds: tuple[
        Literal["class", "oracle", "annotated", "wrong side", "wrong size", "paraphrase", "other", "absent"], ...
    ] = ("class", "oracle", "absent")
    levels: tuple[str, ...] = ()
    file_names: bool = False

    def __post_init__(self) -> None:
        if "class" not in self.kinds:
            raise ValueError('measure.kinds must hold "class": the card\'s Dice is that of the name alone.')
        if unknown := {*self.levels} - {*LEVELS, RANDOM}:
            raise ValueError(f"measure.levels are p0 to p9 and {RANDOM}, but not {min(unknown)!r}.")


@dataclass(frozen=True, config=_STRICT)
class Recipe:
    """A whole training run.

    Attributes
    ----------
    name, title, summary, licence : str
        For the model card.
    sources : tuple of SourceConfig
    model, prompts, augmentation, loss, optimizer, trainer, cache, replay, measure
    seed : int
    accept : tuple of str
        Kinds of findings of the data check (`napari_medvlsm.core.datasets.check.KINDS`) with which to train knowingly;
        with "missing-file", what is missing is passed over.
    """

    name: str
    title: str
    summary: str
    licence: str
    sources: tuple[SourceConfig, ...]
    model: ModelConfig
    prompts: PromptConfig = field(default_factory=PromptConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    measure: MeasureConfig = field(default_factory=MeasureConfig)
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    accept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("A recipe needs at least one source.")
        folders = [source.folder for source in self.sources]
        if twice := {folder for folder in folders if folders.count(folder) > 1}:
            raise ValueError(f"The source {min(twice)} stands in the recipe twice; name it once, with all its targets.")
        if not self.trainer.max_epochs and not self.model.base:
            raise ValueError("max_epochs: 0 measures the base as it is, but this recipe's model has none.")
        if self.trainer.max_epochs and all(source.tested_only for source in self.sources):
            raise ValueError("All sources are tested_only, so there is nothing to train on.")
        if self.model.family == IMAGE_ONLY:
            # The model ignores text, so every prompt is the name of a plane, whatever the recipe's prompts.
            object.__setattr__(self, "prompts", PromptConfig(per_image=0))
            object.__setattr__(self, "loss", replace(self.loss, opposition=0.0))
            object.__setattr__(self, "augmentation", replace(self.augmentation, mosaic=0.0))
            # Its planes are those of its own targets.
            object.__setattr__(self, "replay", replace(self.replay, share=0.0))
        if self.cache.views and self.model.trained != "decoder":
            raise ValueError(
                f"Activations can be kept only of encoders that stay as they are, but this recipe trains "
                f"{self.model.trained}; set model.trained to decoder or cache.views to 0."
            )
        if self.cache.views and self.model.family == IMAGE_ONLY:
            raise ValueError("Activations of an image-only model cannot be kept; set cache.views to 0.")
        if self.cache.views and self.augmentation.mosaic and self.augmentation.paste:
            raise ValueError(
                "Activations of pasted lesions cannot be kept; set augmentation.paste or cache.views to 0."
            )
        if self.prompts.opposed != bool(self.loss.opposition):
            raise ValueError("prompts.opposed and loss.opposition go together: set both or neither.")
        if self.cache.views and self.trainer.early_epochs:
            raise ValueError(
                "Activations are kept of images of the model's own size only; set trainer.early_epochs or cache.views "
                "to 0."
            )

    @property
    def measured_levels(self) -> tuple[str, ...]:
        """Levels of the test's prompts: those of `measure`, else those trained with, else p6.

        The name alone is asked anyway; who trained with it, in our own wording, is asked for attributes at p6.
        """
        if self.measure.levels:
            return self.measure.levels
        levels = tuple(kind for kind in self.prompts.mix if kind in (*LEVELS, RANDOM))
        if len(levels) < len(self.prompts.mix) or (levels == ("p1",) and self.prompts.wording == INTERFACE):
            return ("p6",)
        return levels


def as_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values, for the card: without the names of files, and of paths the last part alone."""
    values: dict[str, Any] = asdict(recipe)
    for key in ("base", "encoder_weights"):
        values["model"][key] = PureWindowsPath(values["model"][key]).name
    for source in values["sources"]:
        folder = source["folder"]
        absolute = PurePosixPath(folder).is_absolute() or PureWindowsPath(folder).is_absolute()
        source |= {"folder": PureWindowsPath(folder).name if absolute else folder, "leave_out": []}
    values["replay"]["folders"] = tuple(PureWindowsPath(folder).name for folder in recipe.replay.folders)
    return values
