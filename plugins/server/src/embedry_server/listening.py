"""The socket that a server listens on."""

import ctypes
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress

from embedry import OptionError

_ATTACH_FILTER = 26
"""SO_ATTACH_FILTER, which Python does not name (Linux, include/uapi/asm-generic/socket.h)."""

_DROP = struct.pack("HBBI", 0x06, 0, 0, 0)
"""A filter that drops every packet: the instruction "return 0" (Linux, Documentation/networking/filter.rst)."""


def listen(host: str, port: int) -> socket.socket:
    """Opens the socket of an address, before anything is loaded. Raises OptionError if the address is not available."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY; without it an answer waits 40 ms for the client's acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise OptionError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another with --port, or --port 0 for any"
        ) from error
    return listening


def last_connections(listening: socket.socket) -> Iterator[socket.socket]:
    """The connections that the system has accepted and the process has not; afterwards there are no new ones.

    Closing a listening socket resets these connections. New ones could also arrive between the last of them and the closing, when
    this thread waits for Python's lock. So the system first drops attempts to connect; a client then tries again after a second,
    and is refused. Only Linux can do so; elsewhere a connection of that moment is reset.
    """
    listening.setblocking(False)
    if sys.platform == "linux":
        program = ctypes.create_string_buffer(_DROP)
        with suppress(OSError):  # a sandbox may not allow it
            listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))
    with suppress(BlockingIOError):
        while True:
            yield listening.accept()[0]
