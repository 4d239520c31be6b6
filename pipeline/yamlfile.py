"""YAML and settings from files, with errors that name the file, the key and what is allowed."""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.errors import InputError

MAX_BYTES = 5_000_000
M = TypeVar("M", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """Keys are the text as written (a season may be called 2018 or no); a key given twice is an error."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        result: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be plain text", key_node.start_mark
                )
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, "<< is not supported", key_node.start_mark
                )
            if key_node.value in result:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key_node.value!r} is given twice", key_node.start_mark
                )
            result[key_node.value] = self.construct_object(value_node, deep=True)
        return result


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_mapping)


def read(path: Path) -> Any:
    """The content of a YAML file. Raises InputError naming the file and line."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: {path.stat().st_size} bytes; a config has at most {MAX_BYTES}")
        text = path.read_bytes().decode("utf-8-sig")
        if "\0" in text:
            raise InputError(f"{path}: a binary file, expected YAML text")
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text, expected YAML (is it a binary file?)") from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def parse(model: type[M], path: Path, context: dict[str, Any] | None = None) -> M:
    """The settings in a YAML file. Raises InputError with one line a fault."""
    content = read(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: found {_shown(content)}, expected keys {', '.join(model.model_fields)}")
    try:
        return model.model_validate(content, context=context)
    except ValidationError as error:
        faults = [_fault(e, model, content) for e in _own(error.errors(include_url=False))]
        raise InputError("\n".join(f"{path}: {fault}" for fault in faults)) from None


def _own(errors: list[Any]) -> list[Any]:
    """Without those that only follow from another: a list whose entry is bad is not "too short"."""
    deeper = [e["loc"] for e in errors]
    return [
        e
        for e in errors
        if e["type"] != "too_short"
        or not any(loc != e["loc"] and loc[: len(e["loc"])] == e["loc"] for loc in deeper)
    ]


def _place(content: Any, path: tuple[Any, ...]) -> str:
    """A dotted path as the file has it: without the kinds by which pydantic tells settings apart."""
    parts, node = [], content
    for part in path:
        inside = isinstance(node, dict | list)
        if isinstance(node, dict) and part not in node and node.get("kind") == part:
            continue
        parts.append(str(part))
        try:
            node = node[part] if inside else None
        except (KeyError, IndexError, TypeError):
            node = None
    return ".".join(parts)


def _fault(error: Any, model: type[BaseModel], content: Any) -> str:
    place = _place(content, error["loc"])
    kind = error["type"]
    if kind == "extra_forbidden":
        known = _known(model, error["loc"][:-1])
        return f"{place}: unknown key; allowed: {known}" if known else f"{place}: unknown key"
    if kind == "missing":
        return f"{place}: missing, expected a value"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    where = f"{place}: " if place else ""
    shown = _shown(error["input"])
    found = f"found {shown}; " if not isinstance(error["input"], dict | list) else ""
    return f"{where}{found}{message}"


def _known(model: Any, path: tuple[Any, ...]) -> str:
    """Keys that a model allows at ``path`` (a best effort through nested models, lists and unions)."""
    models = [model]
    for part in path:
        following: list[Any] = []
        for m in models:
            field = m.model_fields.get(part) if isinstance(part, str) else None
            following += _models(field.annotation) if field else [m]
        models = following or models
    kinds = [m for m in models if path and _kind(m) == path[-1]] or models
    return ", ".join(dict.fromkeys(key for m in kinds for key in m.model_fields))


def _kind(model: Any) -> str | None:
    field = model.model_fields.get("kind")
    arguments = list(getattr(field.annotation, "__args__", ())) if field else []
    return str(arguments[0]) if len(arguments) == 1 else None


def _models(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for a in getattr(annotation, "__args__", ()) for m in _models(a)]


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return repr(text) if len(text) <= 80 else repr(text[:77] + "...")
