"""The CLIP tokenizer, cut to the merges that a set of texts needs.

The single bytes stay, so any text can still be encoded; only the embedding table shrinks.
"""

from __future__ import annotations

from collections.abc import Iterable

from transformers import CLIPTokenizer

from napari_medvlsm.core.models.architectures.clip_tokenizer import build_tokenizer, clip_merges

__all__ = ["build_tokenizer", "clip_merges", "cut_tokenizer"]


def cut_tokenizer(texts: Iterable[str]) -> CLIPTokenizer:
    """CLIP's tokenizer with only the merges needed for `texts`, which it splits as the full one does."""
    merges = clip_merges()
    parents = {left + right: (left, right) for left, right in merges}
    full = build_tokenizer(merges)
    needed: set[str] = set()
    pending = {token for text in texts for token in full.tokenize(text)}
    while pending:
        token = pending.pop()
        if token in parents and token not in needed:
            needed.add(token)
            pending.update(parents[token])
    return build_tokenizer([pair for pair in merges if pair[0] + pair[1] in needed])
