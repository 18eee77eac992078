// A server of socket.io with rooms, acknowledgements and binary messages.
const http = require("node:http");
const { Server } = require("socket.io");
const { say } = require("./checks.js");

const server = http.createServer();
const io = new Server(server, { path: "/socket.io" });
io.on("connection", (socket) => {
  const { headers } = socket.handshake;
  say({ connected: socket.conn.transport.name, user: headers["x-user-id"], authorization: headers.authorization !== undefined });
  socket.conn.on("upgrade", (transport) => say({ upgraded: transport.name }));
  socket.on("disconnect", (reason) => say({ disconnected: reason }));
  socket.on("join", (room, done) => { socket.join(room); done(room); });
  socket.on("tell", (room, ...what) => io.to(room).emit("told", room, ...what));
  socket.on("echo", (...all) => all.pop()(...all));
  socket.on("transport", (done) => done(socket.conn.transport.name));
});
server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
