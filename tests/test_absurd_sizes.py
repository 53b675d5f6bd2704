"""Sizes in config.json that no model has, or that its tensors do not have, are refused before an engine makes anything of them."""

import json
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agreement import POOLINGS, longest
from embedry import IntegrityError, resolve

HUGE = 2**31 - 1


@pytest.fixture(autouse=True)
def _no_more_memory_than_a_few_gigabytes() -> Iterator[None]:
    """So that what slips through ends this test and not the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


CASES = [
    ("modernbert", "vocab_size", HUGE, "'embeddings.tok_embeddings.weight' of .* is (30522, 48), and config.json says (2147483647, 48)"),
    ("qwen3", "vocab_size", HUGE, "'embed_tokens.weight' of .* is (30522, 48), and config.json says (2147483647, 48)"),
    ("t5", "vocab_size", HUGE, "'shared.weight' of .* is (30522, 48), and config.json says (2147483647, 48)"),
    ("nomic_bert", "type_vocab_size", HUGE, "is (2, 48), and config.json says (2147483647, 48) (type_vocab_size, hidden_size)"),
    ("new", "type_vocab_size", 0, "config.json says type_vocab_size=0, and the table 'new.embeddings.token_type_embeddings.weight'"),
    *(
        (family, "max_position_embeddings", HUGE, "says max_position_embeddings=2147483647, and no '.*' has more than 262144")
        for family in ("modernbert", "nomic_bert", "gte", "new", "qwen3", "gemma3_text", "jina_bert_v2")
    ),
    ("gemma3_text", "head_dim", 2**20, "says head_dim=1048576, and no 'gemma3_text' has more than 1024"),
    ("qwen3", "head_dim", 15, "has heads of 15 channels, which rotary positions take in pairs"),
    ("qwen3", "num_key_value_heads", 3, "has 4 attention heads, which do not share 3 heads of keys and values evenly"),
    ("t5", "d_ff", HUGE, "says intermediate_size=2147483647, and the longest axis of a tensor in model.safetensors has 30522"),
    ("t5", "num_layers", HUGE, "says num_hidden_layers=2147483647, and model.safetensors has only"),
    ("t5", "relative_attention_max_distance", HUGE, "says relative_attention_max_distance=2147483647, and no 't5' has more than 65536"),
    ("gemma3_text", "num_hidden_layers", HUGE, "has 3 layer_types and num_hidden_layers=2147483647"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "key", "value", "fault"), CASES)
def test_a_size_is_refused_by_its_key_and_value(
    checkpoint: Callable[..., Path], tmp_path: Path, family: str, key: str, value: int, fault: str
) -> None:
    plain = checkpoint(family, POOLINGS[family][0], max_seq_length=longest(family))
    model = Path(shutil.copytree(plain, tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(IntegrityError, match=re.escape(fault).replace(r"\.\*", ".*")):
        resolve(model, cache_dir=tmp_path).load()
