"""Errors for invalid arguments that say what to write instead, mainly for users of other libraries."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from embedry.errors import OptionError, SpecError, UnknownOptionError

P = ParamSpec("P")
R = TypeVar("R")

_INSTEAD = {
    "activation_fn": "the model's entry has the activation; logits(pairs) gives the scores before it",
    "apply_softmax": "logits(pairs) gives the scores before any activation",
    "batch_size": "leave it out: batches are made by number of tokens, which is faster than any fixed size",
    "chunk_size": "leave it out: encode_stream(texts, role=...) embeds any number of texts in constant memory",
    "convert_to_numpy": "leave it out: the result is a numpy array",
    "convert_to_tensor": "leave it out: the result is a numpy array: torch.from_numpy(vectors)",
    "device": "pass it to resolve: resolve(NAME, device=...)",
    "normalize_embeddings": "pass it to resolve: resolve(NAME, normalize=True)",
    "output_value": "use resolve_multi_vector for vectors of tokens",
    "parallel": "leave it out: one embedder uses all processors, see threads= of resolve",
    "precision": "pass it to resolve: resolve(NAME, precision=...)",
    "prompt": 'put the prompt before the texts yourself and use role="unprompted"',
    "prompt_name": "a role takes its place: write role=...",
    "show_progress_bar": "write progress=True",
    "task": "a role takes its place: write role=...",
    "truncate_dim": "pass it to resolve: resolve(NAME, dims=...)",
}
"""An argument of sentence-transformers or fastembed, and what to write instead."""


def explained(method: Callable[P, R]) -> Callable[P, R]:
    """Makes arguments that a method does not have, and a missing role, errors that say what to write instead.

    Raises:
        UnknownOptionError: the method has no such argument.
        OptionError: the role is missing.
    """

    @wraps(method)
    def call(*args: P.args, **given: P.kwargs) -> R:
        try:
            return method(*args, **given)
        except TypeError as error:
            if not _is_about_the_call(error):
                raise
            raise _explanation(method, given, error) from None

    return call


def named_in_errors(construct: Callable[P, None]) -> Callable[P, None]:
    """Makes a missing or unknown field of a registry entry an error that names the model, of a hundred that a pack registers.

    Raises:
        SpecError: a field is missing, or unknown.
    """

    @wraps(construct)
    def checked(*args: P.args, **fields: P.kwargs) -> None:
        try:
            construct(*args, **fields)
        except TypeError as error:
            if not _is_about_the_call(error):
                raise
            reason = str(error).removeprefix("ModelSpec.__init__() ")
            raise SpecError(f"model entry {fields.get('name', '?')!r}: {reason}") from None

    return checked


def _is_about_the_call(error: TypeError) -> bool:
    """Whether the arguments did not fit, in the frame of the call itself, and nothing inside of it failed."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is None


def _explanation(method: Callable[..., object], given: dict[str, object], error: TypeError) -> Exception:
    known = method.__annotations__
    name = method.__name__
    for argument in given:
        if argument not in known:
            instead = _INSTEAD.get(argument, f"arguments: {', '.join(each for each in known if each != 'return')}")
            return UnknownOptionError(f"{name} has no argument {argument!r}; {instead}")
    if "role" in known and "role" not in given:
        return OptionError(
            f'{name} needs a role, because many models read queries and documents differently: role="query" or '
            'role="document", as encode_query(texts) and encode_document(texts) do'
        )
    return error
