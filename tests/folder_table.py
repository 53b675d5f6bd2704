"""The folders of models that every engine must run as sentence-transformers does, or refuse."""

from collections.abc import Callable
from typing import Any

import torch
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer import modules as library
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from torch import nn

from folder_edits import (
    LENGTH_FILE,
    OLD_CLASS_NAMES,
    both,
    change,
    drop,
    into_folder,
    length_file,
    old_names,
    old_pooling,
    pickled,
    positions,
    rename_modules,
    set_in,
    shard,
    to,
    weights,
)
from folders import WIDTH, Made


def dense(activation: nn.Module | None = None, inputs: int = WIDTH, outputs: int = 20, **options: Any) -> Dense:
    """A Dense layer; without an activation, the identity."""
    return Dense(inputs, outputs, activation_function=activation or nn.Identity(), **options)


_LENGTH_64 = both(length_file(LENGTH_FILE), change(LENGTH_FILE, max_seq_length=64))
_WORDS = "embeddings.word_embeddings.weight"
_CASED = both(
    set_in("tokenizer.json", "normalizer", "lowercase", value=False),
    change("tokenizer_config.json", do_lower_case=False),
)
"""A tokenizer that keeps capitals and accents, and says so in both of its files."""

_MODES = ("cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
_ACTIVATIONS = (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.Sigmoid, nn.SiLU)


def _chain(*modules: Callable[[], nn.Module]) -> Callable[[], list[nn.Module]]:
    return lambda: [module() for module in modules]


def _pooling(*modes: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: Pooling(WIDTH, pooling_mode=list(modes), **options)


def _dense(activation: nn.Module | None = None, *sizes: int, **options: Any) -> Callable[[], nn.Module]:
    return lambda: dense(activation, *sizes, **options)


MEAN = _pooling("mean")

FOLDERS: dict[str, Made] = {
    # families, each with a tokenizer of its kind
    "bert": Made(),
    "bert of 30,522 words": Made(tokenizer="whole"),
    "distilbert": Made(family="distilbert"),
    "mpnet": Made(family="mpnet"),
    "roberta": Made(family="roberta"),
    "xlm-roberta": Made(family="xlm-roberta"),
    "distilbert, first token": Made(family="distilbert", chain=_chain(_pooling("cls"))),
    # poolings
    **{f"pooling {mode}": Made(chain=_chain(_pooling(mode), Normalize)) for mode in _MODES},
    "every pooling in one module": Made(family="roberta", chain=_chain(_pooling("mean", *_MODES))),
    "two poolings in one module": Made(chain=_chain(_pooling("cls", "mean"), Normalize)),
    "two Pooling modules": Made(chain=_chain(_pooling("max", "cls"), MEAN, Normalize)),
    # chains
    "no Normalize": Made(chain=_chain(MEAN)),
    "Normalize twice": Made(chain=_chain(MEAN, Normalize, Normalize)),
    **{
        f"Dense {activation.__name__}": Made(chain=_chain(MEAN, _dense(activation()), Normalize))
        for activation in _ACTIVATIONS
    },
    "Dense without bias": Made(chain=_chain(MEAN, _dense(nn.Tanh(), bias=False))),
    "Normalize, then Dense": Made(chain=_chain(MEAN, Normalize, _dense(nn.Tanh()))),
    "Normalize around Dense": Made(family="mpnet", chain=_chain(MEAN, Normalize, _dense(), Normalize)),
    "two Dense": Made(
        family="xlm-roberta", chain=_chain(MEAN, _dense(None, WIDTH, 64, bias=False), _dense(None, 64, 16), Normalize)
    ),
    "Dense, Normalize, Dense": Made(chain=_chain(MEAN, _dense(nn.GELU()), Normalize, _dense(nn.ReLU(), 20, 12))),
    "Dense over two poolings": Made(chain=_chain(_pooling("mean", "max"), _dense(nn.Tanh(), 64, 16), Normalize)),
    "Dense between two Pooling modules": Made(chain=_chain(MEAN, _dense(nn.Tanh()), _pooling("cls"), Normalize)),
    "LayerNorm": Made(chain=_chain(MEAN, lambda: library.LayerNorm(WIDTH))),
    "Dense, LayerNorm, Normalize": Made(chain=_chain(MEAN, _dense(), lambda: library.LayerNorm(20), Normalize)),
    "Dropout": Made(chain=_chain(MEAN, lambda: library.Dropout(0.5), _dense(nn.Tanh()), Normalize)),
    "Dense with a residual": Made(chain=_chain(MEAN, _dense(nn.Tanh(), WIDTH, WIDTH, use_residual=True))),
    "Dense with a residual of its own": Made(chain=_chain(MEAN, _dense(nn.Tanh(), use_residual=True))),
    "Dense Hardtanh": Made(chain=_chain(MEAN, _dense(nn.Hardtanh()), Normalize)),
    "CNN": Made(chain=_chain(lambda: library.CNN(WIDTH, 16, [1, 3]), lambda: Pooling(32), Normalize), alone=True),
    "WeightedLayerPooling": Made(
        chain=_chain(lambda: library.WeightedLayerPooling(WIDTH, 2, 1), MEAN),
        edit=change("config.json", output_hidden_states=True),
    ),
    "prompt left out of the pooling": Made(
        chain=_chain(_pooling("mean", include_prompt=False), Normalize), prompts={"query": "query: ", "document": "d: "}
    ),
    # prompts
    "prompts": Made(family="roberta", prompts={"query": "query: ", "document": "passage: "}),
    # The library documents that a passage's prompt is for documents, and never gets there: it adds an empty one of theirs.
    "prompt of a passage": Made(
        edit=change("config_sentence_transformers.json", prompts={"query": "query: ", "passage": "passage: "}),
        roles={"document": "passage"},
    ),
    "prompt of a corpus": Made(
        edit=change("config_sentence_transformers.json", prompts={"corpus": "title: "}), roles={"document": "corpus"}
    ),
    "prompt of a passage, none of a document": Made(prompts={"query": "query: ", "passage": "passage: "}),
    "default prompt": Made(prompts={"task": "task: "}, default_prompt="task"),
    "default prompt, no roles": Made(
        edit=change("config_sentence_transformers.json", prompts={"task": "task: "}, default_prompt_name="task")
    ),
    # layouts
    "sentence_bert_config.json": Made(edit=length_file("sentence_bert_config.json", do_lower_case=False)),
    "sentence_roberta_config.json": Made(family="roberta", edit=length_file("sentence_roberta_config.json")),
    "sentence_distilbert_config.json": Made(family="distilbert", edit=length_file("sentence_distilbert_config.json")),
    "sentence_camembert_config.json": Made(family="xlm-roberta", edit=length_file("sentence_camembert_config.json")),
    "sentence_albert_config.json": Made(edit=length_file("sentence_albert_config.json")),
    "sentence_xlm-roberta_config.json": Made(
        family="xlm-roberta", edit=length_file("sentence_xlm-roberta_config.json")
    ),
    "sentence_xlnet_config.json": Made(edit=length_file("sentence_xlnet_config.json")),
    "0_Transformer, other weights at the top": Made(
        chain=_chain(MEAN, _dense(nn.Tanh())), edit=both(length_file("sentence_roberta_config.json"), into_folder)
    ),
    "old pooling switches": Made(chain=_chain(_pooling("cls", "max")), edit=old_pooling),
    "old class names": Made(
        chain=_chain(MEAN, _dense(nn.Tanh()), lambda: library.LayerNorm(20), lambda: library.Dropout(0.1), Normalize),
        edit=rename_modules(OLD_CLASS_NAMES),
    ),
    "other folder names": Made(
        chain=_chain(MEAN, _dense(nn.Tanh())),
        edit=rename_modules({}, {"Pooling": "pool it", "Dense": "deep/er/2_Dense"}),
    ),
    "no tokenizer_config.json": Made(edit=both(length_file(LENGTH_FILE), drop("tokenizer_config.json"))),
    "no config_sentence_transformers.json": Made(edit=drop("config_sentence_transformers.json")),
    "config.json without defaults": Made(
        edit=both(
            positions(512),
            change(
                "config.json", max_position_embeddings=None, layer_norm_eps=None, pad_token_id=None, hidden_act=None
            ),
        )
    ),
    "roberta's config.json without defaults": Made(
        family="roberta",
        edit=both(
            positions(512),
            change(
                "config.json", max_position_embeddings=None, layer_norm_eps=None, pad_token_id=None, hidden_act=None
            ),
        ),
    ),
    # how texts are read
    "left truncation": Made(edit=change("tokenizer_config.json", truncation_side="left")),
    "roberta, left truncation": Made(family="roberta", edit=change("tokenizer_config.json", truncation_side="left")),
    "left truncation in tokenizer.json": Made(
        edit=both(
            change("tokenizer_config.json", truncation_side=None),
            change(
                "tokenizer.json",
                truncation={"direction": "Left", "max_length": 64, "strategy": "LongestFirst", "stride": 0},
            ),
        )
    ),
    "cased": Made(edit=_CASED),
    "cased in tokenizer_config.json alone": Made(edit=change("tokenizer_config.json", do_lower_case=False)),
    "cased in tokenizer.json alone": Made(edit=set_in("tokenizer.json", "normalizer", "lowercase", value=False)),
    "cased, without tokenizer_config.json": Made(
        edit=both(_CASED, length_file(LENGTH_FILE), drop("tokenizer_config.json"))
    ),
    "accents kept": Made(edit=change("tokenizer_config.json", strip_accents=False)),
    "accents stripped, capitals kept": Made(
        family="mpnet", edit=change("tokenizer_config.json", strip_accents=True, do_lower_case=False)
    ),
    "Chinese words not split": Made(edit=change("tokenizer_config.json", tokenize_chinese_chars=False)),
    "lowercased by the length file": Made(edit=both(_CASED, length_file(LENGTH_FILE, do_lower_case=True))),
    "roberta, lowercased by the length file": Made(family="roberta", edit=length_file(LENGTH_FILE, do_lower_case=True)),
    "bert over pieces": Made(tokenizer="xlm-roberta"),
    "pieces not split at spaces": Made(
        family="xlm-roberta",
        edit=set_in(
            "tokenizer.json",
            "pre_tokenizer",
            value={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        ),
    ),
    # weights
    "fp16": Made(family="mpnet", edit=to(torch.float16), fp32=True),
    "bf16": Made(family="distilbert", edit=to(torch.bfloat16), fp32=True),
    "fp16 throughout": Made(
        chain=_chain(MEAN, lambda: dense(nn.Tanh()).half(), Normalize), edit=to(torch.float16), fp32=True
    ),
    "sharded": Made(edit=shard),
    "gamma and beta": Made(edit=weights(old_names)),
    "buffers that old versions saved": Made(
        edit=weights(
            lambda found: (
                found
                | {"embeddings.position_ids": torch.arange(64)[None]}
                | {"encoder.mask_bias": torch.full((4, 4), -1e9), "encoder.causal_mask": torch.full((4, 4), -torch.inf)}
            )
        )
    ),
    # tokenizers of other classes, or none
    "tokens added": Made(tokenizer="extended"),
    "no class of tokenizer, cased": Made(
        edit=both(
            change("tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast"),
            set_in("tokenizer.json", "normalizer", "lowercase", value=False),
        )
    ),
    "class of tokenizer in config.json": Made(
        edit=both(
            change("tokenizer_config.json", tokenizer_class=None, do_lower_case=False),
            change("config.json", tokenizer_class="PreTrainedTokenizerFast"),
        )
    ),
    "a space before a text": Made(
        family="roberta",
        edit=both(
            change("tokenizer_config.json", add_prefix_space=True),
            set_in("tokenizer.json", "pre_tokenizer", "add_prefix_space", value=True),
        ),
    ),
    # what some engines do not compute
    "relu": Made(edit=change("config.json", hidden_act="relu")),
    "mish": Made(edit=change("config.json", hidden_act="mish")),
    "looks back only": Made(edit=change("config.json", is_decoder=True)),
    # what cannot be run as it is described
    "roberta of 514 tokens": Made(
        family="roberta", edit=both(positions(514), length_file(LENGTH_FILE), change(LENGTH_FILE, max_seq_length=514))
    ),
    "roberta whose padding has id 3": Made(
        family="roberta", edit=both(change("config.json", pad_token_id=3), _LENGTH_64)
    ),
    "fewer positions than config.json says": Made(edit=change("config.json", max_position_embeddings=65)),
    "a token beyond the table": Made(
        edit=both(weights(lambda found: found | {_WORDS: found[_WORDS][:-1]}), change("config.json", vocab_size=3999))
    ),
    "code of its own": Made(edit=change("config.json", auto_map={"AutoModel": "modeling.Mine"})),
    "relative positions": Made(edit=change("config.json", position_embedding_type="relative_key")),
    "a space in one file": Made(family="roberta", edit=change("tokenizer_config.json", add_prefix_space=True)),
    "other tokens around a text": Made(edit=change("tokenizer.json", post_processor=None)),
    "lowercased in tokenizer.json alone": Made(
        family="roberta", edit=change("tokenizer.json", normalizer={"type": "Lowercase"})
    ),
    "truncate_dim": Made(edit=change("config_sentence_transformers.json", truncate_dim=16)),
    "SparseEncoder": Made(edit=change("config_sentence_transformers.json", model_type="SparseEncoder")),
    "custom class": Made(edit=rename_modules({"Transformer": "custom_st.Transformer"})),
    "custom activation": Made(
        chain=_chain(MEAN, _dense(nn.Tanh())), edit=change("2_Dense/config.json", activation_function="mine.Swish")
    ),
    "Dense of pickled weights": Made(
        chain=_chain(MEAN, _dense(nn.Tanh())), edit=lambda folder: pickled(folder / "2_Dense")
    ),
    "pickled weights": Made(edit=lambda folder: pickled(folder)),
    "no tokenizer.json": Made(edit=drop("tokenizer.json")),
    "static": Made(static=True),
    "adapter": Made(edit=change("adapter_config.json", base_model_name_or_path="someone/else")),
    "options for the library's own loading": Made(
        edit=change("sentence_bert_config.json", model_args={"attn_implementation": "eager"})
    ),
}
