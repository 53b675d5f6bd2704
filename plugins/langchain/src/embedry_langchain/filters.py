"""Metadata filters: converts the nested dicts of LangChain's stores to SQL for LanceDB."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from embedry_langchain.metadata import has_lone_surrogate

_ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}

_DEEPEST = 8
"""Filters inside filters. What LanceDB's parser accepts depends on their contents, and is at least this."""


class FilterError(ValueError):
    """An invalid metadata filter."""


def sql(wanted: Mapping[str, Any], depth: int = 0) -> str:
    """The SQL condition of a filter on the column `metadata`. All entries must match.

    {"source": "a.txt"} tests equality; {"page": {"$gte": 3, "$lt": 9}} compares; {"tag": {"$in": ["x", "y"]}} matches one
    of several; {"$or": [{...}, {...}]}, {"$and": [...]} and {"$not": {...}} combine. The operators are $eq, $ne, $gt,
    $gte, $lt, $lte, $in, $nin and $exists. A missing key equals nothing, and ordering comparisons do not match.

    Args:
        wanted: the filter.
        depth: the nesting depth of the filter.

    Raises:
        FilterError: an unknown operator, a value that cannot be compared, a key that cannot be selected, or filters
            nested too deeply.
    """
    if depth > _DEEPEST:
        raise FilterError(f"filters must be nested at most {_DEEPEST} levels deep; combine them in one $and or $or")
    if not isinstance(wanted, Mapping) or not wanted:
        raise FilterError(f"a filter must be a dict such as {{'source': 'a.txt'}}, got {wanted!r}")
    return _all(_condition(key, value, depth) for key, value in wanted.items())


def _condition(key: str, wanted: Any, depth: int) -> str:
    if key in ("$and", "$or"):
        if not isinstance(wanted, Sequence) or isinstance(wanted, str) or not wanted:
            raise FilterError(f"{key} must be a list of filters, got {wanted!r}")
        return (_all if key == "$and" else _any)(sql(part, depth + 1) for part in wanted)
    if key == "$not":
        return _not(sql(wanted, depth + 1))
    if not isinstance(key, str) or not key:
        raise FilterError(f"a key must be a str that is not empty, got {key!r}")
    if key.startswith("$"):
        raise FilterError(f"unknown operator {key!r}; combine filters with $and, $or and $not")
    field = f"json_extract(metadata, {_quoted('$.' + _text(key))})"
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
        return _as_number(field, "=", value)
    raise FilterError(f"a value must be a str, a finite number, True, False or None, got {_shown(value)}")


def _ordered(field: str, key: str, operator: str, value: Any) -> str:
    if _is_number(value):
        return _as_number(field, _ORDER[operator], value)
    if not isinstance(value, str):
        raise FilterError(f"{key!r}: {operator} must be a finite number or a str, got {_shown(value)}")
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


def _as_number(field: str, comparison: str, value: float) -> str:
    rounded = f"try_cast({field} as double) {comparison} {value!r}"
    if isinstance(value, float) or abs(value) < 2**53:
        return rounded
    # From 2**53 on, neighboring integers are one double.
    exact = "decimal(38, 0)"
    return f"coalesce(try_cast({field} as {exact}) {comparison} try_cast('{value}' as {exact}), {rounded})"


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int larger than every float
        return False


def _text(value: Any) -> str:
    if isinstance(value, str) and has_lone_surrogate(value):
        raise FilterError(f"a key or a value has a lone surrogate, which no stored text has: {value!r}")
    return json.dumps(value, ensure_ascii=False)


def _shown(value: Any) -> str:
    return f"an int of {value.bit_length()} bits" if isinstance(value, int) and value.bit_length() > 64 else repr(value)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _all(conditions: Iterable[str]) -> str:
    return _joined(" and ", conditions)


def _any(conditions: Iterable[str]) -> str:
    return _joined(" or ", conditions)


def _joined(word: str, conditions: Iterable[str]) -> str:
    several = list(conditions)  # of one, parentheses would only bring the parser's limit nearer
    return f"({word.join(several)})" if len(several) > 1 else several[0]


def _not(condition: str) -> str:
    return f"({condition} is not true)"  # a missing key does not compare as true, so its negation does
