// What a client of grpc-js may expect of a service behind the gateway.
const fs = require("node:fs");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");
const { assert, next, run } = require("./checks.js");

const { SITE, BEARER, AUTHORITY } = process.env;
const { trial } = grpc.loadPackageDefinition(loader.loadSync(path.join(__dirname, "trial.proto"), { defaults: true }));
const transport = grpc.credentials.createSsl(fs.readFileSync(AUTHORITY));
const large = { "grpc.max_receive_message_length": 32 << 20, "grpc.max_send_message_length": 32 << 20 };
const bearer = grpc.credentials.createFromMetadataGenerator((_, done) => {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", BEARER);
  done(null, metadata);
});
const address = new URL(SITE).host;
const good = new trial.Trial(address, grpc.credentials.combineChannelCredentials(transport, bearer), large);
const bare = new trial.Trial(address, transport, large);

const metadata = (...pairs) => {
  const made = new grpc.Metadata();
  pairs.forEach(([name, value]) => made.add(name, value));
  return made;
};

/** A call with one response: its error or value, the head's metadata, and the trailers. */
function unary(client, request, { with: given = metadata(), ...options } = {}) {
  return new Promise((resolve) => {
    const result = {};
    const call = client.Unary(request, given, options, (error, value) => { Object.assign(result, { error, value }); });
    call.on("metadata", (head) => { result.head = head; });
    call.on("status", (status) => resolve({ ...result, status, trailers: status.metadata }));
  });
}

/** All that a stream says, and how it ended. */
function all(call) {
  return new Promise((resolve) => {
    const [messages, result] = [[], {}];
    call.on("data", (message) => messages.push(message));
    call.on("metadata", (head) => { result.head = head; });
    call.on("error", () => {});
    call.on("status", (status) => resolve({ ...result, messages, status }));
  });
}

const seen = (head, name) => head.get(name).map(String).join();

function check_failure(status, code) {
  assert.equal(status.code, code);
  assert.equal(status.details, "it failed: 100 % Grüße\n🌍");
  assert.deepEqual([...status.metadata.get("grpc-status-details-bin")[0]], [8, 9, 255]);
  assert.equal(seen(status.metadata, "x-why"), "because");
}

run({
  "a call, its metadata and its trailers": async () => {
    const bytes = Buffer.from([0, 255, 1, 254]);
    const given = metadata(["x-echo", "one"], ["x-echo", "two"], ["x-echo-bin", bytes], ["x-user-id", "root"]);
    const { error, value, head, trailers } = await unary(good, { text: "hello", payload: bytes, number: 4 }, { with: given });
    assert.equal(error, null);
    assert.deepEqual([value.text, [...value.payload], value.number], ["hello", [...bytes], 5]);
    assert.deepEqual([seen(head, "seen-user"), seen(head, "seen-authorization")], ["u1", "0"]);
    assert.deepEqual(head.get("x-echo").join(", ").split(", "), ["one", "two"]);
    assert.deepEqual([...head.get("x-echo-bin")[0]], [...bytes]);
    assert.equal(seen(trailers, "x-trailer"), "late");
    assert.deepEqual([...trailers.get("x-trailer-bin")[0]], [0, 1, 254, 255]);
  },
  "many messages of the client, one answer": async () => {
    const answered = new Promise((resolve, reject) => {
      const call = good.Collect(metadata(), {}, (error, value) => (error ? reject(error) : resolve(value)));
      for (let n = 0; n < 100; n++) call.write({ payload: Buffer.alloc(20_000) });
      call.end();
    });
    const value = await answered;
    assert.deepEqual([value.text, value.number], ["2000000", 100]);
  },
  "one request, many messages": async () => {
    const { messages, status } = await all(good.Count({ number: 500, payload: Buffer.alloc(2000) }));
    assert.equal(status.code, grpc.status.OK);
    assert.deepEqual(messages.map(({ number }) => number), Array.from({ length: 500 }, (_, n) => n));
    assert.equal(seen(status.metadata, "x-trailer"), "late");
  },
  "both talk, each message answered before the next": async () => {
    const call = good.Talk();
    const ended = all(call);
    for (let number = 0; number < 50; number++) {
      const answer = next(call, "data");
      call.write({ number });
      assert.equal((await answer)[0].number, number * 2);
    }
    call.end();
    const { messages, status } = await ended;
    assert.deepEqual([messages.length, status.code], [50, grpc.status.OK]);
  },
  "messages of eight megabytes": async () => {
    const payload = Buffer.alloc(8 << 20, 5);
    const { error, value } = await unary(good, { payload });
    assert.equal(error, null);
    assert.ok(value.payload.equals(payload));
  },
  "compressed messages": async () => {
    const client = new trial.Trial(address, grpc.credentials.combineChannelCredentials(transport, bearer), {
      ...large, "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip,
    });
    const { error, value } = await unary(client, { text: "z".repeat(100_000) });
    assert.equal(error, null);
    assert.equal(value.text.length, 100_000);
    client.close();
  },
  "errors with their trailers: at once, after the head, after messages": async () => {
    const { error } = await unary(good, { text: "fail at once 7" });
    assert.deepEqual([error.code, error.details], [7, "at once"]);
    check_failure((await unary(good, { text: "fail 9" })).status, 9);
    const counted = await all(good.Count({ text: "fail 16", number: 3 }));
    assert.equal(counted.messages.length, 3);
    check_failure(counted.status, 16);
    const call = good.Talk();
    const talked = all(call);
    call.write({ text: "fail 5" });
    check_failure((await talked).status, 5);
  },
  "a deadline ends the call": async () => {
    const { error } = await unary(good, { text: "hang" }, { deadline: Date.now() + 300 });
    assert.equal(error.code, grpc.status.DEADLINE_EXCEEDED);
  },
  "a call that is given up ends on the other side too": async () => {
    const call = good.Count({ text: "hang" });
    const ended = all(call);
    await next(call, "data");
    call.cancel();
    assert.equal((await ended).status.code, grpc.status.CANCELLED);
    const talk = good.Talk();
    const over = all(talk);
    const answer = next(talk, "data");
    talk.write({ number: 1 });
    await answer;
    talk.cancel();
    assert.equal((await over).status.code, grpc.status.CANCELLED);
  },
  "a hundred calls at a time on one connection": async () => {
    const calls = Array.from({ length: 100 }, (_, number) => unary(good, { number, payload: Buffer.alloc(10_000) }));
    (await Promise.all(calls)).forEach(({ error, value }, number) => assert.deepEqual([error, value?.number], [null, number + 1]));
  },
  "who has no token, or one for too little, is refused by a code": async () => {
    const bad = metadata(["authorization", "Bearer x.y.z"]);
    for (const given of [metadata(), bad]) {
      assert.equal((await unary(bare, { text: "no" }, { with: given })).error.code, grpc.status.UNAUTHENTICATED);
    }
    assert.equal((await all(bare.Count({ number: 3 }))).status.code, grpc.status.UNAUTHENTICATED);
    assert.equal((await all(good.makeBidiStreamRequest("/closed.Trial/Talk", Buffer.from, Buffer.from))).status.code,
      grpc.status.PERMISSION_DENIED);
    // And what else is on the connection goes on.
    assert.equal((await unary(good, { number: 1 })).value.number, 2);
  },
});
