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
            help="Models of any kind; NAME=MODEL sets another name, MODEL:KIND selects one of several kinds.",
        ),
    ],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 selects a free port.", min=0, max=65535)] = 8080,
    backend: Annotated[str | None, typer.Option(help="The backend; default: the model's preferred one.")] = None,
    device: Annotated[str | None, typer.Option(help="The device to compute on; default: the backend's choice.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, int8, bf16 or fp16; default: the backend's choice.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Number of threads; default: all processors.")] = None,
    unnamed_role: Annotated[
        UnnamedRole | None,
        typer.Option(
            help="The role of requests that do not state one, for models that need one; default: reject them."
        ),
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="A file of API keys, one per line; also EMBEDRY_API_KEYS.")] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Listen on a public address without keys.")] = False,
    max_inputs: Annotated[int, typer.Option(help="Maximum number of texts per request.")] = _DEFAULT.inputs,
    max_tokens: Annotated[int, typer.Option(help="Maximum number of tokens per request.")] = _DEFAULT.tokens,
    max_body: Annotated[int, typer.Option(help="Maximum size of a request in bytes.")] = _DEFAULT.body_bytes,
    queue_tokens: Annotated[
        int, typer.Option(help="Maximum number of queued tokens; beyond it, requests get 429 with Retry-After.")
    ] = _DEFAULT.queue_tokens,
    deadline: Annotated[float, typer.Option(help="Maximum seconds to compute a request.")] = _DEFAULT.deadline,
    receive: Annotated[float, typer.Option(help="Maximum seconds to receive a request.")] = _DEFAULT.receive,
    drain: Annotated[
        float, typer.Option(help="Seconds after SIGTERM during which it still serves but reports not ready.", min=0)
    ] = 1.0,
    tls_certificate: Annotated[Path | None, typer.Option(help="A certificate chain in PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The private key of the certificate in PEM.")] = None,
    log_format: Annotated[LogFormat, typer.Option(help="plain for people, json for programs.")] = "plain",
    no_request_log: Annotated[bool, typer.Option("--no-request-log", help="Do not log requests.")] = False,
) -> None:
    """Serve models over HTTP, for clients of OpenAI, Cohere, Jina and text-embeddings-inference.

    Examples:
        embedry serve all-MiniLM-L6-v2
        embedry serve all-MiniLM-L6-v2 ms-marco-MiniLM-L6-v2 --port 9000
    """
    from embedry_server import keys as api_keys
    from embedry_server import logs, serving
    from embedry_server.app import App
    from embedry_server.listening import listen
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
    listening = listen(host, port)
    served = Models(
        models, unnamed_role=unnamed_role, backend=backend, device=device, precision=precision, threads=threads
    )
    address = serving.Address(host=host, port=listening.getsockname()[1], certificate=tls_certificate, key=tls_key)
    logs.logger.info("loading %s; listening on %s", ", ".join(model.name for model in served), address.url)
    serving.serve(App(served, keys=known, limits=limits), listening, address, limits, drain=drain)
