"""An answer of lines that are sent while later ones are computed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send


class LinesResponse(Response):
    """Sends lines as they come; a client that reads slowly slows the work down, one that leaves ends it."""

    media_type = "application/x-ndjson"

    def __init__(self, first: bytes, rest: AsyncIterator[bytes]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._first, self._rest = first, rest

    @classmethod
    async def start(cls, lines: AsyncIterator[bytes]) -> LinesResponse:
        """Return the answer once its first line is there; an error before that is raised, so it can have a status."""
        return cls(await anext(lines), lines)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        sending = asyncio.ensure_future(self._send(send))
        watch = asyncio.ensure_future(_wait_until_gone(receive))
        try:
            await asyncio.wait({sending, watch}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, watch):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            if isinstance(self._rest, AsyncGenerator):
                await self._rest.aclose()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send(_part(self._first))
        async for line in self._rest:
            await send(_part(line))
        await send({"type": "http.response.body", "body": b""})


def _part(line: bytes) -> Message:
    return {"type": "http.response.body", "body": line, "more_body": True}


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
