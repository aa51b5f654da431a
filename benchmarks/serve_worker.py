"""A server to compare with `peephole serve`: a plain FastAPI endpoint, LitServe with its batching, or `peephole serve`
itself with batches instead of a session.

The first two take {"source": text} at /predict and answer {"text": …, "log_prob": …}; see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
from typing import Any

import peephole
from peephole.model import Notices

try:
    import litserve

    Base: Any = litserve.LitAPI
except ModuleNotFoundError:  # the plain endpoint needs none
    Base = object

BATCH = 64  # most requests of a batch of LitServe
BATCH_SECONDS = 0.01  # that it waits for a batch to be full


def run_plain(model_file: str, port: int) -> None:
    """Serve an endpoint that calls the model for each request, in FastAPI's pool of threads."""
    import uvicorn
    from fastapi import Body, FastAPI

    model = peephole.load(model_file)
    app = FastAPI()

    def predict(request: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008  # FastAPI's way
        [[best]] = model.predict([request["source"]], attention=False, notices=Notices())
        return {"text": best.text, "log_prob": best.log_prob}

    app.post("/predict")(predict)
    uvicorn.run(app, port=port, log_level="error")


class Api(Base):
    """A model in a process of LitServe, which starts it anew from this file."""

    model_file: str

    def setup(self, device: str) -> None:
        """Load the model."""
        self.model = peephole.load(self.model_file)

    def decode_request(self, request):  # LitServe reads annotations as those of FastAPI
        """Return the source of a request."""
        return str(request["source"])

    def batch(self, inputs: list[str]) -> list[str]:
        """Return the sources of a batch."""
        return list(inputs)

    def predict(self, inputs: list[str]) -> list[Any]:
        """Predict a batch."""
        found: list[Any] = self.model.predict(inputs, attention=False, notices=Notices())
        return found

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Return the predictions of each source."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Return an answer."""
        return {"text": output[0].text, "log_prob": output[0].log_prob}


def run_litserve(model_file: str, port: int) -> None:
    """Serve by LitServe, which collects requests for a batch."""
    api = Api(max_batch_size=BATCH, batch_timeout=BATCH_SECONDS)
    api.model_file = model_file
    server = litserve.LitServer(api, accelerator="cpu", timeout=30)
    server.run(port=port, host="127.0.0.1", generate_client_file=False, log_level="error")


def run_batches(model_file: str, port: int) -> None:
    """Serve as `peephole serve` does for a model that the engine's session does not search."""
    from peephole.cli import serve
    from peephole.serve import models
    from peephole.serve.batched import BatchedSession

    models.open_session = lambda model, places, threads: BatchedSession(model, threads)
    serve.command.main([model_file, "--port", str(port)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["plain", "litserve", "batches"])
    parser.add_argument("model")
    parser.add_argument("port", type=int)
    arguments = parser.parse_args()
    {"plain": run_plain, "litserve": run_litserve, "batches": run_batches}[arguments.kind](
        arguments.model, arguments.port
    )
