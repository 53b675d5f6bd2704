"""Drop-in replacements for the classes of two other libraries: existing code changes only one import.

    from embedry_dropin import SentenceTransformer  # in place of sentence_transformers
    from embedry_dropin import TextEmbedding  # in place of fastembed

Each module is named after the library whose class it replaces.
"""

from embedry_dropin.fastembed import TextEmbedding
from embedry_dropin.sentence_transformers import SentenceTransformer

__all__ = ["SentenceTransformer", "TextEmbedding"]
