"""The user's vocabulary file: read with line numbers, changed without losing a comment.

The file has the form of `data/prompts/vocabulary.yaml`; every key is optional.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

from platformdirs import user_config_path
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    with_config,
)
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from typing_extensions import TypedDict

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.prompts.attributes import ATTRIBUTES
from napari_medvlsm.core.prompts.families import load_families

OWN_WORDS_VARIABLE = "MEDVLSM_VOCABULARY"
_HEADER = """\
# Your own words for napari-medvlsm. Form and keys: README, "Your own words". Reload them in the panel, or restart.
"""

# Letters that mean something in a form, or end a line, cannot be part of a word.
_Word = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120, pattern=r"^[^\n{}\[\]|]+$")
]
_Color = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
_Words = Annotated[list[_Word], BeforeValidator(lambda value: [] if value is None else value)]


def _one_of(names: Collection[str]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in names:
            raise PydanticCustomError("one_of", "expected one of {names}", {"names": ", ".join(names)})
        return value

    return AfterValidator(check)


_Family = Annotated[str, _one_of(load_families())]
_Attribute = Annotated[str, _one_of(ATTRIBUTES)]


def _as_mapping(value: Any) -> Any:
    """A plain list of words is a mapping without synonyms."""
    return {word: [] for word in value} if isinstance(value, list) else value


@with_config(ConfigDict(extra="forbid"))
class _TargetEntry(TypedDict, total=False):
    label: _Word
    plural: _Word
    modality: _Word
    family: _Family
    synonyms: _Words
    shapes: _Words
    colors: _Words
    general: _Words
    lateralised: bool
    display_color: _Color


@with_config(ConfigDict(extra="forbid"))
class _ModalityEntry(TypedDict, total=False):
    label: _Word
    absent: _Words


@with_config(ConfigDict(extra="forbid"))
class _File(TypedDict, total=False):
    version: str
    targets: dict[_Word, Annotated[_TargetEntry, BeforeValidator(lambda value: {} if value is None else value)]]
    attributes: dict[_Attribute, Annotated[dict[_Word, _Words], BeforeValidator(_as_mapping)]]
    modalities: dict[_Word, _ModalityEntry]


_FILE = TypeAdapter(_File)


_KEYS = [key for entry in (_TargetEntry, _ModalityEntry, _File) for key in entry.__annotations__]


def own_words_path() -> Path:
    """Where the user's vocabulary lies: the file that MEDVLSM_VOCABULARY names, or one in the user's settings."""
    chosen = os.environ.get(OWN_WORDS_VARIABLE)
    return Path(chosen) if chosen else user_config_path("napari-medvlsm", appauthor=False) / "vocabulary.yaml"


@dataclass(frozen=True)
class OwnWords:
    """A checked vocabulary file.

    Attributes
    ----------
    path : Path
    content : dict
        Its values, checked; {} where there is no file.
    """

    path: Path
    content: dict[str, Any]
    _source: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def read(cls, path: Path) -> OwnWords:
        """Read and check a file; one that does not exist is empty.

        Raises
        ------
        ValueError
            With one sentence that names the file, the line and the key.
        """
        if not path.exists():
            return cls(path, {})
        try:
            source = _yaml().load(path.read_text("utf-8"))
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark is not None else "?"
            what = " ".join((error.problem or "it is no YAML").split(" with value")[0].split())
            raise ValueError(f"{path}, line {line}: {what}. Mend this line; nothing of the file is used.") from error
        except (OSError, UnicodeDecodeError, YAMLError) as error:
            raise ValueError(f"{path} cannot be read ({error}). Save it as UTF-8 text in YAML.") from error
        return cls._checked(path, source if source is not None else {})

    @classmethod
    def _checked(cls, path: Path, source: Any) -> OwnWords:
        words = cls(path, {}, source)
        try:
            return cls(path, dict(_FILE.validate_python(source)), source)
        except ValidationError as error:
            first = error.errors()[0]
            raise words.problem(first["loc"], _in_words(first)) from error

    @property
    def digest(self) -> str:
        """A short name of the content."""
        return hashlib.sha256(repr(self.content).encode()).hexdigest()[:8]

    def problem(self, key: Sequence[int | str], what: str) -> ValueError:
        """An error that names the file, the line and the key."""
        line = _line(self._source, key)
        where = ".".join(str(part) for part in key if part != "[key]")
        at = f", line {line}" if line else ""
        return ValueError(f"{self.path}{at}, {where or 'top'}: {what}. Nothing of the file is used until it is mended.")

    def changed(self, target: str, entry: dict[str, Any] | None) -> OwnWords:
        """The words with one target's entry replaced, or taken out with None; not yet written.

        Raises
        ------
        ValueError
            If the entry is not valid.
        """
        source = self._copy()
        targets = source.setdefault("targets", {})
        if entry is None:
            targets.pop(target, None)
        else:
            kept = targets.get(target) or {}
            for key in [k for k in kept if k not in entry]:
                del kept[key]
            kept.update(entry)
            targets[target] = kept
        return self._checked(self.path, source)

    def with_attribute(self, attribute: str, words: Sequence[str]) -> OwnWords:
        """The words with the own words of one attribute replaced; synonyms of those that stay are kept."""
        source = self._copy()
        attributes = source.setdefault("attributes", {})
        before = _as_mapping(attributes.get(attribute) or {})
        if words:
            attributes[attribute] = {word: before.get(word) or [] for word in words}
        else:
            attributes.pop(attribute, None)
        return self._checked(self.path, source)

    def write(self) -> None:
        """Write the file, comments of the person's included, at once or not at all.

        Raises
        ------
        OSError
            If the folder cannot be written.
        """
        text = StringIO()
        _yaml().dump(self._source if self._source is not None else {}, text)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        header = "" if self.path.exists() else _HEADER
        with replacing(self.path) as temporary:
            temporary.write_text(header + text.getvalue(), "utf-8")

    def _copy(self) -> Any:
        # Through text: it is the only copy that keeps comments and line numbers.
        text = StringIO()
        _yaml().dump(self._source if self._source is not None else {}, text)
        return _yaml().load(text.getvalue()) or {}


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.width = 120
    yaml.allow_unicode = True
    return yaml


def _line(source: Any, key: Sequence[int | str]) -> int | None:
    """The line, from 1, of the deepest part of `key` that stands in the file."""
    line = None
    for part in key:
        try:
            marks = source.lc
            place = marks.key(part) if hasattr(source, "keys") else marks.item(part)
            source = source[part]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
        line = place[0] + 1
    return line


def _in_words(error: Any) -> str:
    """A pydantic error as the middle of a sentence."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), _KEYS, n=1, cutoff=0.5)
        return "this key is not known here" + (f"; did you mean {near[0]!r}?" if near else "")
    if kind == "dict_type":
        return f"expected keys with values below it, but it is {value!r}"
    if kind == "bool_parsing":
        return f"expected true or false, but it is {value!r}"
    if kind == "string_pattern_mismatch" and context.get("pattern", "").startswith("^#"):
        return f"expected a colour such as #ff8800, but it is {value!r}"
    if kind == "string_type":
        return f"expected text, but it is {value!r}; put it in quotation marks"
    if kind == "list_type":
        return f"expected a list such as [one, two], but it is {value!r}"
    if kind == "string_too_short":
        return "a word is empty"
    return f"{error['msg']}, but it is {value!r}"
