// A WebSocket server of `ws`. It echoes; words that begin with `!` are commands. It tells how each connection ended.
const { WebSocketServer } = require("ws");
const { say } = require("./checks.js");

const server = new WebSocketServer({
  host: "127.0.0.1", port: 0, perMessageDeflate: true, maxPayload: 32 << 20, maxFragments: 0, maxBufferedChunks: 0,
  handleProtocols: (offered) => (offered.has("chat.v2") ? "chat.v2" : false),
}, () => say({ port: server.address().port }));
let open = 0;
server.on("connection", (socket, request) => {
  open += 1;
  say({ open });
  socket.on("error", (error) => say({ error: error.message }));
  socket.on("close", (code, reason) => { open -= 1; say({ closed: code, reason: reason.toString() }); });
  socket.on("pong", (data) => socket.send(`pong came: ${data}`));
  socket.on("message", (data, binary) => {
    const [command, ...rest] = binary ? [] : data.toString().split(" ");
    if (command === "!close") socket.close(Number(rest[0]), rest.slice(1).join(" "));
    else if (command === "!ping") socket.ping(rest.join(" "));
    else if (command === "!drop") socket.terminate();
    else if (command === "!who") {
      const of = (name) => request.headers[name] ?? null;
      socket.send(JSON.stringify({
        user: of("x-user-id"), authorization: of("authorization") !== null, cookie: of("cookie") !== null,
        origin: of("origin"), target: request.url, protocol: socket.protocol, extensions: socket.extensions,
      }));
    } else socket.send(data, { binary });
  });
});
