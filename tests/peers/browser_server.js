// What a page in a browser talks to: itself, a WebSocket and a stream of events, which tell whom the server sees.
const http = require("node:http");
const { WebSocketServer } = require("ws");
const { say } = require("./checks.js");

const whom = ({ headers }) => ({
  user: headers["x-user-id"] ?? null, secrets: /eyJ/.test(JSON.stringify(headers)), last: headers["last-event-id"] ?? null,
});
const server = http.createServer((request, response) => {
  if (request.url.startsWith("/events")) {
    const begun = Number(request.headers["last-event-id"] ?? 0);
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
    response.write(`retry: 100\n\nid: ${begun + 1}\ndata: ${JSON.stringify(whom(request))}\n\n`);
    // Each event waits for the one before it to be away; after the third the stream ends, and the browser comes again.
    response.write(`id: ${begun + 2}\nevent: named\ndata: two\ndata: lines\n\n`, () => {
      response.end(`id: ${begun + 3}\ndata: "last"\n\n`);
    });
    request.on("close", () => say({ events: begun }));
    return;
  }
  response.writeHead(200, { "Content-Type": "text/html" });
  response.end("<!doctype html><title>page</title><body>page");
});
const sockets = new WebSocketServer({ server, perMessageDeflate: true });
sockets.on("connection", (socket, request) => {
  socket.on("error", () => {});
  socket.on("close", (code, reason) => say({ closed: code, reason: reason.toString() }));
  socket.send(JSON.stringify({ ...whom(request), extensions: socket.extensions }));
  socket.on("message", (data, binary) => {
    if (!binary && data.toString() === "!close") socket.close(4001, "by server");
    else socket.send(data, { binary });
  });
});
server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
