// A service that believes the gateway's assertion, and nothing else about who is calling.
import http from "node:http";
import { createRemoteJWKSet, jwtVerify } from "jose";

// An address at which nobody but the gateway can answer.
const keysUrl = new URL("https://gateway.internal/.well-known/jwks.json");
const keys = createRemoteJWKSet(keysUrl, { cacheMaxAge: 300_000, cooldownDuration: 30_000, timeoutDuration: 5_000 });
const expected = {
  issuer: "https://edge.example.com", // `identity.assertion.issuer`
  audience: "orders", // this service's name among the gateway's `upstreams`
  algorithms: ["EdDSA"], // `identity.assertion.algorithm`, whatever the assertion says of itself
  typ: "assertion+jwt",
  requiredClaims: ["iat", "exp", "sub"],
  clockTolerance: 5,
};

async function whoIsCalling(request) {
  const { payload } = await jwtVerify(request.headers["x-identity-assertion"] ?? "", keys, expected);
  return payload;
}

const server = http.createServer(async (request, response) => {
  let caller;
  try {
    caller = await whoIsCalling(request);
  } catch (error) {
    console.error("refused:", error.code ?? error.name);
    response.writeHead(401).end("not from the gateway\n");
    return;
  }
  response.end(`hello ${caller.sub}\n`);
});

server.listen(3000);
