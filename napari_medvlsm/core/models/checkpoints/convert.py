"""Model folders out of what people have: checkpoints, `transformers` folders, and what `hub` fetched.

The folder is written under another name and renamed, so that it is there complete or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from transformers import (
    BertTokenizer,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPTokenizer,
    PreTrainedTokenizerBase,
)

from napari_medvlsm import __version__
from napari_medvlsm.core.io.atomic import making_folder, require_space
from napari_medvlsm.core.models.architectures.base import VLSM
from napari_medvlsm.core.models.architectures.biomedclipseg import BiomedCLIPSeg, BiomedCLIPSegConfig
from napari_medvlsm.core.models.architectures.clip_tokenizer import clip_tokenizer
from napari_medvlsm.core.models.architectures.clipseg import CLIPSeg, published_config
from napari_medvlsm.core.models.architectures.cris import CRIS, CRISConfig
from napari_medvlsm.core.models.architectures.limits import check_files, within_weights
from napari_medvlsm.core.models.architectures.preprocessing import Preprocessing
from napari_medvlsm.core.models.architectures.weights import (
    CONFIG_FILE,
    first_few,
    in_one_sentence,
    load_strict,
    read_config,
)
from napari_medvlsm.core.models.checkpoints.detect import INDEX_ENDING, Checkpoint, CheckpointKind, read_checkpoint
from napari_medvlsm.core.models.families import FAMILIES, IMPORTABLE
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.card import (
    ADAPTER_FILE,
    CARD_FILE,
    PREPROCESSING_FILE,
    WEIGHTS_FILE,
    ModelCard,
    kept_bases,
    read_card,
    write_card,
)
from napari_medvlsm.core.models.store.fetched import MANIFEST_FILE, read_fetched, sha256_of
from napari_medvlsm.core.models.store.naming import free_target_dir, target_dir
from napari_medvlsm.core.models.store.sources import BIOMEDCLIP, find_source
from napari_medvlsm.core.models.store.trained_on import read_trained, write_trained
from napari_medvlsm.core.plain_files import is_there, read_bytes, read_json

Tokenizer = TypeVar("Tokenizer", bound=PreTrainedTokenizerBase)
# Files of terms that `medvlsm package` writes into a model's folder.
_TERMS = ("LICENSE", "LICENSE.base")
# Thresholds other than 0.5 (the authors' of CRIS).
_THRESHOLDS = {"cris": 0.35}
# The public CRIS checkpoint was trained on texts of so many tokens.
_CRIS_WORDS = 17
# Kinds of weights that are encoders only, and plain numbers beside those of OpenAI's archives.
_ENCODERS = ("biomedclip", "clip-rn50")
_CLIP_NUMBERS = ("input_resolution", "context_length", "vocab_size")
# Sets of files that hold a tokenizer.
_CLIP_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_BERT_FILES = (("vocab.txt",), ("tokenizer.json",))
# Weights in a folder, in order of preference.
_WEIGHTS = (
    *(WEIGHTS_FILE, f"{WEIGHTS_FILE}{INDEX_ENDING}", "pytorch_model.bin", f"pytorch_model.bin{INDEX_ENDING}"),
    *("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
)
# Bytes that a model of a published size may take while it is made; the largest has 600 MB.
_PUBLISHED = 2 * 2**30
# Beside the weights a model folder holds some MB of tokenizer.
_BESIDE = 8_000_000


@dataclass(frozen=True)
class ImportOptions:
    """Options of an import.

    Attributes
    ----------
    family : str, optional
        Family of the model; needed where the names of the weights do not tell.
    tokenizer : Path, optional
        Folder with the tokenizer; CLIP's own is known, BERT's is not.
    like : Path, optional
        A model folder whose `config.json` (and preprocessing) hold instead of the published sizes.
    decoder : Path, optional
        A CLIPSeg checkpoint or folder that gives its decoder to BiomedCLIP's encoders.
    licence : str
        Terms of the weights.
    seed : int
        Of what starts at random.
    """

    family: str | None = None
    tokenizer: Path | None = None
    like: Path | None = None
    decoder: Path | None = None
    licence: str = "unknown"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.family is not None and self.family not in IMPORTABLE:
            raise ValueError(f"There is no model family {self.family!r} to import. Known: {', '.join(IMPORTABLE)}.")


def import_model(
    path: Path,
    name: str | None = None,
    options: ImportOptions | None = None,
    models: Path | None = None,
    replace_existing: bool = False,
) -> Path:
    """Make a model folder of a checkpoint, a `transformers` CLIPSeg folder, fetched files, or another model folder.

    Parameters
    ----------
    path : Path
    name : str, optional
        Of the new model; by default that of the file or of the source, or a free one like it.
    options : ImportOptions, optional
    models : Path, optional
        Where the model folders lie; by default the user's.
    replace_existing : bool
        Whether a model of this name may be replaced.

    Returns
    -------
    Path
        The new folder.

    Raises
    ------
    ModelExists
        If there is a model of the name that was given, and it is not to be replaced.
    ValueError
        If the path holds no weights of a known model, or they are damaged, incomplete or of another size, or the
        disk is too small; one sentence that says what to do.
    """
    # Before all is read: that takes a while.
    target = target_dir(name, models, replace_existing) if name else free_target_dir(path, models, replace_existing)
    model, card = _read(path, options or ImportOptions())
    bases = kept_bases(path, card)
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values()) * (1 + len(bases))
    require_space(target.parent, weights + _BESIDE)
    try:
        with making_folder(target, replace_existing) as folder:
            model.save(folder)
            write_card(replace(card, name=target.name), folder)
            _copy_beside(path, folder)
            for source, of in bases:
                base = folder / source.relative_to(path)
                load_model(source).save(base)
                write_card(of, base)
                _copy_beside(source, base)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{target} cannot be written: {error}") from error
    return target


def _copy_beside(source: Path, folder: Path) -> None:
    """Of a model's folder what is no part of the model: its terms, and which scans it was trained on."""
    if not is_there(source / CARD_FILE):
        return
    for name in _TERMS:
        if is_there(source / name):
            (folder / name).write_bytes(read_bytes(source / name))
    if scans := read_trained(source):
        write_trained(folder, dict.fromkeys(scans, ""))


