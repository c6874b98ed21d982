"""Recipes from YAML files and `key=value` words.

A recipe may name a model file (`model: cris`: `models/cris.yaml` beside it, `model: best/cris`: a shipped one; what the
recipe itself says wins) and, among its sources, data sets by their names (`napari_medvlsm/data/datasets`).
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from medvlsm_training.config import Recipe, SourceConfig
from napari_medvlsm.core.datasets.catalogue import recipe_sources
from napari_medvlsm.core.plain_files import check_yaml, is_there, parse_yaml, read_yaml, shown
from napari_medvlsm.core.validation_errors import first_problem

SHIPPED = Path(str(resources.files("medvlsm_training") / "recipes"))
_log = logging.getLogger(__name__)
# Keys and values of version 0.1.0 and of the development versions after it; read with a warning until version 0.3.
_OLD_PROMPT_KEYS = {
    "carriers": "templates",
    "carried": "template_prob",
    "made_up": "nonsense_prob",
    "negatives_from": "negatives_start_epoch",
}
_OLD_WORDING = {"release": "upstream"}
_OLD_LAYOUT = {"reference": "upstream"}
_OLD_ENCODER_WEIGHTS = {"imagenet": "library"}


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that ship with the package, such as "paper/kvasir_polyp"."""
    found = (path.relative_to(SHIPPED).with_suffix("").as_posix() for path in sorted(SHIPPED.rglob("*.yaml")))
    return tuple(name for name in found if "models/" not in name)


