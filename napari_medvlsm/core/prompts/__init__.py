"""Prompts made of attributes: attributes to text, text to attributes, and coverage by a model's training.

`attributes`  what a prompt can say, and a prompt with its origin
`english`     number words and articles
`forms`       one template: filled in, or matched against a text
`families`    the templates and levels P0 to P9 of a kind of scan
`sites`       words for parts of the body, which tell one tumor or ulcer from another
`vocabulary`  targets and words of the interface, the user's own among them
`own_words`   the user's vocabulary file: read with line numbers, changed without losing a comment
`build`       attributes to text
`parse`       text to attributes
`several`     one text that names several targets
`trained`     typed words in those that a model was trained on, and the trained targets nearest to them
`upstream`    the eleven data sets of the paper, to the letter
`coverage`    how far a text lies within what a model was trained on
`variants`    the ladder of levels, and the changes of wording that show what the words do

Location words are sides of the image as shown; laterality ("left lung") is part of the target and is the
patient's. The two are never mixed.
"""

from napari_medvlsm.core.prompts.attributes import ATTRIBUTES, LABELS, LEVELS, Attributes, Prompt
from napari_medvlsm.core.prompts.build import build, explain, level_of
from napari_medvlsm.core.prompts.coverage import Coverage, coverage, normalise
from napari_medvlsm.core.prompts.families import PromptFamily, load_families
from napari_medvlsm.core.prompts.parse import Parsed, free_text, parse
from napari_medvlsm.core.prompts.vocabulary import Modality, Target, Vocabulary, load_vocabulary, target_name

__all__ = [
    "ATTRIBUTES",
    "LABELS",
    "LEVELS",
    "Attributes",
    "Coverage",
    "Modality",
    "Parsed",
    "Prompt",
    "PromptFamily",
    "Target",
    "Vocabulary",
    "build",
    "coverage",
    "explain",
    "free_text",
    "level_of",
    "load_families",
    "load_vocabulary",
    "normalise",
    "parse",
    "target_name",
]
