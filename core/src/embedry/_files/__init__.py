"""Where a model's files are, what they say, and whether they are right. Private: nothing here is part of the public API."""