def load_recipe(name: str | Path, words: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    name : str or Path
        Of a shipped recipe, or a YAML file.
    words : sequence of str
        `key=value`, with dots for keys in keys (`trainer.max_epochs=5`) and YAML for values; they win over the file.

    Raises
    ------
    ValueError
        For a recipe that is not there, an unknown key (with the nearest known one), or a value out of range.
    """
    path = _find(name)
    raw = _read(path)
    changes = [_renamed_change(*_change(word)) for word in words]
    for keys, value in changes:
        if keys == ["model"]:
            raw["model"] = value
    if isinstance(raw.get("model"), str):
        raw = _merged(_read(_model_file(path, raw.pop("model"))), raw)
    for keys, value in changes:
        if keys != ["model"]:
            _set(raw, keys, value)
    return recipe_from(raw, path.name)


def recipe_from(raw: dict[str, Any], where: str) -> Recipe:
    """A recipe of plain values, such as those in a model card; keys of the version before are read with a warning.

    Parameters
    ----------
    raw : dict
    where : str
        For the sentence of an error.

    Raises
    ------
    ValueError
        As `load_recipe`.
    """
    raw = _renamed(raw, where)
    sources = raw.get("sources") or []
    if not isinstance(sources, list | tuple):
        said = shown(repr(sources), 60)
        raise ValueError(f"{where}: sources must be a list, such as [kvasir_polyp], but is {said}.")
    raw["sources"] = [_source(entry) for entry in sources]
    _check_keys(raw, Recipe, "")
    try:
        return TypeAdapter(Recipe).validate_python(raw)
    except ValidationError as error:
        raise ValueError(f"{where}: {first_problem(error)}") from error


def dumped(recipe: Recipe) -> str:
    """The recipe as YAML that `load_recipe` reads back."""
    return yaml.safe_dump(
        TypeAdapter(Recipe).dump_python(recipe, mode="json"), sort_keys=False, allow_unicode=True, width=120
    )


def listing() -> str:
    """The shipped recipes as lines of text: by family, with their titles and the models to choose from."""
    lines = []
    names = shipped_recipes()
    width = max(map(len, names)) + 2
    for family in dict.fromkeys(name.rpartition("/")[0] for name in names):
        models = ", ".join(_models(SHIPPED / family))
        lines += ["", f"{family or 'of this project'} (model={models})"]
        own = [name for name in names if name.rpartition("/")[0] == family]
        lines += [f"  {name:<{width}}{_read(SHIPPED / f'{name}.yaml')['title']}" for name in own]
    return "\n".join(lines[1:])


def _models(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "models").glob("*.yaml"))


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _find(name: str | Path) -> Path:
    for path in (SHIPPED / f"{name}.yaml", Path(name)):
        if is_there(path):
            return path
    near = difflib.get_close_matches(str(name), shipped_recipes(), n=3, cutoff=0.4)
    hint = f"the nearest shipped ones are {', '.join(near)}" if near else f"shipped are {', '.join(shipped_recipes())}"
    raise ValueError(f"There is no recipe {shown(repr(str(name)))}: {hint}; or name a YAML file.")


def _model_file(recipe: Path, name: str) -> Path:
    """`models/NAME.yaml` beside the recipe, or of shipped recipes ("best/cris")."""
    family, _, model = name.rpartition("/")
    folder = SHIPPED / family if family else recipe.parent
    if is_there(path := folder / "models" / f"{model}.yaml"):
        return path
    known = _models(folder)
    there = ", ".join(known) or "none"
    raise ValueError(
        f"There is no model {shown(repr(name))} for {recipe.name}; there are: {there}.{_did_you_mean(model, known)}"
    )


def _read(path: Path) -> dict[str, Any]:
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise ValueError(f"{path} holds no recipe: keys and values were expected.")
    return _renamed(raw, path.name)


def _renamed(raw: dict[str, Any], where: str) -> dict[str, Any]:
    """Plain values of a recipe with today's keys."""
    raw = dict(raw)
    if isinstance(raw.get("prompts"), dict):
        prompts = {_new(k, _OLD_PROMPT_KEYS, f"{where}: the key prompts."): v for k, v in raw["prompts"].items()}
        if "wording" in prompts:
            prompts["wording"] = _new(prompts["wording"], _OLD_WORDING, f"{where}: the value prompts.wording: ")
        raw["prompts"] = prompts
    model = raw.get("model")
    sizes = model.get("sizes") if isinstance(model, dict) else None
    if isinstance(model, dict) and isinstance(sizes, dict) and "encoder_weights" in sizes:
        old = sizes["encoder_weights"] or ""
        weights = _new(old, _OLD_ENCODER_WEIGHTS, f"{where}: model.encoder_weights, no longer in model.sizes: ")
        kept = {k: v for k, v in sizes.items() if k != "encoder_weights"}
        raw["model"] = {"encoder_weights": weights, **model, "sizes": kept}
    if isinstance(raw.get("sources"), list | tuple):
        raw["sources"] = [_renamed_source(source, where) for source in raw["sources"]]
    return raw


def _renamed_source(source: Any, where: str) -> Any:
    if not isinstance(source, dict) or "layout" not in source:
        return source
    return {**source, "layout": _new(source["layout"], _OLD_LAYOUT, f"{where}: the value layout: ")}


def _renamed_change(keys: list[str], value: Any) -> tuple[list[str], Any]:
    """A change from the command line with today's keys."""
    if keys == ["prompts", "wording"]:
        value = _new(value, _OLD_WORDING, "The value prompts.wording: ")
    elif keys[:1] == ["prompts"] and len(keys) == 2:
        keys = [keys[0], _new(keys[1], _OLD_PROMPT_KEYS, "The key prompts.")]
    return keys, value


def _new(old: Any, names: dict[str, str], what: str) -> Any:
    """Today's name of a key or value, with a warning where that is another."""
    if not isinstance(old, str) or old not in names:
        return old
    _log.warning("%s%s is now called %s; the old name will be refused from version 0.3 on.", what, old, names[old])
    return names[old]


def _change(word: str) -> tuple[list[str], Any]:
    key, equals, text = word.partition("=")
    if not equals:
        raise ValueError(f"{word!r} changes no key; write key=value, for example trainer.max_epochs=5.")
    check_yaml(text, Path(key))
    return key.strip().split("."), parse_yaml(text, f"The value of {key}, {shown(repr(text))},")


def _set(raw: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        below = raw.setdefault(key, {})
        if not isinstance(below, dict):
            raise ValueError(f"{'.'.join(keys)} cannot be set: {key} holds {below!r}.")
        raw = below
    raw[keys[-1]] = value


def _merged(base: Any, more: Any) -> Any:
    """Mappings key by key; anything else is replaced."""
    if isinstance(base, dict) and isinstance(more, dict):
        return base | {k: _merged(base[k], v) if k in base else v for k, v in more.items()}
    return more


def _source(entry: Any) -> Any:
    """A source; one that names a data set of the catalogue gets what is known of it."""
    known = recipe_sources()
    name = entry if isinstance(entry, str) else entry.get("folder") if isinstance(entry, dict) else None
    if isinstance(entry, str) and entry not in known:
        raise ValueError(f"There is no data set {entry!r}; known are {', '.join(known)}.{_did_you_mean(entry, known)}")
    own = {} if isinstance(entry, str) else entry
    return {"folder": name, **known.get(str(name), {}), **own} if isinstance(own, dict) else entry


def _check_keys(raw: Any, kind: Any, where: str) -> None:
    """An unknown key is an error that names the nearest."""
    if not isinstance(raw, dict):
        return
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1) or [
                f"{path}.{key}" for path in _keys_within(kind) if key in _names(path, kind)
            ]
            hint = f" Did you mean {near[0]!r}?" if near else f" Known keys: {', '.join(known)}."
            raise ValueError(f"Unknown key {where + str(key)!r} in the recipe.{hint}")
        below = hints[key]
        if is_dataclass(below):
            _check_keys(value, below, f"{where}{key}.")
        elif SourceConfig in get_args(below) and isinstance(value, list):
            for entry in value:
                _check_keys(entry, SourceConfig, f"{where}{key}.")


def _keys_within(kind: Any) -> Iterator[str]:
    yield from (name for name, hint in get_type_hints(kind).items() if is_dataclass(hint))


def _names(key: str, kind: Any) -> list[str]:
    return [f.name for f in fields(get_type_hints(kind)[key])]
