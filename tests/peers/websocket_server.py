"""The WebSocket server of `websocket_server.js`, with Python's `websockets`."""
import asyncio, json
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

opened = 0

def say(line):
    print(json.dumps(line), flush=True)

async def pinged(socket, data):
    await (await socket.ping(data))
    await socket.send(f"pong came: {data}")

async def handle(socket):
    global opened
    opened += 1
    say({"open": opened})
    tasks = []
    try:
        async for message in socket:
            command, _, rest = message.partition(" ") if isinstance(message, str) else ("", "", "")
            if command == "!close":
                code, _, reason = rest.partition(" ")
                await socket.close(int(code), reason)
            elif command == "!ping":
                tasks.append(asyncio.create_task(pinged(socket, rest)))
            elif command == "!drop":
                socket.transport.abort()
            elif command == "!who":
                of = socket.request.headers.get
                await socket.send(json.dumps({
                    "user": of("x-user-id"), "authorization": of("authorization") is not None,
                    "cookie": of("cookie") is not None, "origin": of("origin"), "target": socket.request.path,
                    "protocol": socket.subprotocol or "",
                    "extensions": "permessage-deflate" if socket.protocol.extensions else "",
                }))
            else:
                await socket.send(message)
    except ConnectionClosed:
        pass
    finally:
        await socket.wait_closed()
        opened -= 1
        say({"closed": socket.close_code, "reason": socket.close_reason})

def choose(_, offered):
    return "chat.v2" if "chat.v2" in offered else None

async def main():
    async with serve(handle, "127.0.0.1", 0, max_size=32 << 20, select_subprotocol=choose) as server:
        say({"port": server.sockets[0].getsockname()[1]})
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
