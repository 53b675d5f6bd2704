"""Sends a server requests of every kind for a long time, and checks what it takes of the machine: `make soak-server`.

    python tests/benchmarks/soak_server.py                 20 minutes
    python tests/benchmarks/soak_server.py --minutes 0.5   a short form, to check that everything runs

Sixteen connections send requests of random sizes; some leave before the answer, and some send what must be refused. What the server
has no room or no time for is counted apart. The exit code is 1 if an answer is wrong or missing, or if memory, threads or open files of the last quarter are clearly above those of
the second quarter.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import http_load
import numpy as np
from contenders import MODEL
from http_load import LOST, Connection, is_right
from model_files import fetch_weights
from numpy.typing import NDArray
from servers import OURS, SERVERS, Server
from soak import WORDS

from embedry import resolve

CONNECTIONS = 16
MOST_TEXTS = 200
MOST_WORDS = 400
POOL = 1000
"""Texts that requests are made of. Their vectors are known, so every answer is compared."""
TOO_LONG = 17 * 2**20
"""Bytes of a body that is larger than the server takes."""
LONGEST_PATIENCE = 2.0
"""Seconds after which a client that leaves has left."""

EVERY = 10.0
"""Seconds between two looks at the server."""
SHOWN = 10
"""Lines of them."""
SETTLE = 0.2
"""Seconds between two looks, at least, where the whole time is short."""
GROWTH = 0.05
"""Of memory, which is no growth."""
MORE = 2
"""Threads or open files more, which are no growth: a connection may have just been made."""

Look = tuple[float, int, int]
"""Resident MB, threads, and open files and sockets."""


def main() -> None:
    """Works for some minutes, prints what the server took, and what became of the requests."""
    parser = argparse.ArgumentParser(description="check that a server stays as it is under random requests")
    parser.add_argument("--minutes", type=float, default=20.0)
    seconds = parser.parse_args().minutes * 60
    fetch_weights()
    embedder = resolve(MODEL)
    texts = some_texts(random.Random(0))
    vectors = embedder.encode_document(texts)
    with Server.of(OURS, int(embedder.info["threads"])) as server:
        clients = Clients(server, texts, vectors)
        looks = asyncio.run(soak(server, clients, seconds))
    for kind, count in sorted(clients.counts.items()):
        print(f"{kind}: {count:,}")
    for error, count in clients.errors.items():
        print(f"WRONG, {count:,} times: {error}")
    flat = [is_flat(name, values, allowed) for name, values, allowed in (
        ("memory in MB", [look[0] for look in looks], lambda before: GROWTH * before),
        ("threads", [look[1] for look in looks], lambda _: MORE),
        ("open files and sockets", [look[2] for look in looks], lambda _: MORE),
    )]  # fmt: skip
    sys.exit(0 if all(flat) and not clients.errors else 1)


def some_texts(chance: random.Random) -> list[str]:
    """Mostly short, now and then long: the logarithms of their lengths are spread evenly."""
    return [" ".join(chance.choices(WORDS, k=round(MOST_WORDS ** chance.random()))) for _ in range(POOL)]


async def soak(server: Server, clients: "Clients", seconds: float) -> list[Look]:
    """What the server took, at regular times, while the clients worked."""
    start = time.monotonic()
    end = start + seconds
    working = [asyncio.create_task(clients.work(random.Random(number), end)) for number in range(CONNECTIONS)]
    every = max(SETTLE, min(EVERY, seconds / 20))
    looks: list[Look] = []
    shown = 0
    while time.monotonic() < end:
        await asyncio.sleep(every)
        looks.append((server.memory(), server.threads(), server.descriptors()))
        passed = (time.monotonic() - start) / seconds
        if passed * SHOWN >= shown + 1:
            shown = int(passed * SHOWN)
            memory, threads, files = looks[-1]
            print(
                f"{memory:7.1f} MB, {threads} threads, {files} open files after {passed * seconds / 60:5.1f} minutes, "
                f"{clients.counts.total():,} requests",
                flush=True,
            )
    await asyncio.gather(*working)
    return looks


def is_flat(name: str, values: Sequence[float], allowed: Callable[[float], float]) -> bool:
    """Prints the medians of the second and the last quarter, and returns whether the last is not clearly above."""
    quarter = max(1, len(values) // 4)
    before, after = statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])
    flat = after - before <= allowed(before)
    print(f"{name}: {before:.1f} in the second quarter, {after:.1f} in the last: {'flat' if flat else 'IT GROWS'}")
    return flat


class Clients:
    """What the clients of a server send, and what became of it."""

    def __init__(self, server: Server, texts: list[str], vectors: NDArray[np.float32]) -> None:
        self._port = server.port
        self._path = server.path
        self._texts = texts
        self._vectors = vectors
        self._too_long = http_load.post(self._path, self._body(input="x" * TOO_LONG))
        self.counts: Counter[str] = Counter()
        """Requests of each kind."""
        self.errors: Counter[str] = Counter()
        """What should not have happened."""

    async def work(self, chance: random.Random, end: float) -> None:
        """Sends one request after the other until then, each of a random kind, over a connection that is kept while it can."""
        kinds: dict[Callable[[Connection, random.Random], Awaitable[None]], int] = {
            self.embed: 80,
            self.leave: 12,
            self.be_refused: 7,
            self.send_too_much: 1,
        }
        connection = await Connection.open(self._port)
        while time.monotonic() < end:
            if not connection.is_open:
                connection = await Connection.open(self._port)
            (kind,) = chance.choices(list(kinds), list(kinds.values()))
            try:
                await kind(connection, chance)
            except (OSError, TimeoutError) as error:
                self.errors[f"{kind.__name__}: {type(error).__name__}: {error}"] += 1
                connection.close()
        connection.close()

    async def embed(self, connection: Connection, chance: random.Random) -> None:
        """A request in either format, whose answer is compared with the vectors of `encode`."""
        request, places, encoding_format = self._embeddings(chance)
        self.counts[f"vectors as {encoding_format}"] += 1
        answer = await connection.ask(0, request)
        if answer.status in (429, 504):  # on a slow or busy machine that is the right answer
            self.counts[f"refused or late, {answer.status}"] += 1
            return
        # Not in this thread: comparing a large answer would delay the other connections.
        if not await asyncio.to_thread(is_right, answer, self._vectors[places], SERVERS[OURS].tolerance):
            said = answer.body[:200] if answer.status != 200 else b"other vectors"
            self.errors[f"{len(places)} texts as {encoding_format}: status {answer.status}, {said!r}"] += 1

    async def leave(self, connection: Connection, chance: random.Random) -> None:
        """A client that leaves while it waits, or before it has sent everything."""
        request, _, _ = self._embeddings(chance)
        whole = chance.random() < 0.7
        self.counts["left while waiting" if whole else "left while sending"] += 1
        sent = request if whole else request[: chance.randrange(1, len(request))]
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_PATIENCE * chance.random()):
                await connection.ask(0, sent)
        connection.close()

    async def be_refused(self, connection: Connection, chance: random.Random) -> None:
        """A request that is wrong, and that only it must suffer from."""
        wrong = {
            "bad JSON": (self._body(input="one")[:-1], 400),
            "token ids": (self._body(input=[[1, 2, 3], [4, 5]]), 400),
            "an unknown model": (self._body(input="one", model="no-such-model"), 404),
            "no inputs": (self._body(input=[]), 400),
            "too many inputs": (self._body(input=["one"] * 3000), 400),
        }
        kind = chance.choice(list(wrong))
        body, status = wrong[kind]
        self.counts[kind] += 1
        answer = await connection.ask(0, http_load.post(self._path, body))
        if answer.status != status:
            self.errors[f"{kind}: status {answer.status}, {answer.body[:200]!r}"] += 1

    async def send_too_much(self, connection: Connection, chance: random.Random) -> None:
        """A body that is too long. The server may close before all of it is sent, and then the answer can be lost."""
        status = LOST
        with suppress(OSError):
            status = (await connection.ask(0, self._too_long)).status
        self.counts["a too long body, " + ("closed" if status == LOST else "refused")] += 1
        if status not in (413, 429, LOST):
            self.errors[f"a too long body: status {status}"] += 1
        connection.close()

    def _embeddings(self, chance: random.Random) -> tuple[bytes, list[int], str]:
        count = round(MOST_TEXTS ** chance.random())
        places = [chance.randrange(POOL) for _ in range(count)]
        encoding_format = chance.choice(("float", "base64"))
        texts = [self._texts[place] for place in places]
        return http_load.request(self._path, MODEL, texts, encoding_format), places, encoding_format

    @staticmethod
    def _body(**fields: object) -> bytes:
        return json.dumps({"model": MODEL, **fields}).encode()


if __name__ == "__main__":
    main()
