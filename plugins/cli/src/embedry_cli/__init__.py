"""The command `embedry`: list, fetch and inspect models, embed files, search folders.

One module a command, imported when it is called. Other distributions add commands through the entry-point group
`embedry.commands`; see `embedry_cli.commands`.
"""
