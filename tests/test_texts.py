"""What may be embedded: any iterable of texts. What may not is an error that says where, before anything is loaded."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from embedry import TextError, TextTypeError, WeightsNotFoundError, resolve
from embedry._pipeline.texts import checked
from embedry.views import LazyEmbedder
from entries import entry


class Column:
    """Like a column of a data frame: an iterable with an index of its own."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __getitem__(self, label: int) -> str:
        raise KeyError(label)


@pytest.fixture
def unloadable(tmp_path: Path) -> LazyEmbedder:
    """Its files are nowhere, so whatever is not found before loading fails otherwise."""
    return resolve(entry(folder=str(tmp_path / "nowhere")), cache_dir=tmp_path)


@pytest.mark.parametrize(
    "made",
    [
        list,
        tuple,
        iter,
        lambda texts: dict.fromkeys(texts).keys(),
        lambda texts: dict(enumerate(texts)).values(),
        Column,
        np.array,
        lambda texts: np.array(texts, dtype=object),
        lambda texts: (text for text in texts),
        lambda texts: map(np.str_, texts),
    ],
)
def test_any_iterable_of_texts_is_taken_in_its_order(made: Callable[[list[str]], Iterable[str]]) -> None:
    assert checked(made(["b", "", "a", "漢字 😀"])) == ["b", "", "a", "漢字 😀"]


def test_a_string_of_numpy_is_a_text_like_any_other(minilm: LazyEmbedder) -> None:
    texts = ["a text", "eine Ähre"]
    np.testing.assert_array_equal(minilm.encode_query(np.array(texts)), minilm.encode_query(texts))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a text", "got one str; write [text] for a single text"),
        (np.str_("a text"), "got one str_; write [text] for a single text"),
        (b"a text", "got one bytes; write [text] for a single text"),
        (None, "texts must be an iterable of str, got NoneType"),
        (7, "texts must be an iterable of str, got int"),
        (np.array("a text"), "texts must be an iterable of str, got ndarray"),
        ({"q1": "What?"}, "got dict; iterating over it gives its keys; pass d.values()"),
        ({"a", "b"}, "got set; it has no order, so vectors could not be matched with texts; pass sorted(texts)"),
        (frozenset("ab"), "got frozenset; it has no order"),
        (
            pa.table({"text": ["a"]}),
            'got Table; iterating over it gives its columns; pass one column, such as table["text"]',
        ),
        (["a", 7], "text 1 must be a str, got int: 7"),
        (["a", "b", None], "text 2 must be a str, got NoneType: None"),
        ([b"a"], "text 0 must be a str, got bytes: b'a'"),
        (["a", ["b", "c"]], "text 1 must be a str, got list: ['b', 'c']"),
        ((text for text in ("a", float("nan"))), "text 1 must be a str, got float: nan"),
        ([["long"] * 1000], "text 0 must be a str, got list: ['long', 'long', "),
        (bytearray(b"ab"), "text 0 must be a str, got int: 97"),
    ],
)
def test_what_is_no_text_is_named_with_its_position_before_anything_is_loaded(
    unloadable: LazyEmbedder, texts: Any, message: str
) -> None:
    with pytest.raises(TextTypeError, match=re.escape(message)) as error:
        unloadable.encode(texts, role="query")
    assert isinstance(error.value, TypeError)
    assert len(str(error.value)) < 150
    assert not unloadable.loaded


@pytest.mark.parametrize("code", [0xD800, 0xDFFF])
def test_a_lone_surrogate_is_named_with_its_position_and_character_before_anything_is_loaded(
    unloadable: LazyEmbedder, code: int
) -> None:
    surrogate = chr(code)
    texts = ["fine", "also fine: 😀", f"漢字 {surrogate} text", surrogate]
    with pytest.raises(
        TextError, match=re.escape(f"text 2 has a lone surrogate, {surrogate!a} at character 3")
    ) as error:
        unloadable.encode_document(texts)
    assert error.value.positions == (2,)
    assert isinstance(error.value, ValueError)
    assert not unloadable.loaded


def test_an_error_of_the_callers_own_iterable_comes_through_as_it_is(unloadable: LazyEmbedder) -> None:
    def texts() -> Iterator[str]:
        yield "a"
        raise TypeError("the caller's own")

    with pytest.raises(TypeError, match="the caller's own") as error:
        unloadable.encode_document(texts())
    assert not isinstance(error.value, TextTypeError)


def test_a_call_that_is_right_gets_as_far_as_loading(unloadable: LazyEmbedder) -> None:
    with pytest.raises(WeightsNotFoundError):
        unloadable.encode_query(["a text"])
