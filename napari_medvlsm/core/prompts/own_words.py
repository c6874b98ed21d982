"""The user's vocabulary file: read with line numbers, changed without losing a comment.

The file has the form of `data/prompts/vocabulary.yaml`; every key is optional.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import SequenceMatcher, get_close_matches
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from typing_extensions import TypedDict

from napari_medvlsm.core.io.atomic import replacing
from napari_medvlsm.core.plain_files import MOST_OWN_BYTES, InvalidYaml, check_yaml, read_text, shown
from napari_medvlsm.core.prompts.attributes import ATTRIBUTES
from napari_medvlsm.core.prompts.families import load_families

if TYPE_CHECKING:
    from ruamel.yaml import YAML

OWN_WORDS_VARIABLE = "MEDVLSM_VOCABULARY"
_HEADER = """\
# Your own words for napari-medvlsm. Form and keys: guide (F1), "Your own words". Reload them in the panel, or restart.
"""

# Signs that mean something in a form, or end a line, cannot be part of a word; without a letter or a digit it could
# never be found in a text.
_Word = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=120, pattern=r"^[^\n{}\[\]|]*[^\W_][^\n{}\[\]|]*$"
    ),
]
_Color = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
_Words = Annotated[list[_Word], BeforeValidator(lambda value: [] if value is None else value)]
# A key with nothing below it, as when a person has taken out all that stood there.
_MayBeEmpty = BeforeValidator(lambda value: {} if value is None else value)


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
    if not isinstance(value, list):
        return {} if value is None else value
    if not all(isinstance(word, str) for word in value):
        raise PydanticCustomError("words", "expected a list of words, each in quotation marks if it is a number")
    return {word: [] for word in value}


@with_config(ConfigDict(extra="forbid"))
class _TargetEntry(TypedDict, total=False):
    label: _Word
    spoken: _Word
    plural: _Word
    modality: _Word
    family: _Family
    synonyms: _Words
    unspoken: _Words
    shapes: _Words
    colors: _Words
    general: _Words
    lateralised: bool
    display_color: _Color


@with_config(ConfigDict(extra="forbid"))
class _ModalityEntry(TypedDict, total=False):
    label: _Word
    absent: _Words


# Built when a file is first checked, and ruamel imported when one is read: who has none waits for neither.
@with_config(ConfigDict(extra="forbid", defer_build=True))
class _File(TypedDict, total=False):
    version: str
    targets: Annotated[dict[_Word, Annotated[_TargetEntry, _MayBeEmpty]], _MayBeEmpty]
    attributes: Annotated[dict[_Attribute, Annotated[dict[_Word, _Words], BeforeValidator(_as_mapping)]], _MayBeEmpty]
    modalities: Annotated[dict[_Word, Annotated[_ModalityEntry, _MayBeEmpty]], _MayBeEmpty]


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
            return cls(path, {}, _yaml().load(f"{_HEADER}{{}}\n"))
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        text = read_text(path, MOST_OWN_BYTES)
        with suppress(InvalidYaml):  # ruamel names the line, but takes half a minute for deeply nested brackets
            check_yaml(text, path)
        try:
            events = _yaml().parse(text) if "!" in text else ()
            tagged = next((event for event in events if getattr(event, "tag", None)), None)
            source = None if tagged else _yaml().load(text)
        except MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark is not None else "?"
            what = " ".join((error.problem or "it is no YAML").split(" with value")[0].split())
            raise ValueError(f"{path}, line {line}: {what}. Mend this line; nothing of the file is used.") from error
        # ruamel raises plain errors for invalid dates and numbers.
        except (OSError, ValueError, YAMLError, RecursionError) as error:
            what = shown(error, 200)
            raise ValueError(f"{path} cannot be read ({what}). Save it as UTF-8 text in YAML.") from error
        if tagged:
            line = tagged.start_mark.line + 1
            raise ValueError(
                f"{path}, line {line}: the tag {tagged.tag} is not known here. Write the value without it."
            )
        if source is None:
            # A file of comments alone keeps them.
            source = _yaml().load("\n".join([*filter(_is_remark, text.splitlines()), "{}"]))
        return cls._checked(path, source)

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

        def change(source: Any) -> None:
            targets = _below(source, "targets")
            if entry is None:
                targets.pop(target, None)
                return
            kept = _below(targets, target)
            for key in [k for k in kept if k not in entry]:
                del kept[key]
            for key, value in entry.items():
                kept[key] = _replaced(kept.get(key), value)

        return self._edited(change)

    def with_attribute(self, attribute: str, words: Sequence[str]) -> OwnWords:
        """The words with the own words of one attribute replaced; synonyms of those that stay are kept."""

        def change(source: Any) -> None:
            attributes = _below(source, "attributes")
            before = _as_mapping(attributes.get(attribute))
            if words:
                attributes[attribute] = {word: before.get(word) or [] for word in words}
            else:
                attributes.pop(attribute, None)

        return self._edited(change)

    def write(self) -> None:
        """Write the file, comments of the person's included, at once or not at all.

        Raises
        ------
        OSError
            If the folder cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary:
            temporary.write_text(self._text, "utf-8")

    def _edited(self, change: Callable[[Any], None]) -> OwnWords:
        """The words after a change of the source, its lines of comment where they were."""
        lines = self._text.splitlines()
        code = [line for line in lines if not _is_remark(line)]
        if _yaml().load("\n".join(code)) != _yaml().load(self._text):
            code = lines  # what looks like a comment is a word of its own line
        source = _yaml().load("\n".join(code)) or {}
        change(source)
        _drop_empty(source)
        edited = _dumped(source).splitlines()
        if code is not lines:
            edited = _with_remarks(lines, edited)
        return self._checked(self.path, _yaml().load("\n".join(edited)))

    @property
    def _text(self) -> str:
        return _dumped(self._source if self._source is not None else {})


