"""Calls written for another library get an error that says what to write here."""

import logging
import re
from typing import Any

import pytest

from embedry import LazyReranker, ModelSpec, OptionError, SpecError, UnknownOptionError, resolve, resolve_reranker
from embedry.views import LazyEmbedder
from recording import Recorder, over


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"batch_size": 32}, "encode_document has no argument 'batch_size'; leave it out: batches are made by number"),
        ({"show_progress_bar": True}, "write progress=True"),
        ({"normalize_embeddings": True}, "pass it to resolve: resolve(NAME, normalize=True)"),
        ({"convert_to_tensor": True}, "torch.from_numpy(vectors)"),
        ({"device": "cuda"}, "resolve(NAME, device=...)"),
        ({"colour": "red"}, "encode_document has no argument 'colour'; arguments: texts, timeout, progress"),
    ],
)
def test_an_argument_of_another_library_is_explained(
    minilm: LazyEmbedder, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(UnknownOptionError, match=re.escape(says)) as raised:
        minilm.encode_document(["a"], **arguments)
    assert isinstance(raised.value, TypeError)


def test_a_missing_role_is_explained(minilm: LazyEmbedder) -> None:
    with pytest.raises(OptionError, match=r"encode needs a role.*encode_query\(texts\) and encode_document\(texts\)"):
        minilm.encode(["a"])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'texts'"):
        minilm.encode(role="query")  # type: ignore[call-arg]


def test_a_type_error_from_inside_stays_what_it_is(minilm: LazyEmbedder) -> None:
    class Broken(Recorder):
        def forward(self, ids: Any, mask: Any) -> Any:
            raise TypeError("missing 1 required keyword-only argument: 'role'")

    with pytest.raises(RuntimeError, match="the backend 'onnxruntime' failed") as raised:
        over(Broken(), minilm).encode_document(["a"])
    assert isinstance(raised.value.__cause__, TypeError)


def test_a_reranker_explains_too(reranker: ModelSpec) -> None:
    found: LazyReranker = resolve_reranker(reranker)
    with pytest.raises(UnknownOptionError, match="score has no argument 'activation_fn'; the model's entry has"):
        found.score([("a", "b")], activation_fn=None)  # type: ignore[call-arg]


def test_an_entry_with_a_missing_field_names_its_model() -> None:
    with pytest.raises(SpecError, match=r"model entry 'ours/model': missing 2 .*'chain' and 'files'"):
        ModelSpec(name="ours/model", dims=3, max_seq_length=8, preferred_backend="onnxruntime", architecture="bert")  # type: ignore[call-arg]
    with pytest.raises(SpecError, match=r"model entry 'ours/model': got an unexpected keyword argument 'dim'"):
        ModelSpec(name="ours/model", dim=3)  # type: ignore[call-arg]


def test_progress_is_counted_in_texts_and_shown_on_a_terminal_alone(
    minilm: LazyEmbedder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"text {number % 90}" for number in range(100)]
    quiet = minilm.encode_document(texts, progress=True)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    shown = minilm.encode_document(texts, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "90/90" in captured.err
    assert "texts/s" in captured.err
    assert (quiet == shown).all()


def test_the_logger_says_where_files_are_and_how_long_loading_took(
    minilm: LazyEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    own = resolve(minilm.spec, threads=1, cache_dir=minilm.config.cache_dir)
    with caplog.at_level(logging.INFO, "embedry"), own:
        own.encode_query(["a"])
    lines = [record.getMessage() for record in caplog.records if record.name == "embedry"]
    assert re.fullmatch(r"files of 'all-MiniLM-L6-v2' are in /.* \(embedry's cache\)", lines[0])
    assert re.fullmatch(r"loaded 'all-MiniLM-L6-v2' on onnxruntime, cpu, in \d+\.\d\d s", lines[-2])
    assert lines[-1] == "unloaded 'all-MiniLM-L6-v2'"