def _read(path: Path, options: ImportOptions) -> tuple[VLSM, ModelCard]:
    if not path.is_dir():
        return _from_file(path, path.stem, options)
    if (path / MANIFEST_FILE).is_file():
        return _from_fetched(path, options)
    if (path / ADAPTER_FILE).is_file():
        raise ValueError(
            f"{path} holds only an adapter of another model; make a whole model of both with "
            "`medvlsm models merge FOLDER --name NAME`, or copy the folder beside your models as it is."
        )
    if (path / CARD_FILE).is_file():
        return load_model(path), read_card(path)
    return _from_file(_weights_file(path), path.name, _with_files_of(path, options))


def _with_files_of(path: Path, options: ImportOptions) -> ImportOptions:
    """The options with the configuration and tokenizer that lie in a folder, where no others are given."""
    own_tokenizer = options.tokenizer is None and (_has(path, _CLIP_FILES) or _has(path, _BERT_FILES))
    return replace(
        options,
        like=path if options.like is None and _is_clipseg(path) else options.like,
        tokenizer=path if own_tokenizer else options.tokenizer,
    )


def _from_file(path: Path, name: str, options: ImportOptions) -> tuple[VLSM, ModelCard]:
    checkpoint = read_checkpoint(path)
    kind = checkpoint.kind(options.family)
    family = options.family or _family(kind, path, options)
    with in_one_sentence(f"{path} cannot be imported"), within_weights(checkpoint.size, _PUBLISHED):
        for folder in dict.fromkeys((options.like, options.tokenizer)):
            if folder is not None and folder.is_dir():
                check_files(folder)
        model = _MAKERS[kind.name](checkpoint, family, options)
    beside = checkpoint.ignored
    ignored = f" Ignored {len(beside)} entries and classes beside the weights: {first_few(beside)}." if beside else ""
    title = f"{FAMILIES[family].title} from {path.name}"
    card = ModelCard(
        name=name,
        title=title,
        family=family,
        summary=f"Imported from {path.name}.{ignored}",
        base=checkpoint.origin,
        licence=options.licence,
        source=_source(checkpoint.files),
        threshold=_THRESHOLDS.get(family, 0.5),
        software_version=__version__,
        created=date.today().isoformat(),
    )
    if kind.name in _ENCODERS:
        card = replace(
            card,
            title=f"{title} (finetune before use)",
            summary=f"{card.summary} It has encoders only: it outlines nothing sensible before it is finetuned.",
            base=kind.title,
            training={"untrained": "all but the encoders"},
        )
    return model, card


