"""Dense embedders as saved by SentenceTransformer."""

from collections.abc import Sequence

from embedry import chains
from embedry._files.paths import inside
from embedry.errors import UnsupportedModelError
from embedry.modules import LibraryModule, Module, StaticEmbedding
from embedry.transformer import Transformer
from embedry_layouts import body, modules
from embedry_layouts.body import Body
from embedry_layouts.files import Files
from embedry_layouts.found import Found
from embedry_layouts.listed import FILE, Listed
from embedry_layouts.settings import Settings


def read(files: Files, settings: Settings, listed: Sequence[Listed]) -> Found:
    """Reads the files of a dense embedder.

    Raises:
        WeightsNotFoundError: a file is missing.
        IntegrityError: a file is not valid JSON or has the wrong structure.
        UnsupportedModelError: a file has an unsupported setting; names the key and the value.
    """
    found: Body | None = None
    chain: list[Module] = []
    dims = 0
    for module in listed:
        if module.kind == "Transformer":
            found = body.read(files, module.path, body.stated(files, Transformer(path=module.path)))
        else:
            each, width = modules.read(files, module.class_name, module.path)
            chain.append(each)
            dims = width or dims
    if not chain:
        raise UnsupportedModelError(
            f"{FILE} in {files.folder} lists nothing that makes one vector of a text's token vectors, such as Pooling"
        )
    if found is None and not any(isinstance(module, StaticEmbedding) for module in chain):
        raise UnsupportedModelError(
            f"{FILE} in {files.folder} starts with no Transformer, so its files do not state dims and length; "
            "write a ModelSpec for it, with transformer=None, and pass that to resolve"
        )
    # Only the library supports such a model, with its own tokenizer.
    is_library = any(isinstance(module, LibraryModule) for module in chain) or chains.leaves_out_prompt(tuple(chain))
    return Found(
        chain=tuple(chain),
        dims=dims,
        body=found,
        prompts=settings.prompts,
        similarity=settings.similarity,
        others=tuple(_library_files(files, found, chain)) if is_library else (),
    )


def _library_files(files: Files, found: Body | None, chain: Sequence[Module]) -> list[str]:
    at = found.transformer.path if found is not None else ""
    folders = [at, *(module.path for module in chain if isinstance(module, LibraryModule))]
    places = [inside(files.folder, path or ".") for path in dict.fromkeys(folders)]
    present = [file for place in places if place.is_dir() for file in sorted(place.iterdir())]
    read = [file for file in present if file.suffix in (".json", ".txt", ".model", ".safetensors") and file.is_file()]
    return [file.relative_to(files.folder).as_posix() for file in read]
