"""The public weights that models can be made of: where they are, what they are, under which terms. Imports nothing.

Revisions and hashes were read off the hub's own pages; `None` means that it is not known, and what is fetched first is
then held to (see `hub`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HubFile:
    """A file of a repository.

    Attributes
    ----------
    name : str
    size : int
        Bytes, about: for the list only, before the hub is asked.
    sha256 : str, optional
    instead : str
        What is taken where the repository lacks it (at another revision than the pinned one).
    optional : bool
        Whether it may be missing.
    """

    name: str
    size: int
    sha256: str | None = None
    instead: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Repository:
    """A repository on the hub.

    Attributes
    ----------
    name : str
        Owner and name.
    revision : str, optional
        The commit that is fetched; None follows the default branch.
    licence, citation : str
    files : tuple of HubFile
    """

    name: str
    revision: str | None
    licence: str
    citation: str
    files: tuple[HubFile, ...]

    @property
    def folder(self) -> str:
        """Its folder among fetched files."""
        return self.name.replace("/", "--")

    @property
    def size(self) -> int:
        """Bytes to fetch, about."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Source:
    """A model that can be made of public weights.

    Attributes
    ----------
    name, title, summary : str
    family : str
        The key of the model family in `families.FAMILIES`.
    repositories : tuple of Repository
        The first holds the encoders; a second the decoder.
    untrained : str
        The part that starts at random and must be finetuned; "" if the model can be used as it is.
    """

    name: str
    title: str
    summary: str
    family: str
    repositories: tuple[Repository, ...]
    untrained: str = ""

    @property
    def size(self) -> int:
        """Bytes to fetch, about."""
        return sum(repository.size for repository in self.repositories)

    @property
    def licence(self) -> str:
        """Terms of all parts."""
        return " and ".join(dict.fromkeys(repository.licence for repository in self.repositories))

    @property
    def citation(self) -> str:
        """What to cite, for all parts."""
        return " ".join(repository.citation for repository in self.repositories)


CLIPSEG_RD64 = Repository(
    "CIDAS/clipseg-rd64-refined",
    "325a839908143a34b409ae6f2910fa015ea390e6",
    "Apache-2.0",
    "Lüddecke and Ecker: Image Segmentation Using Text and Image Prompts. CVPR 2022.",
    (
        HubFile("model.safetensors", 603_000_000, instead="pytorch_model.bin"),
        HubFile("config.json", 4_730),
        HubFile("preprocessor_config.json", 380),
        HubFile("vocab.json", 1_060_000),
        HubFile("merges.txt", 525_000),
        HubFile("tokenizer_config.json", 974),
        HubFile("special_tokens_map.json", 472, optional=True),
    ),
)
BIOMEDCLIP = Repository(
    "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
    "9f341de24bfb00180f1b847274256e9b65a3a32e",
    "MIT",
    "Zhang et al.: BiomedCLIP: a multimodal biomedical foundation model pretrained from fifteen million scientific "
    "image-text pairs. arXiv:2303.00915, 2023.",
    (
        HubFile(
            "open_clip_pytorch_model.bin",
            784_000_000,
            "52cc993c5c5ff962bd0c60931874bc001e7e9b41666a385530f4a036294576be",
            instead="open_clip_model.safetensors",
        ),
        HubFile("vocab.txt", 225_000),
        HubFile("tokenizer.json", 679_000),
        HubFile("tokenizer_config.json", 394),
        HubFile("special_tokens_map.json", 125, optional=True),
    ),
)
CLIP_RN50 = Repository(
    "timm/resnet50_clip.openai",
    "00fd56258d8020fda2c9a8b683cf883d477ad3eb",
    "MIT",
    "Radford et al.: Learning Transferable Visual Models From Natural Language Supervision. ICML 2021.",
    (HubFile("open_clip_model.safetensors", 408_000_000),),
)

SOURCES = {
    source.name: source
    for source in (
        Source(
            "clipseg",
            "CLIPSeg rd64",
            "Trained on photographs and free phrases; outlines scans as it is, better when finetuned.",
            "clipseg",
            (CLIPSEG_RD64,),
        ),
        Source(
            "cris",
            "CRIS on CLIP RN50 (finetune before use)",
            "CLIP's encoders with a random head: it outlines nothing sensible before it is finetuned. The checkpoint "
            "of its authors is on no hub.",
            "cris",
            (CLIP_RN50,),
            untrained="neck, decoder and projector",
        ),
        Source(
            "biomedclipseg",
            "BiomedCLIPSeg (finetune before use)",
            "BiomedCLIP's encoders with a random decoder: it outlines nothing sensible before it is finetuned.",
            "biomedclipseg",
            (BIOMEDCLIP,),
            untrained="decoder",
        ),
        Source(
            "biomedclipseg-d",
            "BiomedCLIPSeg-D (finetune before use)",
            "BiomedCLIP's encoders with CLIPSeg's decoder, which was trained on other encoders: it outlines nothing "
            "sensible before it is finetuned.",
            "biomedclipseg-d",
            (BIOMEDCLIP, CLIPSEG_RD64),
            untrained="decoder, on these encoders",
        ),
    )
}


def find_source(name: str) -> Source:
    """A source by its name.

    Raises
    ------
    ValueError
        If there is none; the sentence lists the known names.
    """
    if name not in SOURCES:
        raise ValueError(f"There are no public weights called {name!r}. Known: {', '.join(SOURCES)}.")
    return SOURCES[name]
