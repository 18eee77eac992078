"""A service that believes the gateway's assertion, and nothing else about who is calling."""
import http.server

import jwt  # PyJWT, with cryptography

# An address at which nobody but the gateway can answer.
KEYS = jwt.PyJWKClient("https://gateway.internal/.well-known/jwks.json", lifespan=300, timeout=5)
ISSUER = "https://edge.example.com"  # `identity.assertion.issuer`
AUDIENCE = "orders"  # this service's name among the gateway's `upstreams`
ALGORITHM = "EdDSA"  # `identity.assertion.algorithm`, whatever the assertion says of itself


def who_is_calling(headers):
    assertions = headers.get_all("X-Identity-Assertion", [])
    if len(assertions) != 1:
        raise jwt.InvalidTokenError("no assertion, or several")
    [assertion] = assertions
    if jwt.get_unverified_header(assertion).get("typ") != "assertion+jwt":
        raise jwt.InvalidTokenError("not an assertion")
    return jwt.decode(
        assertion,
        KEYS.get_signing_key_from_jwt(assertion).key,
        algorithms=[ALGORITHM],
        issuer=ISSUER,
        audience=AUDIENCE,
        leeway=5,
        options={"require": ["iss", "aud", "iat", "exp", "sub"]},
    )


class Orders(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            caller = who_is_calling(self.headers)
        except Exception as error:  # Whatever it is: who is not known is not let in.
            print("refused:", type(error).__name__)
            self.answer(401, "not from the gateway\n")
            return
        self.answer(200, f"hello {caller['sub']}\n")

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("", 3000), Orders).serve_forever()
