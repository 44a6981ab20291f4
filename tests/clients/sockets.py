"""A WebSocket server and a client for it, both of Python's `websockets`: what tests/clients.rs puts the gateway between.

    sockets.py serve                    prints its port and sends every message back
    sockets.py talk URI CA TOKEN        prints what came of a conversation as JSON
"""

import asyncio
import json
import ssl
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

MIB = 1 << 20
UNBOUND = {"max_size": None, "ping_interval": None}


async def echo(socket):
    async for message in socket:
        if isinstance(message, str) and message.startswith("close "):
            _, code, reason = message.split(" ", 2)
            await socket.close(int(code), reason)
        elif message == "user":
            await socket.send(socket.request.headers.get("x-user-id", ""))
        elif message == "pieces":
            await socket.send(iter(["one ", "", "two ", "three"]))
        elif message == "ping":
            await (await socket.ping(b"from the server"))
            await socket.send("ponged")
        else:
            await socket.send(message)


async def run_server():
    async with serve(echo, "127.0.0.1", 0, subprotocols=["chat.v2", "chat"], **UNBOUND) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


async def talk(uri, authority, token, compression):
    context = ssl.create_default_context(cafile=authority) if uri.startswith("wss:") else None

    def dial(token=token, path="/socket"):
        headers = {"authorization": f"Bearer {token}"}
        options = {"ssl": context, "additional_headers": headers, "subprotocols": ["chat", "other"]}
        return connect(uri + path, compression=compression, **options, **UNBOUND)

    outcome = {}
    async with dial() as socket:
        messages = [
            "", "hello", "Käse \U0001f9c0", b"", b"\x00\xff\n", "x" * 125, "x" * 126, "x" * 65535, "x" * 65536,
            bytes(range(256)) * 1000, b"\x81\x05hello" * 100, "y" * (16 * MIB), b"z" * (16 * MIB),
        ]
        for message in messages:
            await socket.send(message)
        echoed = [await socket.recv() for _ in messages]
        outcome["echoed"] = [a == b and type(a) is type(b) for a, b in zip(echoed, messages)].count(True)
        outcome["sent"] = len(messages)
        await socket.send("user")
        outcome["user"] = await socket.recv()
        outcome["subprotocol"] = socket.subprotocol
        outcome["compressed"] = bool(socket.protocol.extensions)

        await socket.send(iter(["a" * 70000, "", "b", "c" * 200000]))
        outcome["fragments_there"] = len(await socket.recv())
        await socket.send("pieces")
        outcome["fragments_back"] = [piece async for piece in socket.recv_streaming()]
        # Between the pieces of a message.
        async def interrupted():
            yield b"first"
            await (await socket.ping(b"between"))
            yield b"second"

        await socket.send(interrupted())
        outcome["interrupted"] = (await socket.recv()).decode()
        await socket.send("ping")
        outcome["pinged"] = await socket.recv()
        for number in range(2000):
            await socket.send(str(number))
        outcome["in_order"] = [await socket.recv() for _ in range(2000)] == [str(n) for n in range(2000)]
        await socket.close(4001, "enough")
        outcome["closed"] = [socket.close_code, socket.close_reason]

    async with dial() as socket:
        await socket.send("close 4002 servers may, too")
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            outcome["closed_by_server"] = [closed.rcvd.code, closed.rcvd.reason]
    refused = []
    for wrong in ({"token": "unknown"}, {"path": "/closed"}):
        try:
            async with dial(**wrong):
                refused.append(101)
        except InvalidStatus as error:
            refused.append(error.response.status_code)
    outcome["refused"] = refused
    return outcome


async def main():
    uri, authority, token = sys.argv[2:]
    outcomes = [await talk(uri, authority, token, compression) for compression in (None, "deflate")]
    print(json.dumps(outcomes))


asyncio.run(run_server() if sys.argv[1] == "serve" else main())
