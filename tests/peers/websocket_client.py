"""What a client of Python's `websockets` may expect of a WebSocket, asked of the server behind the gateway."""
import asyncio, json, os, ssl
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

url = os.environ["SITE"].replace("http", "ws", 1) + "/chat/py?b=2"
bearer = {"Authorization": os.environ["BEARER"]}
trust = ssl.create_default_context(cafile=os.environ["AUTHORITY"])
limit = asyncio.Semaphore(50)

def open_socket(headers=bearer, **more):
    return connect(url, additional_headers=headers, ssl=trust, max_size=32 << 20, open_timeout=30, proxy=None, **more)

async def ask(socket, message):
    await socket.send(message)
    return await asyncio.wait_for(socket.recv(), 30)

async def closed(socket):
    try:
        while True:
            await asyncio.wait_for(socket.recv(), 30)
    except ConnectionClosed:
        return socket.close_code, socket.close_reason

async def one_of_many(number):
    async with limit:
        socket = await open_socket()
    return socket, await ask(socket, f"number {number}") == f"number {number}"

async def main():
    for compression in ("deflate", None):
        async with open_socket(compression=compression) as socket:
            assert bool(socket.protocol.extensions) == (compression is not None)
            for message in ("", "Grüße, 世界 🌍", os.urandom(1 << 20), b"\0" * (1 << 20), "x" * (1 << 20)):
                assert await ask(socket, message) == message
            await socket.send(["in ", "several ", "parts"])
            assert await socket.recv() == "in several parts"
            assert await (await socket.ping(b"mine")) >= 0
            assert await ask(socket, "!ping yours") == "pong came: yours"
    for code, reason in ((1000, "done"), (1008, "policy"), (4999, "r" * 123)):
        async with open_socket() as socket:
            await socket.send(f"!close {code} {reason}")
            assert await closed(socket) == (code, reason)
    async with open_socket() as socket:
        await socket.close(4322, "by client")
    async with open_socket() as socket:
        await socket.send("!drop")
        assert (await closed(socket))[0] == 1006
    async with open_socket(subprotocols=["chat.v1", "chat.v2"], origin="https://app.test") as socket:
        assert socket.subprotocol == "chat.v2"
        who = json.loads(await ask(socket, "!who"))
        assert (who["user"], who["authorization"], who["target"]) == ("u1", False, "/chat/py?b=2"), who
    try:
        async with open_socket(headers={}):
            raise AssertionError("opened without a token")
    except InvalidStatus as refused:
        assert refused.response.status_code == 401
        assert json.loads(refused.response.body)["reason"] == "token_missing"
    many = await asyncio.gather(*[one_of_many(number) for number in range(200)])
    assert all(held for _, held in many)
    await asyncio.gather(*[socket.close() for socket, _ in many])
    print("9 checks held", flush=True)

asyncio.run(main())
