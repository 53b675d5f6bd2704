"""Which mutations of a folder hypothesis draws."""

import json
from pathlib import Path

from hypothesis import strategies as st

import mutations
from mutations import Mutation

KEYS: dict[str, tuple[str, ...]] = {
    "modules.json": ("type", "path", "idx", "kwargs"),
    "config.json": (
        "dim", "n_layers", "is_decoder", "is_encoder_decoder", "add_cross_attention", "pruned_heads", "quantization_config",
        "transformers_weights", "position_embedding_type", "num_labels", "id2label", "chunk_size_feed_forward", "dtype",
        "torch_dtype", "attn_implementation", "_attn_implementation", "auto_map", "return_dict", "output_attentions",
        "use_cache", "torchscript", "tie_word_embeddings", "problem_type", "_name_or_path", "classifier_dropout",
        "rope_scaling", "layer_types", "transformers_version", "architectures", "base_model_tp_plan", "text_config",
    ),
    "config_sentence_transformers.json": ("prompts", "default_prompt_name", "similarity_fn_name", "model_type"),
    "sentence_bert_config.json": (
        "transformer_task", "modality_config", "module_output_name", "tokenizer_name_or_path", "query_length", "model_args",
        "processing_kwargs", "config_args",
    ),
    "tokenizer_config.json": (
        "truncation_side", "add_prefix_space", "split_special_tokens", "auto_map", "pad_token", "extra_special_tokens",
        "chat_template", "padding_side",
    ),
    "tokenizer.json": ("truncation", "padding", "decoder", "normalizer", "pre_tokenizer", "post_processor"),
    "1_Pooling/config.json": ("pooling_mode", "embedding_dimension", "pooling_mode_lasttoken"),
    "2_Dense/config.json": ("module_input_name", "module_output_name", "use_residual"),
    "model.safetensors.index.json": ("metadata",),
}  # fmt: skip
"""Keys that files may have and those of the tiny model lack."""


def strategy(folder: Path) -> st.SearchStrategy[list[Mutation]]:
    """One or two mutations of a valid folder."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    weights = [file for file in files if file.endswith(".safetensors")]
    jsons = [file for file in files if file.endswith(".json")]
    values = st.sampled_from(sorted(mutations.VALUES))

    def in_file(file: str) -> st.SearchStrategy[Mutation]:
        found = list(mutations.places(json.loads((folder / file).read_bytes())))
        keys = KEYS.get(file, ("x",))
        inner = [place for place in found if place]
        dicts = [(), *(place[:-1] for place in inner if isinstance(place[-1], str))]
        added = st.builds(lambda at, key: (*at, key), st.sampled_from(dicts[:20]), st.sampled_from(keys))
        top = [place[0] for place in inner if len(place) == 1 and isinstance(place[0], str)]
        return st.one_of(
            st.builds(mutations.Set, st.just(file), st.sampled_from(found), values),
            st.builds(mutations.Set, st.just(file), st.sampled_from(found[:40]), values),
            st.builds(mutations.Set, st.just(file), added, values),
            st.builds(mutations.Set, st.just(file), added, values),
            st.builds(mutations.Drop, st.just(file), st.sampled_from(inner)),
            st.builds(mutations.Repeat, st.just(file), st.sampled_from([*top, *keys]), values),
            st.builds(
                mutations.Splice, st.just(file), st.integers(0, 2**16), st.sampled_from([0, 1, 2**20]), st.binary(max_size=3)
            ),
        )  # fmt: skip

    numbers = st.integers(0, 2**16)
    fields = ("dtype", "shape", "shape.0", "shape.1", "data_offsets", "data_offsets.0", "data_offsets.1", "all", "x")
    lengths = st.sampled_from([0, 1, 7, 8, 100, 2**20, 2**31, 2**62, 2**64 - 1])
    tensors = st.sampled_from([(file, name) for file in weights for name in sorted(mutations.split(folder / file)[0])])
    changes = st.sampled_from([*mutations.DTYPES, *mutations.CHANGES, "another name", "gone"])
    in_weights = [
        st.builds(lambda tensor, change: mutations.Tensor(tensor[0], tensor[1], change), tensors, changes),
        st.builds(lambda tensor, change: mutations.Tensor(tensor[0], tensor[1], change), tensors, changes),
        st.builds(mutations.Header, st.sampled_from(weights), numbers, st.sampled_from(fields), values),
        st.builds(mutations.HeaderLength, st.sampled_from(weights), lengths),
        st.builds(mutations.Splice, st.sampled_from(weights), numbers, st.sampled_from([0, 1, 2**20]), st.binary(max_size=9)),
    ]  # fmt: skip
    whole = [
        st.builds(mutations.Replace, st.sampled_from(files), st.sampled_from(mutations.REPLACEMENTS)),
        st.builds(mutations.Set, st.sampled_from(jsons), st.just(()), st.sampled_from(sorted(mutations.LARGE))),
        st.builds(mutations.Swap, st.sampled_from(files), st.sampled_from(files)),
    ]
    one: st.SearchStrategy[Mutation] = st.one_of(*map(in_file, jsons), *in_weights, *whole)
    return st.lists(one, min_size=1, max_size=2)
