// What a client of `ws` may expect of a WebSocket, asked of the server behind the gateway.
const crypto = require("node:crypto");
const { WebSocket } = require("ws");
const { assert, next, run } = require("./checks.js");

const { SITE, BEARER } = process.env;
const url = (path) => SITE.replace(/^http/, "ws") + path;
const good = { headers: { authorization: BEARER } };

async function open(options = {}, protocols = [], path = "/chat/room?a=1") {
  const socket = new WebSocket(url(path), protocols, { ...good, ...options });
  await next(socket, "open");
  return socket;
}

/** What comes back for a message. */
async function ask(socket, message) {
  const answer = next(socket, "message");
  socket.send(message);
  const [data, binary] = await answer;
  return binary ? data : data.toString();
}

async function close(socket, ...how) {
  const closed = next(socket, "close");
  socket.close(...how);
  const [code, reason] = await closed;
  return [code, reason.toString()];
}

run({
  "text comes back": async () => {
    const socket = await open();
    for (const text of ["hello", "", "Grüße, 世界 🌍", "x".repeat(125), "x".repeat(126), "x".repeat(65_536)]) {
      assert.equal(await ask(socket, text), text);
    }
    assert.deepEqual(await close(socket, 1000, ""), [1000, ""]);
  },
  "bytes come back, a megabyte at a time, with and without compression": async () => {
    for (const perMessageDeflate of [true, false]) {
      const socket = await open({ perMessageDeflate });
      assert.equal(socket.extensions.includes("permessage-deflate"), perMessageDeflate);
      for (const bytes of [Buffer.alloc(0), Buffer.from([0, 255]), crypto.randomBytes(1 << 20), Buffer.alloc(1 << 20)]) {
        assert.ok((await ask(socket, bytes)).equals(bytes));
      }
      const many = Array.from({ length: 8 }, () => crypto.randomBytes(1 << 20));
      const all = new Promise((resolve) => {
        const came = [];
        socket.on("message", (data) => { if (came.push(data) === many.length) resolve(came); });
      });
      many.forEach((bytes) => socket.send(bytes));
      assert.ok((await all).every((data, at) => data.equals(many[at])), "in order");
      await close(socket);
    }
  },
  "a message in parts, with a ping between them": async () => {
    const socket = await open({ perMessageDeflate: false });
    const [answer, pong] = [next(socket, "message"), next(socket, "pong")];
    socket.send("one, ", { fin: false });
    socket.ping("between");
    socket.send("two, ", { fin: false });
    socket.send("three", { fin: true });
    assert.equal((await answer)[0].toString(), "one, two, three");
    assert.equal((await pong)[0].toString(), "between");
    await close(socket);
  },
  "pings of both sides are answered": async () => {
    const socket = await open();
    const pong = next(socket, "pong");
    socket.ping("mine");
    assert.equal((await pong)[0].toString(), "mine");
    const ping = next(socket, "ping");
    assert.equal(await ask(socket, "!ping yours"), "pong came: yours");
    assert.equal((await ping)[0].toString(), "yours");
    await close(socket);
  },
  "the server closes with a code and a reason": async () => {
    for (const [code, reason] of [[1000, "done"], [1001, "away"], [1003, ""], [1008, "policy"], [1011, "oops"], [1012, ""],
      [3000, "registered"], [4999, "r".repeat(123)]]) {
      const socket = await open();
      const closed = next(socket, "close");
      socket.send(`!close ${code} ${reason}`);
      const [came, said] = await closed;
      assert.deepEqual([came, said.toString()], [code, reason]);
    }
  },
  "the client closes with a code and a reason": async () => {
    assert.deepEqual(await close(await open(), 4321, "by client"), [4321, "by client"]);
    assert.deepEqual((await close(await open()))[0], 1005);
  },
  "a connection that is cut is cut on the other side too": async () => {
    const socket = await open();
    const closed = next(socket, "close");
    socket.send("!drop");
    assert.equal((await closed)[0], 1006);
    (await open()).terminate();
  },
  "the server sees who it is, and no token": async () => {
    const socket = await open({ origin: "https://app.test" }, ["chat.v1", "chat.v2"]);
    assert.equal(socket.protocol, "chat.v2");
    const who = JSON.parse(await ask(socket, "!who"));
    assert.deepEqual(who, {
      user: "u1", authorization: false, cookie: false, origin: "https://app.test", target: "/chat/room?a=1",
      protocol: "chat.v2", extensions: "permessage-deflate",
    });
    await close(socket);
  },
  "who has no token is told so before anything is switched": async () => {
    for (const [headers, status] of [[{}, 401], [{ authorization: "Bearer x.y.z" }, 401]]) {
      const socket = new WebSocket(url("/chat"), { headers });
      socket.on("error", () => {});
      const [, response] = await next(socket, "unexpected-response");
      assert.equal(response.statusCode, status);
      assert.match(response.headers["www-authenticate"], /^Bearer/);
      response.destroy();
    }
  },
  "two hundred connections at a time": async () => {
    const sockets = await Promise.all(Array.from({ length: 200 }, () => open()));
    await Promise.all(sockets.map(async (socket, number) => {
      for (let n = 0; n < 10; n++) assert.equal(await ask(socket, `${number} ${n}`), `${number} ${n}`);
    }));
    assert.ok((await Promise.all(sockets.map((socket) => close(socket, 1000)))).every(([code]) => code === 1000));
  },
});
