"""The command `embedry`: lists, downloads and inspects models, embeds files, and searches folders.

Each command is a module that is imported when the command is called. Other distributions add commands through the
entry-point group `embedry.commands`; see `embedry_cli.commands`.
"""
