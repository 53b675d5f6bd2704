"""The Ray cluster: connects to a cluster or starts one on this machine, and counts the actors that fit."""

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

# What Ray publishes about a cluster, such as the death of a worker, is printed to standard output whatever `log_to_driver` says,
# and `--json` prints there. Ray reads this when it is imported. Our own messages say what has failed.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "^")

import ray

from embedry_bulk import PlanError, Settings
from embedry_bulk.progress import note
from embedry_ray.errors import ClusterError

_STORE_BYTES = 100 * 2**20
"""Of the object store of a local cluster, through which only plans pass. Ray would reserve 30 % of the memory."""

_KNOCK = 30.0
"""Seconds that a cluster has to take a connection."""


def check(settings: Settings) -> None:
    """Raises PlanError for numbers that are too small."""
    threads = settings.options.get("threads")
    for name, value, least in (("threads", threads, 1), ("actors", settings.actors, 1), ("gpus", settings.gpus, 0)):
        if value is not None and value < least:
            raise PlanError(f"--{name} must be at least {least}, got {value:g}")


def threads_of(settings: Settings) -> int:
    """The threads and CPUs of an actor: 1 unless `threads` is set.

    Actors with one thread have the highest throughput, and a GPU does not need more.
    """
    return settings.options.get("threads") or 1


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connects to a cluster, and disconnects at the end.

    If this process is already connected, it uses that cluster and stays connected. Without an address it uses
    RAY_ADDRESS, which Ray sets for jobs that are submitted to a cluster. Without both, it starts a cluster on this machine and
    stops it at the end.

    Raises:
        ClusterError: the cluster does not answer, or does not start.
    """
    if ray.is_initialized():
        yield
        return
    _connect(address or os.environ.get("RAY_ADDRESS") or "local")
    try:
        yield
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
        failure = "a Ray cluster cannot be started on this machine; is there space? df /tmp /dev/shm"
    else:
        own, failure = {}, f"no Ray cluster answers at {address}; is it there? ray status --address {address}"
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(f"{failure} ({' '.join(str(error).split())})") from error


def _knock(address: str) -> None:
    """Raises OSError if HOST:PORT does not accept connections; Ray would retry indefinitely."""
    place = urlsplit(address if "://" in address else f"//{address}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), timeout=_KNOCK).close()


def count(settings: Settings, most: int) -> int:
    """The number of actors to start, at most `most`.

    An actor holds its CPUs while it runs. No other part of a job takes CPUs: neither the driver, nor reading, nor the start of
    another actor. So no CPUs are reserved; 2 CPUs run 2 actors, and an actor that dies is replaced.

    Raises:
        ClusterError: no machine has room for an actor.
    """
    threads, gpus = threads_of(settings), settings.gpus
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(_room(machine, threads, gpus) for machine in machines)
    each = _counted(threads, "CPU") + (f" and {_counted(gpus, 'GPU')}" if gpus else "")
    cpus, all_gpus = (sum(machine.get(name, 0) for machine in machines) for name in ("CPU", "GPU"))
    there = f"the cluster has {_counted(cpus, 'CPU')} and {_counted(all_gpus, 'GPU')} on {_counted(len(machines), 'machine')}"
    if not room:
        raise ClusterError(
            f"no machine has room for an actor of {each}: {there}; ask for less with --threads{' and --gpus' if gpus else ''}, "
            "or add a machine"
        )
    if settings.actors is not None and settings.actors > room:
        note(f"{_counted(room, 'actor')} instead of {settings.actors:,}, since each takes {each}: {there}")
    return min(settings.actors or room, room, most)


def free() -> str:
    """The free resources of the cluster as a sentence."""
    available, total = ray.available_resources(), ray.cluster_resources()
    return " and ".join(
        f"{available.get(name, 0):g} of {_counted(total.get(name, 0), name)} are free" for name in ("CPU", "GPU")
    )


def _room(machine: Mapping[str, float], threads: int, gpus: float) -> int:
    """The number of actors that fit on a machine."""
    room = machine.get("CPU", 0) // threads
    return int(min(room, machine.get("GPU", 0) / gpus) if gpus else room)


def _counted(number: float, name: str) -> str:
    return f"{number:g} {name}{'' if number == 1 else 's'}"
