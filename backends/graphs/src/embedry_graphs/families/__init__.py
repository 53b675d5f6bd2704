"""One module per architecture, each with `PREFIXES` and `token_vectors(graph, weights, shape, *, first_only)`.

`token_vectors` writes the encoder, from the inputs to the token vectors, (batch, sequence, width). With `first_only` only those of
the texts' first tokens are needed, and it may return (batch, 1, width). `PREFIXES` has what a checkpoint with a head may put before
every tensor's name.

`embedry_graphs.FAMILIES` maps architectures to these modules: a new family is a new module and a line there.
"""
