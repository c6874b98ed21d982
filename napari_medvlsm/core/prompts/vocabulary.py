"""Targets and words of the interface: those that ship with the package, and a person's own on top.

The words live in `napari_medvlsm/data/prompts/vocabulary.yaml`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

from napari_medvlsm.core.prompts.attributes import LISTS, Prompt
from napari_medvlsm.core.prompts.coverage import normalise
from napari_medvlsm.core.prompts.english import plural
from napari_medvlsm.core.prompts.families import GENERIC, PromptFamily, load_families, read_data
from napari_medvlsm.core.prompts.own_words import OwnWords
from napari_medvlsm.core.prompts.sites import SITES

# Between what is found and where: "tumor of the liver".
_LEADING_TO_A_SITE = frozenset("of in on within inside the a an this patient s".split())
# Words of an attribute that a target's entry lists, the likeliest for it first.
_OF_TARGET = {"shape": "shapes", "color": "colors", "general": "general"}


class Trained(Protocol):
    """The part of a model card that lists the trained words."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Phrases of targets."""

    @property
    def phrases(self) -> tuple[str, ...]:
        """All names of targets."""

    @property
    def words(self) -> tuple[str, ...]:
        """All single words."""


@dataclass(frozen=True)
class Target:
    """One thing that can be outlined.

    Attributes
    ----------
    phrase, plural : str
        What models read.
    label : str
        What people read.
    spoken : str
        What people read within a sentence, where the phrase is a diagnosis, which no outline can make; "" for the
        phrase.
    modality, family : str
        Keys of `Vocabulary.modalities` and of `load_families`.
    synonyms, shapes, colors, general : tuple of str
        Other names; the likeliest words; descriptions that complete "which is ...".
    unspoken : tuple of str
        Of the synonyms those that are understood but not shown, for the same reason.
    lateralised : bool
        Whether a scan that shows it has a left and a right that must not be swapped.
    display_color : str
        "#rrggbb".
    own : bool
        Whether a person added or changed it.
    """

    phrase: str
    label: str
    modality: str = ""
    plural: str = ""
    spoken: str = ""
    family: str = GENERIC
    synonyms: tuple[str, ...] = ()
    unspoken: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    general: tuple[str, ...] = ()
    lateralised: bool = False
    display_color: str = "#ff4d4d"
    own: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Everything it is called, the phrase first."""
        return tuple(dict.fromkeys((self.phrase, self.plural or f"{self.phrase}s", *self.synonyms)))

    @property
    def name(self) -> str:
        """What people read within a sentence."""
        return self.spoken or self.phrase

    @property
    def short_label(self) -> str:
        """The label without what stands in brackets."""
        return self.label.split(" (")[0]

    def shown(self, text: str) -> str:
        """A text of a model about it, as people read it."""
        return text.replace(self.phrase, self.spoken) if self.spoken else text

    @property
    def names_a_side(self) -> bool:
        """Whether its name holds a side of the patient, such as "left lung"."""
        return bool({"left", "right"} & set(normalise(self.phrase).split()))


@dataclass(frozen=True)
class Modality:
    """A kind of scan, with things that such a scan cannot show (negatives for training)."""

    label: str
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Targets and attribute words.

    Attributes
    ----------
    version : str
        That of the shipped words, with a short hash of a person's own behind "+".
    attributes : mapping
        Attribute to word to what else means the same.
    modalities, targets : mapping
    """

    version: str
    attributes: Mapping[str, Mapping[str, tuple[str, ...]]]
    modalities: Mapping[str, Modality]
    targets: Mapping[str, Target]

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], version: str, own: Iterable[str] = ()) -> Vocabulary:
        """The vocabulary of the plain values of a vocabulary file; `own` names the targets that a person added."""

        def tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
            return {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}

        def labelled(key: str, entry: Mapping[str, Any]) -> dict[str, Any]:
            return {"label": key.capitalize()} | tuples(entry)

        own = frozenset(own)
        targets = {k: Target(k, **labelled(k, entry), own=k in own) for k, entry in raw["targets"].items()}
        modalities = {k: Modality(**labelled(k, entry)) for k, entry in raw["modalities"].items()}
        for target in targets.values():
            if target.modality and target.modality not in modalities:
                modalities[target.modality] = Modality(target.modality.capitalize())
        return cls(version, {k: tuples(v) for k, v in raw["attributes"].items()}, modalities, targets)

    def as_dict(self) -> dict[str, Any]:
        """Plain values in the form of a vocabulary file; those of a target that are as by default are left out."""
        targets = {
            phrase: {
                f.name: list(value) if isinstance(value, tuple) else value
                for f in fields(target)
                if f.name not in ("phrase", "own") and (value := getattr(target, f.name)) != f.default
            }
            for phrase, target in self.targets.items()
        }
        return {
            "version": self.version,
            "attributes": {k: {word: list(same) for word, same in v.items()} for k, v in self.attributes.items()},
            "modalities": {k: {"label": m.label, "absent": list(m.absent)} for k, m in self.modalities.items()},
            "targets": targets,
        }

    @cached_property
    def digest(self) -> str:
        """A short hash (16 hexadecimal digits) of all targets, words and modalities."""
        content = repr((self.attributes, self.modalities, self.targets))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def words(self, attribute: str, target: str = "") -> tuple[str, ...]:
        """The words to offer for an attribute, those that are likeliest for the target first."""
        known = self.targets.get(target)
        first = getattr(known, _OF_TARGET[attribute]) if known and attribute in _OF_TARGET else ()
        family = self.family(target).words.get(attribute, ())
        elsewhere = {word for other in load_families().values() for word in other.words.get(attribute, ())}
        rest = [word for word in self.attributes.get(attribute, {}) if word not in elsewhere]
        return tuple(dict.fromkeys((*first, *family, *rest)))

    def target(self, phrase: str) -> Target:
        """The target of a phrase; an unlisted phrase becomes its own label."""
        return self.targets.get(phrase) or Target(phrase, phrase.capitalize(), plural=phrase)

    def trained(self, card: Trained) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(phrases, words) that a model knows: those of its training, and the plurals of its targets.

        A plural is taken as known: "two small polyps" gives the outline of "two small polyp".
        """
        plurals = tuple(self.target(phrase).plural for phrase in card.targets)
        return (*card.phrases, *plurals), (*card.words, *plurals)

    def shown(self, prompt: Prompt) -> str:
        """A prompt as people read it: with the target's own name where the model's word for it is a diagnosis."""
        return self.target(prompt.attributes.target).shown(prompt.text)

    def names(self, target: Target) -> tuple[str, ...]:
        """Everything that a target is called in a text, plurals of its synonyms included; the phrase first."""
        return tuple(dict.fromkeys((*target.names, *(name for name, of in self._names.items() if of is target))))

    def called(self, targets: Iterable[str]) -> frozenset[str]:
        """Everything that targets are called, normalised; a synonym stands for the target that has it."""
        known = (self._names.get(normalise(phrase)) or self.target(phrase) for phrase in targets)
        return frozenset(normalise(name) for target in known for name in self.names(target))

    def cannot_show(self, modality: str, shown: Iterable[str]) -> tuple[str, ...]:
        """What a kind of scan cannot show, but for the targets `shown`, which its scans show all the same."""
        known, called = self.modalities.get(modality), self.called(shown)
        return tuple(phrase for phrase in (known.absent if known else ()) if normalise(phrase) not in called)

    def named_in(self, tokens: Sequence[str]) -> list[tuple[int, int, Target]]:
        """The targets that are named, in order, each with the place of its first word and of that behind its last.

        Where several names begin at one word, the longest counts; where one begins within another and goes on behind
        it, it counts: a "left lung nodule" is a nodule. A short name with another part of the body names something
        else: a "brain tumor" is none of the breast.

        Parameters
        ----------
        tokens : sequence of str
            A normalised text, split into words.
        """
        hits = self._hits(tokens)
        sites = {place for hit in hits for place in self._other_sites(tokens, *hit)}
        return [hit for hit in hits if not self._other_sites(tokens, *hit) and not sites & {*range(hit[0], hit[1])}]

    def names_another(self, text: str) -> bool:
        """Whether a text names no target, but has a short name with another part of the body: "brain tumor"."""
        tokens = normalise(text).split()
        return not self.named_in(tokens) and any(self._other_sites(tokens, *hit) for hit in self._hits(tokens))

    def _hits(self, tokens: Sequence[str]) -> list[tuple[int, int, Target]]:
        found, i = [], 0
        while i < len(tokens):
            length = self._length_at(tokens, i)
            if not length or any(j + self._length_at(tokens, j) > i + length for j in range(i + 1, i + length)):
                i += 1
                continue
            found.append((i, i + length, self._by_tokens[tuple(tokens[i : i + length])]))
            i += length
        return found

    def _length_at(self, tokens: Sequence[str], start: int) -> int:
        """Words of the longest name that begins there; 0 for none."""
        lengths = range(min(self._longest, len(tokens) - start), 0, -1)
        return next((n for n in lengths if tuple(tokens[start : start + n]) in self._by_tokens), 0)

    def _other_sites(self, tokens: Sequence[str], start: int, stop: int, target: Target) -> list[int]:
        """The places of parts of the body, not the target's own, that are said with its short name."""
        other = self._sites_of_others.get(target.phrase)
        if stop - start > 1 or other is None:
            return []
        behind = next((i for i in range(stop, len(tokens)) if tokens[i] not in _LEADING_TO_A_SITE), stop)
        beside = [start - 1, *([behind] if behind > stop else [])]
        return [i for i in beside if i >= 0 and tokens[i] in other]

    def family(self, target: str) -> PromptFamily:
        """How prompts about a target are written."""
        return load_families()[self.target(target).family]

    def find_target(self, text: str) -> Target | None:
        """The target with the longest name that stands in `text` as whole words, of equals the first."""
        tokens = normalise(text).split()
        hits = [(len(" ".join(tokens[start:stop])), target) for start, stop, target in self.named_in(tokens)]
        return max(hits, key=lambda hit: hit[0])[1] if hits else None

    def canonical(self, attribute: str, word: str) -> str:
        """The interface's word for a word, or for each of a list, once; what is not known stays as it is."""
        words = self._canonical.get(attribute, {})
        if attribute not in LISTS:
            return words.get(word.lower(), word)
        return ", ".join(dict.fromkeys(words.get(part.lower(), part) for part in word.split(", ")))

    @cached_property
    def _names(self) -> dict[str, Target]:
        listed = {normalise(name): target for target in self.targets.values() for name in target.names}
        more = {plural(name): target for name, target in listed.items()}
        return listed | {name: target for name, target in more.items() if name not in listed}

    @cached_property
    def _sites_of_others(self) -> dict[str, frozenset[str]]:
        """Of each target that is called after a part of the body: all others."""
        own = {
            target.phrase: {word for name in self.names(target) for word in normalise(name).split()}
            for target in self.targets.values()
            if SITES & {*normalise(target.phrase).split()}
        }
        return {phrase: SITES - words for phrase, words in own.items()}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._by_tokens), default=0)

    @cached_property
    def _by_tokens(self) -> dict[tuple[str, ...], Target]:
        return {tuple(name.split()): target for name, target in self._names.items()}

    @cached_property
    def _canonical(self) -> dict[str, dict[str, str]]:
        # A word means itself, also where a person lists it as a synonym of another.
        return {
            attribute: {s.lower(): word for word, same in words.items() for s in same} | {w.lower(): w for w in words}
            for attribute, words in self.attributes.items()
        }


