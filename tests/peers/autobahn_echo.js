// A client of `ws` that echoes whatever the server of Autobahn's cases sends, case after case.
const { WebSocket } = require("ws");
const { next, run, assert } = require("./checks.js");

const options = { perMessageDeflate: true, maxPayload: 32 << 20, maxFragments: 0, maxBufferedChunks: 0 };
const connect = (path) => new WebSocket(process.env.SITE.replace(/^http/, "ws") + path, options);

async function one(number) {
  const socket = connect(`/runCase?case=${number}&agent=ws`);
  socket.on("error", () => {});
  socket.on("message", (data, binary) => socket.send(data, { binary }));
  await next(socket, "close");
}

run({
  "every case runs": async () => {
    const counter = connect("/getCaseCount");
    const [count] = await next(counter, "message");
    assert.ok(Number(count) > 0);
    for (let number = 1; number <= Number(count); number++) await one(number);
    await next(connect("/updateReports?agent=ws"), "close");
  },
});
