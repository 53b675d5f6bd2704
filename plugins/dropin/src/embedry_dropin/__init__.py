"""embedry under the names that two other libraries have, for code that is already written: change one import.

    from embedry_dropin import SentenceTransformer  # in place of sentence_transformers
    from embedry_dropin import TextEmbedding  # in place of fastembed

Each module is named for the library that its class stands in for.
"""

from embedry_dropin.fastembed import TextEmbedding
from embedry_dropin.sentence_transformers import SentenceTransformer

__all__ = ["SentenceTransformer", "TextEmbedding"]
