"""Metadata filters: from the nested dicts that LangChain's stores take to the SQL that LanceDB takes."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


class FilterError(ValueError):
    """An invalid metadata filter."""


def sql(wanted: Mapping[str, Any]) -> str:
    """The condition on the column `metadata` that a filter describes. All of its entries must hold.

    {"source": "a.txt"} tests equality; {"page": {"$gte": 3, "$lt": 9}} compares; {"tag": {"$in": ["x", "y"]}} takes one
    of several; {"$or": [{...}, {...}]}, {"$and": [...]} and {"$not": {...}} combine. The operators are $eq, $ne, $gt,
    $gte, $lt, $lte, $in, $nin and $exists. A document without the key equals nothing and is not compared.

    Raises:
        FilterError: an unknown operator, or a value that cannot be compared.
    """
    if not isinstance(wanted, Mapping) or not wanted:
        raise FilterError(f"a filter must be a dict such as {{'source': 'a.txt'}}, got {wanted!r}")
    return _all(_condition(key, value) for key, value in wanted.items())


def _condition(key: str, wanted: Any) -> str:
    if key in ("$and", "$or"):
        if not isinstance(wanted, Sequence) or isinstance(wanted, str) or not wanted:
            raise FilterError(f"{key} must be a list of filters, got {wanted!r}")
        return (_all if key == "$and" else _any)(sql(part) for part in wanted)
    if key == "$not":
        return _not(sql(wanted))
    if not isinstance(key, str) or key.startswith("$"):
        raise FilterError(f"unknown operator {key!r}; combine filters with $and, $or and $not")
    field = f"json_extract(metadata, {_quoted('$.' + json.dumps(key, ensure_ascii=False))})"
    if not isinstance(wanted, Mapping):
        return _equals(field, wanted)
    if not wanted:
        raise FilterError(f"{key!r} must have a value or an operator, got {{}}")
    return _all(_compared(field, key, operator, value) for operator, value in wanted.items())


def _compared(field: str, key: str, operator: str, value: Any) -> str:
    if operator in _ORDER:
        return _ordered(field, key, operator, value)
    if operator not in _OTHERS:
        raise FilterError(f"{key!r}: unknown operator {operator!r}; known: {', '.join([*_ORDER, *_OTHERS])}")
    return _OTHERS[operator](field, value)


def _equals(field: str, value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return f"{field} = {_quoted(_text(value))}"
    if _is_number(value):  # 1 and 1.0 are the same number, but not the same text
        return f"try_cast({field} as double) = {value!r}"
    raise FilterError(f"a value must be a str, a finite number, True, False or None, got {value!r}")


def _ordered(field: str, key: str, operator: str, value: Any) -> str:
    if _is_number(value):
        return f"try_cast({field} as double) {_ORDER[operator]} {value!r}"
    if not isinstance(value, str):
        raise FilterError(f"{key!r}: {operator} must be a number or a str, got {value!r}")
    # JSON writes a string as "text". Without the last quote a bound stands before all that begins with it.
    bound, same = _quoted(_text(value)[:-1]), _equals(field, value)
    less, is_text = f"{field} < {bound}", f"{field} like '\"%'"
    ordered = {"$lt": less, "$lte": _any([less, same]), "$gte": _not(less), "$gt": _all([_not(less), _not(same)])}
    return _all([is_text, ordered[operator]])


def _in(field: str, values: Any) -> str:
    if not isinstance(values, Sequence | set | frozenset) or isinstance(values, str):
        raise FilterError(f"$in and $nin must be a list of values, got {values!r}")
    return _any(_equals(field, value) for value in values) if values else "false"


def _exists(field: str, wanted: Any) -> str:
    return f"{field} is not null" if wanted else f"{field} is null"


_OTHERS: dict[str, Callable[[str, Any], str]] = {
    "$eq": _equals,
    "$ne": lambda field, value: _not(_equals(field, value)),
    "$in": _in,
    "$nin": lambda field, values: _not(_in(field, values)),
    "$exists": _exists,
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _all(conditions: Any) -> str:
    return "(" + " and ".join(conditions) + ")"


def _any(conditions: Any) -> str:
    return "(" + " or ".join(conditions) + ")"


def _not(condition: str) -> str:
    return f"(not coalesce({condition}, false))"  # a missing key does not compare as true, so its negation does
