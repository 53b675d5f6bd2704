"""Compiles Jinja templates of models, restricted to a subset of the language with bounded running time.

Jinja's sandbox isolates a template, but still allows repeating strings and nesting loops without limit. The subset excludes
arithmetic, calls other than `get` of a dict, more than two nested loops, and variables that grow. Whitespace around blocks is
removed as in the transformers library.
"""

from collections.abc import Collection, Iterator
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from embedry.errors import UnsupportedModelError

_LARGEST = 4096
"""Characters. Templates of rerankers have some hundred."""

_MOST_LOOPS = 2
"""In one another: over messages, and over the parts of one."""

_PLAIN = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Slice,
    nodes.Test, nodes.Compare, nodes.Operand, nodes.If, nodes.CondExpr, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Dict,
    nodes.Pair, nodes.Keyword, nodes.Assign, nodes.For, nodes.Filter, nodes.Call,
)  # fmt: skip
"""What may stand anywhere."""

_GROWING = (nodes.Add, nodes.Concat, nodes.List, nodes.Tuple)
"""What may stand where nothing is kept of it."""

_CHOOSING = ("selectattr", "rejectattr", "map", "first", "last", "default", "d")
"""Filters whose result is no larger than what they are given."""

_FILTERS = (*_CHOOSING, "trim", "join", "string", "list")


class Template:
    """A compiled template."""

    def __init__(self, compiled: jinja2.Template, names: Collection[str], where: str) -> None:
        self._compiled = compiled
        self._where = where
        self.names = names
        """Of the values that it takes."""

    def __call__(self, **values: Any) -> str:
        """Renders the template with these values.

        Raises:
            UnsupportedModelError: rendering fails.
        """
        try:
            return self._compiled.render(raise_exception=_raise, **values)
        except Exception as error:  # rendering may raise any exception
            raise self.refused(f"fails for a query and a document ({type(error).__name__}: {error})") from None

    def refused(self, what: str) -> UnsupportedModelError:
        """The error for a template with this construct."""
        return UnsupportedModelError(f"{self._where} {what}, and embedry cannot read pairs so")


def compiled(template: str, where: str) -> Template:
    """Compiles a template that stays within the subset.

    Args:
        template: the source of the template.
        where: its name in messages.

    Raises:
        UnsupportedModelError: the template leaves the subset; names the construct.
    """
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    if len(template) > _LARGEST:
        raise UnsupportedModelError(f"{where} has {len(template)} characters; embedry reads no more than {_LARGEST}")
    try:
        parsed = environment.parse(template)
        for fault in _faults(parsed, 0, keeps=False):
            raise UnsupportedModelError(f"{where} has {fault}, which embedry does not run")
        return Template(environment.from_string(template), meta.find_undeclared_variables(parsed), where)
    except (jinja2.TemplateError, RecursionError, MemoryError, SyntaxError) as error:
        raise UnsupportedModelError(f"{where} cannot be read: {type(error).__name__}: {error}") from None


def _faults(node: nodes.Node, loops: int, *, keeps: bool) -> Iterator[str]:
    """The unsupported constructs of a node; `keeps` is whether a variable stores its result."""
    allowed = _PLAIN if keeps else (*_PLAIN, *_GROWING)
    if type(node) not in allowed:
        yield f"{type(node).__name__} in line {node.lineno}{' of a variable' * keeps}"
    elif isinstance(node, nodes.Filter) and node.name not in (_CHOOSING if keeps else _FILTERS):
        yield f"the filter {node.name!r} in line {node.lineno}{' of a variable' * keeps}"
    elif isinstance(node, nodes.Filter) and node.name == "map" and (node.args or node.dyn_args or node.dyn_kwargs):
        yield f"the filter 'map' of another filter in line {node.lineno}"
    elif isinstance(node, nodes.Call) and not _is_known(node.node):
        yield f"a call in line {node.lineno}"
    elif isinstance(node, nodes.For) and (node.recursive or loops == _MOST_LOOPS):
        yield f"too many loops in one another in line {node.lineno}"
    elif isinstance(node, nodes.Dict) and keeps and any(not isinstance(pair.value, nodes.Const) for pair in node.items):
        yield f"a dict of other values in line {node.lineno} of a variable"
    else:
        for child in node.iter_child_nodes():
            yield from _faults(
                child, loops + isinstance(node, nodes.For), keeps=keeps or isinstance(node, nodes.Assign)
            )


def _is_known(called: nodes.Node) -> bool:
    if isinstance(called, nodes.Getattr):
        return called.attr == "get"
    return isinstance(called, nodes.Name) and called.name == "raise_exception"


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