def _from_fetched(path: Path, options: ImportOptions) -> tuple[VLSM, ModelCard]:
    """What `hub.fetch` left in a folder, after checking that it is whole."""
    fetched = read_fetched(path)
    source = find_source(fetched.source)
    encoders, *decoders = source.repositories
    # Exactly the files whose hashes are checked, whatever else may be there.
    decoder = path / fetched.weights(decoders[0]) if decoders else None
    options = replace(options, family=source.family, decoder=decoder)
    options = _with_files_of(path / encoders.folder, options)
    model, card = _from_file(path / fetched.weights(encoders), source.name, options)
    files = [{"file": name, "sha256": digest} for name, digest in fetched.files.items()]
    card = replace(
        card,
        name=source.name,
        title=source.title,
        summary=source.summary,
        base=" and ".join(f"{name} at {revision}" for name, revision in fetched.revisions.items()),
        licence=source.licence,
        citation=source.citation,
        source={"files": files, "repository": list(fetched.revisions), "revision": fetched.revisions},
        training={"untrained": source.untrained} if source.untrained else {},
    )
    return model, card


def _source(files: Sequence[Path]) -> dict[str, Any]:
    """Where weights come from, as in `ModelCard.source`."""
    found = [{"file": path.name, "sha256": sha256_of(path)} for path in files]
    return dict(found[0]) if len(found) == 1 else {"files": found}


def _family(kind: CheckpointKind, path: Path, options: ImportOptions) -> str:
    if kind.name == "biomedclip":
        return "biomedclipseg" if options.decoder is None else "biomedclipseg-d"
    if len(kind.families) > 1:
        raise ValueError(
            f"{path} is of {kind.title}, which differ in how their decoder started, and not in their names; say "
            f"which it is: {' or '.join(kind.families)} (--family)."
        )
    return kind.families[0]


def _clipseg(checkpoint: Checkpoint, family: str, options: ImportOptions) -> VLSM:
    if options.like is None:
        config = published_config()
    else:
        config = CLIPSegConfig.from_pretrained(options.like, local_files_only=True)
    tokenizer = _clip_tokenizer(options.tokenizer, config.text_config.vocab_size)
    model = CLIPSeg(CLIPSegForImageSegmentation(config), tokenizer, _preprocessing(CLIPSeg, options))
    return model.from_upstream_state_dict(checkpoint.named)


def _cris(checkpoint: Checkpoint, family: str, options: ImportOptions) -> VLSM:
    if options.like is not None:
        config = read_config(CRISConfig, options.like)
    else:
        positions = checkpoint.named.get("backbone.positional_embedding")
        stored = CRISConfig.context_length if positions is None else len(positions)
        config = CRISConfig(
            context_length=stored,
            word_length=min(stored, _CRIS_WORDS if checkpoint.parallel else CRISConfig.word_length),
            # Upstream's attention mask does not cover its padding, and its checkpoints were trained that way.
            attend_padding=checkpoint.lightning,
        )
    return _empty_cris(config, family, options).from_upstream_state_dict(checkpoint.named)


def _cris_from_clip(checkpoint: Checkpoint, family: str, options: ImportOptions) -> VLSM:
    """CLIP's encoders; what CRIS adds to them starts at random."""
    config = CRISConfig() if options.like is None else read_config(CRISConfig, options.like)
    model = _empty_cris(config, family, options)
    added = {name: value for name, value in model.backbone.state_dict().items() if ".attnpool.connect." in name}
    given = {name: value for name, value in checkpoint.named.items() if name not in _CLIP_NUMBERS}
    load_strict(model.backbone, added | given)
    return model


def _empty_cris(config: CRISConfig, family: str, options: ImportOptions) -> CRIS:
    tokenizer = _clip_tokenizer(options.tokenizer, config.vocab_size)
    with _seeded(options.seed):
        return CRIS(config, tokenizer, _preprocessing(CRIS, options))


def _biomedclipseg(checkpoint: Checkpoint, family: str, options: ImportOptions) -> VLSM:
    return _empty_biomedclipseg(family, options).from_upstream_state_dict(checkpoint.named)


