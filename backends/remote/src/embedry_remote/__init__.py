"""A backend for a server: embedry's own (`embedry serve`), or any with OpenAI's `/v1/embeddings`.

Environment variables configure the server: `EMBEDRY_REMOTE_URL` is its address, `EMBEDRY_REMOTE_KEY` its key, and
`EMBEDRY_REMOTE_MODEL` the model's name on the server, if it differs. Importing this module is cheap; the first request is sent when
the model is loaded.

The client adds prompts to the texts and requests the model without prompts, so that each prompt is applied once.

Requests go to `/v1/embeddings` and ask for full dims in base64, which is exact and about half as large as numbers in JSON:

- For an embedry server, requests include `normalize: false`. It returns the result of the chain's body, bit for bit, so all options
  of `resolve` that change the tail of the chain give the same results as a local engine.
- For other servers, they do not: OpenAI's protocol has no such field, and does not state whether vectors are normalized. A constant
  factor does not change the result of a chain that ends with `Normalize`; models with other chains are rejected.
"""

from embedry import chains
from embedry.backend import Backend, LoadRequest, TextEncoder
from embedry.modules import Dense, LayerNorm, LibraryModule, Normalize, Pooling, StaticEmbedding
from embedry.spec import ModelSpec


class RemoteBackend(Backend):
    """See `embedry.backend.Backend`."""

    devices = ("auto",)
    precisions = ("int8",)  # a separate precision in the space; the server's actual precision is unknown
    modules = (Pooling, Dense, LayerNorm, Normalize, StaticEmbedding, LibraryModule)
    needs_files = False

    def refusal(self, spec: ModelSpec) -> str | None:
        """Rejects models that need the prompt on the server, and chains whose tail the server cannot skip."""
        if chains.leaves_out_prompt(spec.body):
            return "its pooling leaves out the prompt, and a server is given the prompt and the text as one"
        if any(isinstance(module, LayerNorm) for module in chains.split(spec.chain)[1]):
            return "its chain ends with a layer norm, which a server has run already and this process would run again"
        return None

    def load(self, request: LoadRequest) -> TextEncoder:
        """Requests the server's models and computes nothing.

        Raises:
            OptionError: `EMBEDRY_REMOTE_URL` is not set, or a variable is invalid.
            BackendError: the server cannot be reached, rejects the request, or does not have the model.
            SpaceError: the server's model has another number of dims.
        """
        from embedry_remote.encoder import RemoteEncoder
        from embedry_remote.settings import from_environment

        return RemoteEncoder(request, from_environment())


backend = RemoteBackend()
