// A gRPC server of grpc-js, without TLS. `text` says what is asked for.
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const path = require("node:path");
const { say } = require("./checks.js");

const { trial } = grpc.loadPackageDefinition(loader.loadSync(path.join(__dirname, "trial.proto"), { defaults: true }));

/** What the server sees of a call, as metadata of its response; and trailers that the client is to see. */
function tell(call) {
  const head = new grpc.Metadata();
  const of = (name) => call.metadata.get(name);
  head.set("seen-user", String(of("x-user-id")[0] ?? ""));
  head.set("seen-authorization", String(of("authorization").length));
  of("x-echo").forEach((value) => head.add("x-echo", value));
  of("x-echo-bin").forEach((value) => head.add("x-echo-bin", value));
  call.sendMetadata(head);
  const trailers = new grpc.Metadata();
  trailers.set("x-trailer", "late");
  trailers.set("x-trailer-bin", Buffer.from([0, 1, 254, 255]));
  return trailers;
}

function failure(text) {
  const metadata = new grpc.Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from([8, 9, 255]));
  metadata.set("x-why", "because");
  return { code: Number(text.split(" ")[1]), details: "it failed: 100 % Grüße\n🌍", metadata };
}

/** Never answers, and tells when it is given up. */
function hang(call) {
  say({ begun: call.getPath() });
  call.on("cancelled", () => say({ cancelled: call.getPath() }));
}

const server = new grpc.Server({ "grpc.max_receive_message_length": 32 << 20, "grpc.max_send_message_length": 32 << 20 });
server.addService(trial.Trial.service, {
  Unary(call, done) {
    const { text, payload, number } = call.request;
    if (text === "hang") return hang(call);
    if (text === "fail at once 7") return done({ code: 7, details: "at once" });
    const trailers = tell(call);
    if (text.startsWith("fail")) return done(failure(text));
    done(null, { text, payload, number: number + 1 }, trailers);
  },
  Collect(call, done) {
    const trailers = tell(call);
    let [bytes, number] = [0, 0];
    call.on("data", (message) => { bytes += message.payload.length; number += 1; });
    call.on("end", () => done(null, { text: String(bytes), number }, trailers));
    call.on("cancelled", () => say({ cancelled: call.getPath() }));
  },
  Count(call) {
    const { text, number } = call.request;
    if (text === "hang") { tell(call); call.write({ number: 0 }); return hang(call); }
    const trailers = tell(call);
    for (let n = 0; n < number; n++) call.write({ number: n, payload: call.request.payload });
    if (text.startsWith("fail")) call.emit("error", failure(text));
    else call.end(trailers);
  },
  Talk(call) {
    const trailers = tell(call);
    call.on("data", (message) => {
      if (message.text.startsWith("fail")) call.emit("error", failure(message.text));
      else call.write({ ...message, number: message.number * 2 });
    });
    call.on("end", () => call.end(trailers));
    call.on("cancelled", () => say({ cancelled: call.getPath() }));
  },
});
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => say(error ? { error: error.message } : { port }));
