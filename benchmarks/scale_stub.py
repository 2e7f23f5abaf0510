"""A chat-completions server that costs as little as Python can: the verdict is a checksum of the request.

    python benchmarks/scale_stub.py PORT [SECONDS]

So the same request gets the same answer in every run, and about half of the verdicts are A. Each request of a
case that is asked a second time is counted: GET /asked gives the requests and how many of them were repeats.
"""

import asyncio
import json
import sys
from zlib import crc32

REASON = " ".join(["the judge weighs each claim against the question before it says which is better"] * 6)


def _body(letter: str) -> bytes:
    text = f"{REASON} <answer>[[{letter}]]</answer>"
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 400, "completion_tokens": 120}
    return json.dumps({"model": "stub", "choices": [choice], "usage": usage}).encode()


def _reply(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


VERDICTS = [_reply(_body("A")), _reply(_body("B"))]
MODELS = _reply(json.dumps({"data": [{"id": "stub", "owned_by": "stub"}]}).encode())


class Stub(asyncio.Protocol):
    """One connection."""

    seconds = 0.0
    asked = 0
    seen: set[int] = set()

    def __init__(self) -> None:
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            length = int(head.split(b"content-length:")[1].split()[0]) if b"content-length:" in head else 0
            if len(self._data) < end + 4 + length:
                return
            body, self._data = self._data[end + 4 : end + 4 + length], self._data[end + 4 + length :]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"get /asked"):
            asked = {"asked": Stub.asked, "repeated": Stub.asked - len(Stub.seen)}
            self._send(_reply(json.dumps(asked).encode()))
        elif head.startswith(b"get"):
            self._send(MODELS)
        else:
            Stub.asked += 1
            Stub.seen.add(hash(body))
            reply = VERDICTS[crc32(body) & 1]
            if Stub.seconds:
                asyncio.get_running_loop().call_later(Stub.seconds, self._send, reply)
            else:
                self._send(reply)

    def _send(self, reply: bytes) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(reply)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    Stub.seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    asyncio.run(_serve(int(sys.argv[1])))
