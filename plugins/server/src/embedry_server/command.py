"""`embedry serve`."""

from pathlib import Path
from typing import Annotated

import typer

from embedry_server.settings import Limits, LogFormat, UnnamedRole

_DEFAULT = Limits()


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Models of any kind; NAME=MODEL gives one another name, MODEL:KIND says which of several kinds to serve.",
        ),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.", min=0, max=65535)] = 8080,
    backend: Annotated[str | None, typer.Option(help="The engine; by default the one that a model prefers.")] = None,
    device: Annotated[str | None, typer.Option(help="Where to compute; by default the backend's choice.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, int8, bf16 or fp16; by default the backend's choice.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Threads to compute with; by default all processors.")] = None,
    unnamed_role: Annotated[
        UnnamedRole | None,
        typer.Option(
            help="The role of requests that state none, for models that need one; by default they are refused."
        ),
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="A file of API keys, one a line; also EMBEDRY_API_KEYS.")] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Listen on a public address without keys.")] = False,
    max_inputs: Annotated[int, typer.Option(help="Texts a request.")] = _DEFAULT.inputs,
    max_tokens: Annotated[int, typer.Option(help="Tokens a request.")] = _DEFAULT.tokens,
    max_body: Annotated[int, typer.Option(help="Bytes of a request.")] = _DEFAULT.body_bytes,
    queue_tokens: Annotated[
        int, typer.Option(help="Tokens that may wait; more are refused with 429 and a Retry-After.")
    ] = _DEFAULT.queue_tokens,
    deadline: Annotated[float, typer.Option(help="Seconds to compute a request.")] = _DEFAULT.deadline,
    receive: Annotated[float, typer.Option(help="Seconds in which a request must have arrived.")] = _DEFAULT.receive,
    drain: Annotated[
        float, typer.Option(help="Seconds after SIGTERM in which it still serves, but is not ready.", min=0)
    ] = 1.0,
    tls_certificate: Annotated[Path | None, typer.Option(help="A certificate chain in PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key in PEM.")] = None,
    log_format: Annotated[LogFormat, typer.Option(help="For people, or for programs.")] = "plain",
    no_request_log: Annotated[bool, typer.Option("--no-request-log", help="Log no line for each request.")] = False,
) -> None:
    """Serve models over HTTP, for clients of OpenAI, Cohere, Jina and text-embeddings-inference.

    Examples:
        embedry serve all-MiniLM-L6-v2
        embedry serve all-MiniLM-L6-v2 ms-marco-MiniLM-L6-v2 --port 9000
    """
    from embedry_server import keys as api_keys
    from embedry_server import logs, serving
    from embedry_server.app import App
    from embedry_server.models import Models

    known = api_keys.Keys.found(keys)
    api_keys.check_address(host, known, no_auth=no_auth)
    limits = Limits(
        inputs=max_inputs,
        tokens=max_tokens,
        body_bytes=max_body,
        queue_tokens=queue_tokens,
        deadline=deadline,
        receive=receive,
    )
    logs.configure(log_format, requests=not no_request_log)
    listening = serving.listen(host, port)
    served = Models(
        models, unnamed_role=unnamed_role, backend=backend, device=device, precision=precision, threads=threads
    )
    address = serving.Address(host=host, port=listening.getsockname()[1], certificate=tls_certificate, key=tls_key)
    logs.logger.info("loading %s; listening on %s", ", ".join(model.name for model in served), address.url)
    serving.serve(App(served, keys=known, limits=limits), listening, address, limits, drain=drain)
