"""The pipeline from texts to vectors, the same for every engine. Private: nothing here is part of the public API."""
