"""The words that go into a training set with an outline: the prompt of every level, and where each word comes from."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from napari_medvlsm.core.describe import describe
from napari_medvlsm.core.images import Scan, content_hash
from napari_medvlsm.core.masks import Mask
from napari_medvlsm.core.prompts import Attributes, Vocabulary, build
from napari_medvlsm.core.prompts.variants import filled

# Read from the mask, whatever was said: a training prompt must be true of the mask beside it.
_ALWAYS_MEASURED = frozenset({"number", "size", "location"})


@dataclass(frozen=True)
class CaseWords:
    """The words of one case.

    Attributes
    ----------
    measured : Attributes
        Read from the mask and the pixels.
    said : Attributes
        The person's, `target` included.
    drawn : dict of str by level
        Sentences of the vocabulary that were drawn at random for this scan.
    prompts : dict of str by level
        "p0" to the last level of the target's kind of scan.
    """

    measured: Attributes
    said: Attributes
    drawn: dict[str, str]
    prompts: dict[str, str]


def case_words(scan: Scan, mask: Mask, said: Attributes, vocabulary: Vocabulary, seed: int = 0) -> CaseWords:
    """The words of a case; see `training_prompts`, which has the same parameters."""
    seen = describe(mask, scan.pixels, scan.spacing)
    person = said.only(said.named() - _ALWAYS_MEASURED)
    full, from_mask = filled(person, {} if seen.number == "zero" else seen.measured | seen.suggested, vocabulary)
    target, family = vocabulary.target(said.target), vocabulary.family(said.target)
    key = f"{seed}:{content_hash(scan.pixels)}:{said.target}"
    prompts, drawn = {}, {}
    for level in ("p0", *family.levels):
        draw = random.Random(f"{key}:{level}")
        general = full.general
        if not general and target.general:
            general = draw.choice(target.general)
            if "general" in family.levels.get(level, ()):
                drawn[level] = general
        wording = draw.randrange(len(family.clean))
        prompts[level] = build(replace(full, general=general), vocabulary, level, wording).text
    return CaseWords(full.only(from_mask), person, drawn, prompts)


def training_prompts(scan: Scan, mask: Mask, said: Attributes, vocabulary: Vocabulary, seed: int = 0) -> dict[str, str]:
    """The prompt of every level of the target's kind of scan for a mask.

    Number, size and location are read from the mask. Shape and colour are the person's words, or else what the mask
    and the pixels suggest; attributes that no mask shows (view, age ...) are the person's. Of general descriptions
    and of paraphrases one is chosen at random for each scan and level. An empty mask is asked for in the words of one
    that is not: that is how an absent target is asked for later.

    Parameters
    ----------
    scan : Scan
    mask : bool array of shape (H, W)
    said : Attributes
        `target`, and what the person said of it.
    vocabulary : Vocabulary
    seed : int
        The same seed, scan and target give the same prompts.
    """
    return case_words(scan, mask, said, vocabulary, seed).prompts
