"""CLIP's tokenizer, from the vocabulary that ships inside `open_clip` (MIT licence, OpenAI): nothing is fetched."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from functools import cache
from importlib import util
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
# The file holds more merges than CLIP uses (open_clip, `SimpleTokenizer`).
_CLIP_MERGES = 49152 - 256 - 2


def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's own tokenizer, all 49408 tokens."""
    return build_tokenizer(clip_merges())


@cache
def clip_merges() -> tuple[tuple[str, str], ...]:
    """CLIP's merges in order of priority."""
    spec = util.find_spec("open_clip")
    assert spec is not None and spec.origin is not None
    with gzip.open(Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz", "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")[1 : _CLIP_MERGES + 1]
    pairs = (line.split() for line in lines)
    return tuple((left, right) for left, right in pairs)


def build_tokenizer(merges: Iterable[tuple[str, str]]) -> CLIPTokenizer:
    """A CLIP tokenizer with single bytes, the merges given, and the two special tokens, in this order."""
    merges = list(merges)
    characters = sorted(ByteLevel.alphabet())
    tokens = [*characters, *(c + "</w>" for c in characters), *(left + right for left, right in merges), START, END]
    return CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=merges, model_max_length=77)
