"""Finds, parses and verifies a model's files. Private: nothing here is part of the public API."""