def _yaml() -> YAML:
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.width = 4096  # a word is never folded: its second line could look like a comment
    yaml.allow_unicode = True
    return yaml


def _dumped(source: Any) -> str:
    text = StringIO()
    _yaml().dump(source, text)
    return text.getvalue()


def _drop_empty(source: Any) -> None:
    """Give every empty mapping below a source as a plain one, without the comment after its key.

    ruamel writes that comment between the key and the braces, which is no YAML.
    """
    for key, value in source.items():
        if isinstance(value, dict) and value:
            _drop_empty(value)
        elif isinstance(value, dict):
            source[key] = {}
            if hasattr(source, "ca"):
                source.ca.items.pop(key, None)


def _below(source: Any, key: str) -> Any:
    """What stands below a key, made where nothing does."""
    if not source.get(key):
        source[key] = {}
    return source[key]


def _replaced(before: Any, value: Any) -> Any:
    """The new value, as the old object where possible: that one holds the comments."""
    if isinstance(before, list) and isinstance(value, list):
        for i in reversed(range(len(before))):
            if before[i] not in value:
                del before[i]
        before.extend(word for word in value if word not in before)
    return before if before == value else value


def _is_remark(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _with_remarks(before: list[str], after: list[str]) -> list[str]:
    """`after` with the comments and empty lines of `before`, each above the line that it stood above.

    ruamel ties a comment to the value before it: a new synonym would slip below the next entry's comment, a new target
    below the next section's, and removing an entry would drop the comments of what follows.
    """
    code = [line for line in before if not _is_remark(line)]
    blocks = SequenceMatcher(None, code, after, autojunk=False).get_matching_blocks()
    # Of each line of code its place in `after`, or that of the next one that is still there.
    places: list[int] = []
    for block in blocks:
        places += [block.b] * (block.a - len(places)) + list(range(block.b, block.b + block.size))
    remarks: dict[int, list[str]] = {}
    seen = 0
    for line in before:
        if _is_remark(line):
            place = 0 if seen == 0 else places[seen] if seen < len(code) else len(after)
            remarks.setdefault(place, []).append(line)
        else:
            seen += 1
    return [line for i, own in enumerate([*after, None]) for line in (*remarks.get(i, ()), own) if line is not None]


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
    kind, value, context = error["type"], _short(error["input"]), error.get("ctx", {})
    if kind == "extra_forbidden":
        near = get_close_matches(str(error["loc"][-1]), _KEYS, n=1, cutoff=0.5)
        return "this key is not known here" + (f"; did you mean {near[0]!r}?" if near else "")
    if kind == "dict_type":
        return f"expected keys with values below it, but it is {value}"
    if kind == "bool_parsing":
        return f"expected true or false, but it is {value}"
    if kind == "string_pattern_mismatch" and context.get("pattern", "").startswith("^#"):
        return f"expected a colour such as #ff8800, but it is {value}"
    if kind == "string_pattern_mismatch":
        return f"a word needs a letter or a digit and cannot hold any of {{ }} [ ] |, but it is {value}"
    if kind == "string_type":
        return f"expected text, but it is {value}; put it in quotation marks"
    if kind == "list_type":
        return f"expected a list such as [one, two], but it is {value}"
    if kind == "string_too_short":
        return "a word is empty"
    return f"{error['msg']}, but it is {value}"


def _short(value: Any) -> str:
    if isinstance(value, list | dict):
        # Never written out: a few lines of YAML can refer to one another and hold billions of words.
        return "a list" if isinstance(value, list) else "keys with values"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
