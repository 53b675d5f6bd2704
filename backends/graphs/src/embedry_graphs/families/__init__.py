"""One module per architecture, each with `PREFIXES` and `token_vectors(graph, weights, shape, *, first_only)`.

`token_vectors` writes the encoder, from the inputs to the token vectors, (batch, sequence, width). With `first_only`, only the
vectors of first tokens are needed, and it may return (batch, 1, width). `PREFIXES` lists the prefixes of tensor names in checkpoints
with a head.

`embedry_graphs.FAMILIES` maps architectures to these modules. To add a family, add a module and a line there.
"""
