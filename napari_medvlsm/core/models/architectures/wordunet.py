"""WordUNet: a UNet of one image, and beside it a narrow one of each prompt that meets the words at every scale.

The idea, text at every scale of the decoder rather than once at its start, is that of VoxTell (3D); the shapes are our
own. What is wide is computed once an image, what is computed for each prompt is narrow, so further prompts cost little:

- an encoder of `segmentation_models_pytorch` and a UNet's decoder give planes of four scales, S / 16 to S / 2;
- the words of a prompt attend to one another and to the coarsest level of the image, and become one vector;
- at each scale the vector is turned into guides: weights of the plane's channels (and of x and y) that mix it to maps;
- a narrow decoder carries these maps from coarse to fine. Every scale adds its own logits to those of the coarser
  ones, so each of them is trained by the loss itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import CLIPTokenizer

from napari_medvlsm.core.models.architectures.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Activations,
    Attention,
    Conditions,
    projections,
)
from napari_medvlsm.core.models.architectures.cris_decoder import plane_positions
from napari_medvlsm.core.models.architectures.own_folder import OwnFolderVLSM
from napari_medvlsm.core.models.architectures.preprocessing import Preprocessing
from napari_medvlsm.core.models.architectures.smp_encoder import smp_encoder

# What fills a text up to the longest of its batch: the id of no token.
PADDING_ID = -1
# Scales of both decoders: S / 16, S / 8, S / 4 and S / 2.
_SCALES = 4


@dataclass(frozen=True)
class WordUNetConfig:
    """Sizes; the defaults are those of the starter.

    Attributes
    ----------
    vision : str
        Name of an encoder of `segmentation_models_pytorch` with five levels.
    image_widths : tuple of int
        Channels of the image's planes, from coarse to fine.
    prompt_widths : tuple of int
        Channels of the prompt's, likewise.
    guides : int
        Maps that the words mix of each plane.
    width, heads : int
        Of the transformers of the text and of the prompt.
    text_layers, prompt_layers : int
        Of the text alone, and of the text with the image.
    vocab_size, context_length : int
        Tokens, and the longest text in tokens.
    """

    vision: str = "tu-tf_efficientnet_lite0"
    image_widths: tuple[int, ...] = (96, 64, 40, 24)
    prompt_widths: tuple[int, ...] = (32, 32, 24, 16)
    guides: int = 8
    width: int = 64
    heads: int = 4
    text_layers: int = 2
    prompt_layers: int = 2
    vocab_size: int = 49408
    context_length: int = 48

    def __post_init__(self) -> None:
        for name in ("image_widths", "prompt_widths"):
            if len(getattr(self, name)) != _SCALES:
                raise ValueError(f"{name} are {_SCALES} numbers, from coarse to fine, but {list(getattr(self, name))}.")
        if self.width % self.heads or self.width % 4:
            raise ValueError(
                f"width must be a multiple of heads and of 4, but is {self.width} with {self.heads} heads."
            )


class WordUNet(OwnFolderVLSM):
    """A library encoder, a UNet of the image, a small text transformer, and a narrow decoder for each prompt.

    Parameters
    ----------
    config : WordUNetConfig
    tokenizer : CLIPTokenizer
    preprocessing : Preprocessing
        The side of its squares is a multiple of 32.

    Raises
    ------
    ValueError
        If the side is not, or the library has no such encoder.
    """

    MEAN, STD = IMAGENET_MEAN, IMAGENET_STD
    FAMILY, CONFIG, TOKENIZER, IMAGE_SIZE = "wordunet", WordUNetConfig, CLIPTokenizer, 192
    ENCODERS = "encoders"
    config: WordUNetConfig
    STRIDE = 32

    def __init__(self, config: WordUNetConfig, tokenizer: CLIPTokenizer, preprocessing: Preprocessing) -> None:
        super().__init__(config, tokenizer, preprocessing)
        image = smp_encoder(config.vision)
        *finer, coarse = image.out_channels[1:]
        self.encoders = nn.ModuleDict({"image": image, "text": TextTower(config)})
        self.planes = ImageDecoder(coarse, finer[::-1], config)
        self.prompt = PromptDecoder(config)
        self.decoder = MaskDecoder(config)

    @property
    def attention(self) -> Attention:
        """Names of the projections of the text transformer; a convolutional encoder has none."""
        blocks = [f"encoders.text.layers.{i}.attention" for i in range(self.config.text_layers)]
        return {
            "vision": projections([], query="", key="", value="", output=""),
            "text": projections(blocks, query="query", key="key", value="value", output="out"),
        }

    def encode_image(self, pixels: Tensor) -> Activations:
        """All that is known of images before any word.

        Parameters
        ----------
        pixels : (B, 3, S, S)

        Returns
        -------
        Tokens (B, N, D) of the coarsest level, then planes (B, C, side, side) of sides S / 16, S / 8, S / 4 and S / 2.
        """
        return self.complete(self.encode_frozen(pixels))

    def encode_frozen(self, pixels: Tensor) -> Activations:
        """The encoder's five levels, from fine to coarse."""
        levels: list[Tensor] = self.encoders["image"](pixels)[1:]
        return tuple(levels)

    def complete(self, encoded: Activations) -> Activations:
        """The image's own decoder, which needs no text but trains with it."""
        planes: Activations = self.planes(encoded)
        return planes

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (P, T), padded with `PADDING_ID`."""
        tokens = self.tokenizer(list(texts), truncation=True, max_length=self.config.context_length)["input_ids"]
        return pad_sequence([torch.tensor(row) for row in tokens], batch_first=True, padding_value=PADDING_ID)

    def encode_tokens(self, ids: Tensor) -> Conditions:
        """Mean of the words (P, D), words (P, T, D) and padding (P, T)."""
        padding = ids == PADDING_ID
        words = self.encoders["text"](ids.clamp(min=0), padding)
        return Conditions(_mean(words, padding), words, padding)

    def decode(self, activations: Activations, conditions: Conditions) -> Tensor:
        """Logits (P, S, S)."""
        assert conditions.words is not None and conditions.padding is not None
        tokens, *planes = activations
        asked = self.prompt(conditions.words, conditions.padding, tokens)
        logits: Tensor = self.decoder(planes, asked)
        return _double(logits)[:, 0]


class MultiHeadAttention(nn.Module):
    """Attention of several heads, of four layers that adapters can be put on."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, to: Tensor, padding: Tensor | None = None) -> Tensor:
        """What each of (P, T, D) finds in (P, N, D), of which those where `padding` (P, N) is true are passed over."""
        pairs = ((self.query, x), (self.key, to), (self.value, to))
        q, k, v = (layer(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer, y in pairs)
        mask = None if padding is None else ~padding[:, None, None, :]
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        found: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return found


class _TextLayer(nn.Module):
    """Attention among the words and an MLP, each normalised before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width), MultiHeadAttention(width, heads)
        self.mlp = _mlp(width)

    def forward(self, words: Tensor, padding: Tensor) -> Tensor:
        x = self.norm(words)
        words = words + self.attention(x, x, padding)
        changed: Tensor = words + self.mlp(words)
        return changed


class TextTower(nn.Module):
    """A transformer of the text alone."""

    def __init__(self, config: WordUNetConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding = nn.Embedding(config.context_length, config.width)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.normal_(self.position_embedding.weight, std=0.02)
        self.layers = nn.ModuleList(_TextLayer(config.width, config.heads) for _ in range(config.text_layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ids: Tensor, padding: Tensor) -> Tensor:
        """Ids (P, T) to words (P, T, D)."""
        words = self.embedding(ids) + self.position_embedding.weight[: ids.shape[1]]
        for layer in self.layers:
            words = layer(words, padding)
        states: Tensor = self.norm(words)
        return states


class _PromptLayer(nn.Module):
    """Attention among the words, attention to the image, and an MLP, each normalised before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.own = _TextLayer(width, heads)
        self.norm, self.attention = nn.LayerNorm(width), MultiHeadAttention(width, heads)

    def forward(self, words: Tensor, padding: Tensor, tokens: Tensor) -> Tensor:
        words = words + self.attention(self.norm(words), tokens)
        changed: Tensor = self.own(words, padding)
        return changed


class PromptDecoder(nn.Module):
    """One vector of each prompt: its words after they have seen the image."""

    def __init__(self, config: WordUNetConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_PromptLayer(config.width, config.heads) for _ in range(config.prompt_layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, words: Tensor, padding: Tensor, tokens: Tensor) -> Tensor:
        """Words (P, T, D), padding (P, T) and the image's tokens (P, N, D) to (P, D)."""
        for layer in self.layers:
            words = layer(words, padding, tokens)
        asked: Tensor = self.norm(_mean(words, padding))
        return asked


class ImageDecoder(nn.Module):
    """A UNet's decoder, and the coarsest level as tokens.

    Parameters
    ----------
    coarse : int
        Channels of the encoder's coarsest level.
    finer : sequence of int
        Of the others, from coarse to fine.
    config : WordUNetConfig
    """

    def __init__(self, coarse: int, finer: Sequence[int], config: WordUNetConfig) -> None:
        super().__init__()
        self.tokens = nn.Sequential(nn.Conv2d(coarse, config.width, 1), nn.GroupNorm(1, config.width))
        before = [2 * config.image_widths[0], *config.image_widths[:-1]]
        self.start = _conv(coarse, before[0], 1)
        sizes = zip(before, finer, config.image_widths, strict=True)
        self.stages = nn.ModuleList(
            nn.Sequential(_conv(below + skip, out, 3), *([_conv(out, out, 3)] if i < _SCALES - 1 else []))
            for i, (below, skip, out) in enumerate(sizes)
        )

    def forward(self, levels: Activations) -> Activations:
        """Levels from fine to coarse to tokens (B, N, D) and planes from coarse to fine."""
        *finer, coarse = levels
        tokens = self.tokens(coarse)
        rows, cols = tokens.shape[-2:]
        where = plane_positions(rows, cols, tokens.shape[1]).to(tokens)
        found = [tokens.flatten(2).transpose(1, 2) + where]
        plane = self.start(coarse)
        for stage, skip in zip(self.stages, reversed(finer), strict=True):
            plane = stage(torch.cat([_double(plane), skip], dim=1))
            found.append(plane)
        return tuple(found)


class MaskDecoder(nn.Module):
    """The prompt's own narrow decoder, led by guides at every scale."""

    def __init__(self, config: WordUNetConfig) -> None:
        super().__init__()
        self.guides = config.guides
        before = (0, *config.prompt_widths[:-1])
        sizes = list(zip(before, config.image_widths, config.prompt_widths, strict=True))
        # Beside the channels of a plane the guides weigh x, y and one.
        self.words = nn.ModuleList(nn.Linear(config.width, config.guides * (plane + 3)) for _, plane, _ in sizes)
        self.reduce = nn.ModuleList(nn.Conv2d(plane, out, 1, bias=False) for _, plane, out in sizes)
        self.stages = nn.ModuleList(_conv(below + config.guides + out, out, 3) for below, _, out in sizes)
        self.logits = nn.ModuleList(nn.Conv2d(out, 1, 1) for _, _, out in sizes)
        # Of the whole map: whether there is any such thing at all.
        self.presence = nn.Linear(config.width, 1)

    def forward(self, planes: Sequence[Tensor], asked: Tensor) -> Tensor:
        """Planes (P, C, side, side) from coarse to fine and prompts (P, D) to logits (P, 1, S / 2, S / 2)."""
        logits = self.presence(asked)[:, :, None, None]
        x = None
        parts = zip(planes, self.words, self.reduce, self.stages, self.logits, strict=True)
        for plane, words, reduce, stage, head in parts:
            seen = torch.cat([plane, _coordinates(plane)], dim=1)
            guides = words(asked).unflatten(1, (self.guides, -1)) / seen.shape[1] ** 0.5
            maps = torch.einsum("pchw,pgc->pghw", seen, guides)
            x = stage(torch.cat([*([] if x is None else [_double(x)]), maps, reduce(plane)], dim=1))
            own = head(x)
            logits = own + (_double(logits) if logits.shape[-1] > 1 else logits)
        return logits


def _coordinates(plane: Tensor) -> Tensor:
    """Of every pixel x and y in [-1, 1], and one: (P, 3, rows, cols)."""
    rows, cols = plane.shape[-2:]
    x = torch.linspace(-1, 1, cols).to(plane).expand(rows, cols)
    y = torch.linspace(-1, 1, rows).to(plane)[:, None].expand(rows, cols)
    return torch.stack([x, y, torch.ones_like(x)]).expand(len(plane), -1, -1, -1)


def _mean(words: Tensor, padding: Tensor) -> Tensor:
    """Mean over the words that are no padding: (P, T, D) to (P, D)."""
    kept = (~padding).to(words)[..., None]
    return (words * kept).sum(dim=1) / kept.sum(dim=1)


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


def _conv(width: int, out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


def _double(plane: Tensor) -> Tensor:
    return functional.interpolate(plane, scale_factor=2, mode="bilinear")
