"""Checking data against a JSON Schema, with the keywords that ``schema.json`` uses.

Of what the schema says, this holds types, presence, constants and alternatives;
members that it does not know may come from a later version and are let pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def problems(value: Any, schema: Schema) -> Iterator[str]:
    """What is wrong with a value: where, what was found and what was expected."""
    yield from _problems(value, schema, schema, "")


def _problems(value: Any, schema: Schema, root: Schema, place: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        yield from _alternatives(value, schema["anyOf"], root, place)
    where = place or "the report"
    if "const" in schema and value != schema["const"]:
        yield f"{where} is {_shorten(value)}, expected {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {_shorten(value)}, expected one of {schema['enum']}"
    if "type" in schema and not _is_a(value, schema["type"]):
        yield f"{where} is {_shorten(value)}, expected {_type_names(schema['type'])}"
    elif isinstance(value, dict):
        yield from _in_object(value, schema, root, place)
    elif isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            yield from _problems(item, schema["items"], root, f"{place}[{number}]")


def _alternatives(value: Any, schemas: list[Schema], root: Schema, place: str) -> Iterator[str]:
    """Nothing where one fits, else what is wrong with the value as the nearest of them."""
    issues_by_schema = [list(_problems(value, schema, root, place)) for schema in schemas]
    if all(issues_by_schema):
        issues = [issue for of_one in issues_by_schema for issue in of_one]
        # An alternative of the right type complains of something inside the value.
        inside = (issue for issue in issues if not issue.startswith(f"{place} is "))
        yield next(inside, issues[0])


def _in_object(value: Schema, schema: Schema, root: Schema, place: str) -> Iterator[str]:
    missing = sorted(set(schema.get("required", ())) - value.keys())
    if missing:
        yield f"{place or 'a report'} without {', '.join(missing)}"
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, item in value.items():
        inner = properties.get(name, others if isinstance(others, dict) else None)
        if inner is not None:
            yield from _problems(item, inner, root, f"{place}.{name}" if place else name)


def _is_a(value: Any, names: str | list[str]) -> bool:
    types = [names] if isinstance(names, str) else names
    if isinstance(value, bool):
        return "boolean" in types
    return any(isinstance(value, _TYPES[name]) for name in types)


def _type_names(names: str | list[str]) -> str:
    return names if isinstance(names, str) else " or ".join(names)


def _shorten(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) < 60 else f"{text[:60]}..."