def _biomedclipseg_from_clip(checkpoint: Checkpoint, family: str, options: ImportOptions) -> VLSM:
    """BiomedCLIP's encoders, with a random decoder or that of a CLIPSeg."""
    if family == "biomedclipseg-d" and options.decoder is None:
        raise ValueError("BiomedCLIPSeg-D starts with the decoder of a CLIPSeg; say where one is (--decoder).")
    model = _empty_biomedclipseg(family, options)
    named = {name: value for name, value in checkpoint.named.items() if not name.endswith("position_ids")}
    load_strict(model.biomedclip, named)
    if options.decoder is not None:
        path = _weights_file(options.decoder) if options.decoder.is_dir() else options.decoder
        named = read_checkpoint(path).named
        mark = "decoder."
        load_strict(model.decoder, {name.removeprefix(mark): v for name, v in named.items() if name.startswith(mark)})
    return model


def _empty_biomedclipseg(family: str, options: ImportOptions) -> BiomedCLIPSeg:
    config = BiomedCLIPSegConfig() if options.like is None else read_config(BiomedCLIPSegConfig, options.like)
    tokenizer = _bert_tokenizer(options.tokenizer, config.vocab_size)
    with _seeded(options.seed):
        return BiomedCLIPSeg(config, tokenizer, _preprocessing(BiomedCLIPSeg, options))


_MAKERS: dict[str, Callable[[Checkpoint, str, ImportOptions], VLSM]] = {
    "clipseg": _clipseg,
    "cris": _cris,
    "biomedclipseg": _biomedclipseg,
    "biomedclip": _biomedclipseg_from_clip,
    "clip-rn50": _cris_from_clip,
}


def _preprocessing(cls: type[VLSM], options: ImportOptions) -> Preprocessing:
    if options.like is not None and (options.like / PREPROCESSING_FILE).is_file():
        return Preprocessing.read(options.like)
    return cls.default_preprocessing(cls.IMAGE_SIZE)


def _clip_tokenizer(folder: Path | None, tokens: int) -> CLIPTokenizer:
    """CLIP's own tokenizer, or that of a folder."""
    if folder is None:
        return _fitting(clip_tokenizer(), tokens)
    place = _find(folder, _CLIP_FILES)
    if place is None:
        raise ValueError(f"{folder} holds no tokenizer of CLIP (tokenizer.json, or vocab.json and merges.txt).")
    return _fitting(CLIPTokenizer.from_pretrained(place, local_files_only=True), tokens)


def _bert_tokenizer(folder: Path | None, tokens: int) -> BertTokenizer:
    """BERT's tokenizer in a folder, or one above it."""
    place = None if folder is None else _find(folder, _BERT_FILES)
    if place is None:
        raise ValueError(
            "BiomedCLIP's vocabulary is in no checkpoint; say where a folder with its vocab.txt is (--tokenizer; "
            f"it is one of the files of {BIOMEDCLIP.name}; `medvlsm models fetch biomedclipseg --to FOLDER` brings it)."
        )
    return _fitting(BertTokenizer.from_pretrained(place, local_files_only=True), tokens)


def _fitting(tokenizer: Tokenizer, tokens: int) -> Tokenizer:
    if len(tokenizer) != tokens:
        raise ValueError(f"the tokenizer knows {len(tokenizer)} tokens, but the weights {tokens}; they do not belong.")
    return tokenizer


def _find(folder: Path, files: tuple[tuple[str, ...], ...]) -> Path | None:
    """The folder, or one in it, that holds all files of one of the sets."""
    below = sorted(inside for inside in folder.glob("*") if inside.is_dir())
    return next((place for place in (folder, *below) if _has(place, files)), None)


def _has(folder: Path, files: tuple[tuple[str, ...], ...]) -> bool:
    return any(all((folder / name).is_file() for name in names) for names in files)


def _weights_file(folder: Path) -> Path:
    found = next((folder / name for name in _WEIGHTS if is_there(folder / name)), None)
    if found is None:
        raise ValueError(f"The folder {folder} holds no weights ({', '.join(_WEIGHTS)}); give the file itself.")
    return found


def _is_clipseg(folder: Path) -> bool:
    if not is_there(folder / CONFIG_FILE):
        return False
    config = read_json(folder / CONFIG_FILE)
    return isinstance(config, dict) and config.get("model_type") == "clipseg"


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers from a seed, and those of the caller as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
