"""sentence-transformers behind FastAPI, as it is usually written: `python fastapi_server.py FOLDER PORT`.

`embed` is no coroutine, so FastAPI calls it in its pool of threads, and several requests at the same time.
"""

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

app = FastAPI()
model = SentenceTransformer(sys.argv[1], device="cpu")


class Body(BaseModel):
    """A request of OpenAI's API."""

    model: str
    input: str | list[str]


@app.post("/v1/embeddings")
def embed(body: Body) -> dict[str, object]:
    """The vectors, as lists of floats."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    vectors = model.encode(texts).tolist()
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return {"object": "list", "data": data, "model": body.model}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]))
