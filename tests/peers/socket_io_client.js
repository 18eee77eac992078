// What clients of socket.io may expect behind the gateway, over polling, WebSocket, and from the one to the other.
const { io } = require("socket.io-client");
const { assert, next, run } = require("./checks.js");

const { SITE, BEARER } = process.env;

async function connect(path, more = {}) {
  const socket = io(SITE, {
    path: `${path}/socket.io`, extraHeaders: { authorization: BEARER }, forceNew: true, reconnectionDelay: 50,
    reconnectionDelayMax: 200, ...more,
  });
  await next(socket, "connect");
  return socket;
}

const echo = (socket, ...all) => socket.timeout(20_000).emitWithAck("echo", ...all);
const on = (socket) => socket.timeout(20_000).emitWithAck("transport");

async function upgraded(socket) {
  if (socket.io.engine.transport.name !== "websocket") await next(socket.io.engine, "upgrade");
}

/** Three clients, of which two are in a room. */
async function talk(transports) {
  const [one, two, three] = await Promise.all([0, 1, 2].map(() => connect("/chat", { transports })));
  assert.deepEqual(await Promise.all([one, two].map((socket) => socket.timeout(20_000).emitWithAck("join", "red"))), ["red", "red"]);
  const heard = [];
  three.on("told", (...all) => heard.push(all));
  const told = [one, two].map((socket) => next(socket, "told"));
  three.emit("tell", "red", "hello", Buffer.from([1, 2, 255]));
  for (const [room, word, bytes] of await Promise.all(told)) {
    assert.deepEqual([room, word, [...bytes]], ["red", "hello", [1, 2, 255]]);
  }
  const large = Buffer.alloc(500_000, 7);
  for (const socket of [one, two, three]) assert.ok(Buffer.from(await echo(socket, large)).equals(large));
  assert.deepEqual(heard, [], "who is not in the room hears nothing");
  return [one, two, three];
}

run({
  "by polling alone": async () => {
    const sockets = await talk(["polling"]);
    assert.deepEqual(await Promise.all(sockets.map(on)), ["polling", "polling", "polling"]);
    sockets.forEach((socket) => socket.disconnect());
  },
  "by WebSocket alone": async () => {
    const sockets = await talk(["websocket"]);
    assert.deepEqual(await Promise.all(sockets.map(on)), ["websocket", "websocket", "websocket"]);
    sockets.forEach((socket) => socket.disconnect());
  },
  "from polling to WebSocket": async () => {
    const sockets = await talk(["polling", "websocket"]);
    await Promise.all(sockets.map(upgraded));
    assert.deepEqual(await Promise.all(sockets.map(on)), ["websocket", "websocket", "websocket"]);
    sockets.forEach((socket) => socket.disconnect());
  },
  "who has no token is refused": async () => {
    for (const transports of [["polling"], ["websocket"]]) {
      const socket = io(SITE, { path: "/chat/socket.io", forceNew: true, transports, reconnection: false });
      const [error] = await next(socket, "connect_error");
      assert.match(error.message, /xhr poll error|websocket error/);
      assert.match(String(error.description?.message ?? error.description), /401/);
      socket.disconnect();
    }
  },
  "a stream that the gateway ends is opened again": async () => {
    const socket = await connect("/old", { transports: ["websocket"] });
    const [first, disconnected] = [socket.id, next(socket, "disconnect")];
    const again = next(socket, "connect");
    assert.equal(await echo(socket, "before"), "before");
    assert.match((await disconnected)[0], /transport (close|error)/);
    await again;
    assert.notEqual(socket.id, first);
    assert.equal(await echo(socket, "after"), "after");
    socket.disconnect();
  },
});
