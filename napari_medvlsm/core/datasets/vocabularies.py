"""The vocabulary of data sets: the words that a folder was written with, merged with the user's own.

`vocabulary.yaml` in a data set's folder has the form of the user's own vocabulary file, but holds all words.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.plain_files import shown
from napari_medvlsm.core.prompts.coverage import normalise
from napari_medvlsm.core.prompts.families import GENERIC
from napari_medvlsm.core.prompts.own_words import OwnWords, own_words_path
from napari_medvlsm.core.prompts.vocabulary import Vocabulary, load_vocabulary

VOCABULARY_FILE = "vocabulary.yaml"
_HEADER = """\
# The words that the cases of this folder were written with. The program extends this file and removes nothing.
"""
_LISTS = ("synonyms", "shapes", "colors", "general")
# Plain values of a vocabulary: attributes, modalities and targets, as in its file.
Raw = Mapping[str, Any]


def dataset_vocabulary(folders: Iterable[Path], own: Path | None = None) -> Vocabulary:
    """The words for work on data sets: shipped ones, the user's own, and those that the folders were written with.

    Where the same target is described twice, lists are united, and one that is lateralised anywhere is lateralised.

    Parameters
    ----------
    folders : iterable of Path
        Folders of data sets; one without `vocabulary.yaml`, or that does not exist, adds nothing.
    own : Path, optional
        The user's vocabulary file; by default `own_words_path()`.

    Raises
    ------
    ValueError
        If a file cannot be used, or a name means different things in two of them; the sentence names both.
    """
    own = own_words_path() if own is None else own
    current = load_vocabulary(own)
    raw, where = current.as_dict(), f"your own words ({own})"
    for folder in folders:
        path = folder / VOCABULARY_FILE
        if path.is_file():
            raw = _merged(raw, where, OwnWords.read(path).content, str(path))
    if _words(raw) == _words(current.as_dict()):
        return current
    digest = hashlib.sha256(repr(_words(raw)).encode()).hexdigest()[:8]
    return Vocabulary.from_dict(raw, f"{load_vocabulary().version}+{digest}", _own_targets(raw))


def extend_snapshot(folder: Path, vocabulary: Vocabulary) -> None:
    """Write `vocabulary.yaml` into a folder, or add to it what it lacks.

    Raises
    ------
    ValueError
        If the file is damaged, or a name means something else there.
    """
    path = folder / VOCABULARY_FILE
    raw: Raw = vocabulary.as_dict()
    text = _dumped(raw)
    if path.is_file():
        before = path.read_text("utf-8")
        if before == text:
            return
        merged = _merged(OwnWords.read(path).content, str(path), raw, "the vocabulary in use")
        text = _dumped(merged | {"version": vocabulary.version})
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")


def require_modality(modality: str, vocabulary: Vocabulary, where: str) -> None:
    """Check that the vocabulary has a modality, "" included.

    Raises
    ------
    ValueError
        If it has not; the sentence names the nearest.
    """
    if not modality or modality in vocabulary.modalities:
        return
    named = {key.lower(): key for key in vocabulary.modalities}
    named |= {entry.label.lower(): key for key, entry in vocabulary.modalities.items()}
    near = difflib.get_close_matches(modality[:200].lower(), named, n=1)
    known = f"did you mean {named[near[0]]!r}?" if near else f"known are {', '.join(vocabulary.modalities)}."
    said = shown(repr(modality))
    raise ValueError(f"{where} names the modality {said}, which the vocabulary does not have; {known}")


def known_target(phrase: str, vocabulary: Vocabulary) -> str:
    """A target as the vocabulary writes it, whatever its capitals and underscores; another as it is."""
    if phrase in vocabulary.targets:
        return phrase
    plain = normalise(phrase)
    return next((target for target in vocabulary.targets if normalise(target) == plain), phrase)


def near_target(phrase: str, vocabulary: Vocabulary) -> str:
    """The target of a vocabulary that one it does not have may be meant for; "" where none is near."""
    if known_target(phrase, vocabulary) in vocabulary.targets:
        return ""
    return next(iter(difflib.get_close_matches(normalise(phrase)[:200], vocabulary.targets, n=1, cutoff=0.8)), "")


def _dumped(raw: Raw) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    plain = {key: raw[key] for key in ("version", *_SECTIONS)}
    return _HEADER + yaml.dump(plain, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120)


_SECTIONS = ("attributes", "modalities", "targets")


def _words(raw: Raw) -> dict[str, Any]:
    return {key: raw.get(key, {}) for key in _SECTIONS}


def _own_targets(raw: Raw) -> set[str]:
    shipped = load_vocabulary().as_dict()["targets"]
    return {phrase for phrase, entry in raw["targets"].items() if entry != shipped.get(phrase)}


def _merged(first: Raw, first_name: str, second: Raw, second_name: str) -> dict[str, Any]:
    """Both together; where single values differ, those of the first."""
    names = f"in {first_name}", f"in {second_name}"
    one, two = _words(first), _words(second)
    _refuse_two_meanings(_targets_by_name(one), _targets_by_name(two), "name", "target", names)
    for attribute in one["attributes"].keys() & two["attributes"].keys():
        synonyms, others = (_words_by_synonym(part["attributes"][attribute]) for part in (one, two))
        _refuse_two_meanings(synonyms, others, f"{attribute} word", "word", names)
    attributes = {
        attribute: _united(one["attributes"].get(attribute, {}), two["attributes"].get(attribute, {}))
        for attribute in dict.fromkeys((*one["attributes"], *two["attributes"]))
    }
    modalities = {
        key: {**second_entry, **first_entry, "absent": _both(first_entry, second_entry, "absent")}
        for key in dict.fromkeys((*one["modalities"], *two["modalities"]))
        for first_entry, second_entry in ((one["modalities"].get(key, {}), two["modalities"].get(key, {})),)
    }
    shipped = load_vocabulary().targets
    targets = {}
    for phrase in dict.fromkeys((*one["targets"], *two["targets"])):
        entries = one["targets"].get(phrase), two["targets"].get(phrase)
        if entries[0] is None or entries[1] is None:
            targets[phrase] = dict(entries[0] or entries[1] or {})
        else:
            targets[phrase] = _one_target(phrase, entries[0], entries[1], names, phrase not in shipped)
    return {"version": first.get("version", ""), "attributes": attributes, "modalities": modalities, "targets": targets}


def _one_target(phrase: str, first: Raw, second: Raw, names: tuple[str, str], strict: bool) -> dict[str, Any]:
    """One entry of two. Shipped targets may differ between versions of the program: there the first counts."""
    entry = {**second, **first}
    for key, unset in (("modality", ""), ("family", GENERIC)):
        values = [part.get(key) or unset for part in (first, second)]
        stated = [value for value in values if value != unset]
        if strict and len({*stated}) > 1:
            raise ValueError(
                f"The target {phrase!r} has the {key} {values[0]!r} {names[0]}, but {values[1]!r} {names[1]}; rename "
                "one of the two, or give them one meaning."
            )
        if stated:
            entry[key] = stated[0]
    for key in _LISTS:
        if both := _both(first, second, key):
            entry[key] = both
    plurals = [part["plural"] for part in (first, second) if part.get("plural")]
    if len({*plurals}) > 1:
        entry["synonyms"] = list(dict.fromkeys([*entry.get("synonyms", ()), plurals[1]]))
    if first.get("lateralised") or second.get("lateralised"):
        entry["lateralised"] = True
    return entry


def _both(first: Raw, second: Raw, key: str) -> list[str]:
    return list(dict.fromkeys([*first.get(key, ()), *second.get(key, ())]))


def _united(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[str]]:
    return {word: _both(first, second, word) for word in dict.fromkeys((*first, *second))}


def _targets_by_name(raw: Raw) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for phrase, entry in raw["targets"].items():
        plural = entry.get("plural") or f"{phrase}s"
        for name in (phrase, plural, *entry.get("synonyms", ())):
            found.setdefault(normalise(name), set()).add(phrase)
    return found


def _words_by_synonym(words: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for word, synonyms in words.items():
        for synonym in synonyms:
            # A word means itself, also where it is listed as a synonym of another.
            if synonym not in words:
                found.setdefault(synonym.lower(), set()).add(word)
    return found


def _refuse_two_meanings(
    first: Mapping[str, set[str]], second: Mapping[str, set[str]], what: str, of: str, names: tuple[str, str]
) -> None:
    for name in first.keys() & second.keys():
        if not first[name] & second[name]:
            raise ValueError(
                f"The {what} {name!r} means the {of} {min(first[name])!r} {names[0]}, but {min(second[name])!r} "
                f"{names[1]}; rename one of the two, or give them one meaning."
            )
