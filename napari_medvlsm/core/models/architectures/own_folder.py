"""The folder of a family that `transformers` does not know: configuration, weights, tokenizer and preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from transformers import PreTrainedTokenizerBase

from napari_medvlsm.core.models.architectures.base import VLSM
from napari_medvlsm.core.models.architectures.preprocessing import Preprocessing
from napari_medvlsm.core.models.architectures.weights import (
    loading,
    read_config,
    read_weights,
    write_config,
    write_weights,
)
from napari_medvlsm.core.models.store.card import read_card


class OwnFolderVLSM(VLSM):
    """A family that is made of a configuration of ours, a tokenizer and the preprocessing of its images."""

    #: `model_type` in the folder's `config.json`.
    FAMILY: ClassVar[str]
    #: The dataclass of its sizes.
    CONFIG: ClassVar[type[Any]]
    TOKENIZER: ClassVar[type[PreTrainedTokenizerBase]]

    def __init__(self, config: Any, tokenizer: PreTrainedTokenizerBase, preprocessing: Preprocessing) -> None:
        super().__init__(tokenizer, preprocessing)
        if self.image_size % self.STRIDE:
            raise ValueError(f"The side of the images must be a multiple of {self.STRIDE}, but is {self.image_size}.")
        self.config = config

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load a folder written by `save`."""
        read_card(folder)
        with loading(folder):
            tokenizer = cls.TOKENIZER.from_pretrained(folder, local_files_only=True)
            preprocessing = Preprocessing.read(folder)
            model = cls(read_config(cls.CONFIG, folder), tokenizer, preprocessing)
            read_weights(model, folder)
        return model.eval()

    @classmethod
    def from_config(cls, config: Any, tokenizer: PreTrainedTokenizerBase, image_size: int = 0) -> Self:
        """A model with random weights; an `image_size` of 0 stands for `IMAGE_SIZE`."""
        return cls(config, tokenizer, cls.default_preprocessing(image_size or cls.IMAGE_SIZE))

    def save(self, folder: Path) -> None:
        """Write configuration, weights, tokenizer and preprocessing into `folder`."""
        write_config(self.config, folder, self.FAMILY)
        write_weights(self, folder)
        self.tokenizer.save_pretrained(folder)
        self.preprocessing.write(folder)
