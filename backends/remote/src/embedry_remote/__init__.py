"""A backend that asks a server: embedry's own (`embedry serve`), or any that speaks OpenAI's `/v1/embeddings`.

The environment says which: `EMBEDRY_REMOTE_URL` is its address, `EMBEDRY_REMOTE_KEY` its key, and `EMBEDRY_REMOTE_MODEL` the
model's name there, where it has another. Importing this module is cheap; the server is asked when the model is loaded.

Prompts are put before the texts here, and the server is asked for the model without prompts, so that each is applied once.

Every server is asked at `/v1/embeddings` for full dims in base64, which is exact and about half as large as numbers in JSON:

- An embedry server is sent `normalize: false` too. It answers what the body of the chain gives, bit for bit, so that every option of
  `resolve` that changes the tail of the chain gives what it gives on a local engine.
- Any other server is not: OpenAI's protocol has no such field, and does not say whether vectors are normalised. A factor does
  not change what a chain gives that ends with `Normalize`; for another chain the model is refused.
"""

from embedry import chains
from embedry.backend import Backend, LoadRequest, TextEncoder
from embedry.modules import Dense, LayerNorm, LibraryModule, Normalize, Pooling, StaticEmbedding
from embedry.spec import ModelSpec


class RemoteBackend(Backend):
    """See `embedry.backend.Backend`."""

    devices = ("auto",)
    precisions = ("int8",)  # the space tells it from the others; which of them a server computes in is not known here
    modules = (Pooling, Dense, LayerNorm, Normalize, StaticEmbedding, LibraryModule)
    needs_files = False

    def refusal(self, spec: ModelSpec) -> str | None:
        """Refuses what a server would have to know of the prompt, and a tail that it does not leave out."""
        if chains.leaves_out_prompt(spec.body):
            return "its pooling leaves out the prompt, and a server is given the prompt and the text as one"
        if any(isinstance(module, LayerNorm) for module in chains.split(spec.chain)[1]):
            return "its chain ends with a layer norm, which a server has run already and this process would run again"
        return None

    def load(self, request: LoadRequest) -> TextEncoder:
        """Asks the server what it has, and computes nothing.

        Raises:
            OptionError: `EMBEDRY_REMOTE_URL` is not set, or a variable cannot be used.
            BackendError: the server cannot be reached, refuses, or does not have the model.
            SpaceError: its model has another number of dims.
        """
        from embedry_remote.encoder import RemoteEncoder
        from embedry_remote.settings import from_environment

        return RemoteEncoder(request, from_environment())


backend = RemoteBackend()
