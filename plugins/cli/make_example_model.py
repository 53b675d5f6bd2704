"""Makes the small model that `embedry new` puts into packages: 16 random numbers for each piece of a word.

    python plugins/cli/make_example_model.py

Prints the digests, which stand in the templates' entries.
"""

import hashlib
import json
import string
import sys
from pathlib import Path

TEMPLATES = Path(__file__).parent / "src" / "embedry_cli" / "templates"

DIMS = 16


def main() -> None:
    """Writes the files into both templates."""
    import numpy as np
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    pieces = ["[PAD]", "[UNK]", *string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces += [f"##{piece}" for piece in string.ascii_lowercase + string.digits]
    pieces += ["time", "water", "house", "music", "light", "paper", "river", "green", "money", "story"]
    tokenizer = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    table = np.random.default_rng(0).standard_normal((len(pieces), DIMS), dtype=np.float32)
    for kind in ("pack", "backend"):
        folder = TEMPLATES / kind / "src" / "package" / "model_files"
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        save_file({"embedding.weight": table}, folder / "model.safetensors")
        (folder / "model.safetensors").chmod(0o644)  # the library gives it to its owner alone
    config = {"model_type": "word-table", "pad_token_id": 0}
    (TEMPLATES / "backend" / "src" / "package" / "model_files" / "config.json").write_text(json.dumps(config) + "\n")
    for path in sorted(TEMPLATES.glob("backend/src/package/model_files/*")):
        sys.stdout.write(f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.name}\n")


if __name__ == "__main__":
    main()
