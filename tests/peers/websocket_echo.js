// The WebSocket server of `ws` that the suite is run against: it echoes and does nothing else.
const { WebSocketServer } = require("ws");
const { say } = require("./checks.js");

const server = new WebSocketServer({
  host: "127.0.0.1", port: 0, perMessageDeflate: true, maxPayload: 32 << 20, maxFragments: 0, maxBufferedChunks: 0,
}, () => say({ port: server.address().port }));
server.on("connection", (socket) => {
  socket.on("error", () => {});
  socket.on("message", (data, binary) => socket.send(data, { binary }));
});