def load_vocabulary(own: OwnWords | Path | None = None) -> Vocabulary:
    """The shipped vocabulary with a person's own words on top.

    Parameters
    ----------
    own : OwnWords or Path, optional
        Lists are added to the shipped ones, single values replace them. A file that does not exist adds nothing.

    Raises
    ------
    ValueError
        If a person's file cannot be used; the sentence names the file, the line and the key.
    """
    if own is None or (isinstance(own, Path) and not own.exists()):
        return _shipped()
    words = OwnWords.read(own) if isinstance(own, Path) else own
    if not words.content:
        return _shipped()
    raw = _merged(read_data("vocabulary.yaml"), words.content)
    vocabulary = Vocabulary.from_dict(raw, f"{_shipped().version}+{words.digest}", words.content.get("targets", {}))
    _check_names(vocabulary, words)
    return vocabulary


def target_name(phrase: str) -> str:
    """A target as people read it within a sentence, where no vocabulary is at hand: that which ships knows it."""
    return _shipped().target(phrase).name


@cache
def _shipped() -> Vocabulary:
    raw = read_data("vocabulary.yaml")
    return Vocabulary.from_dict(raw, raw["version"])


def _merged(base: Any, more: Any) -> Any:
    """Mappings key by key, lists end to end; anything else is replaced."""
    if isinstance(base, dict) and isinstance(more, dict):
        return base | {k: _merged(base[k], v) if k in base else v for k, v in more.items()}
    if isinstance(base, list) and isinstance(more, list):
        return list(dict.fromkeys([*base, *more]))
    return more


def _check_names(vocabulary: Vocabulary, own: OwnWords) -> None:
    """One name must not mean two targets, or a typed prompt would be read at random."""
    taken: dict[str, str] = {}
    # A person's entries come last, so that they are the ones to be named.
    for target in sorted(vocabulary.targets.values(), key=lambda t: t.own):
        for name in map(normalise, target.names):
            first = taken.setdefault(name, target.phrase)
            if first != target.phrase:
                raise own.problem(("targets", target.phrase), f"the name {name!r} already belongs to {first!r}")
