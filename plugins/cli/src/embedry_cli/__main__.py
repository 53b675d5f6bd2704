"""Implements `python -m embedry_cli`, for use if the script `embedry` is not on the path."""

from embedry_cli.app import main

main()
