"""Calls of every kind through the gateway, and what is made of refusals. Says so when all is as it should be."""
import os
import threading
import time

import grpc

good = (("authorization", os.environ["BEARER"]),)
ending = (("authorization", os.environ["ENDING"]),)
channel = grpc.insecure_channel(os.environ["SITE"])
patience = 20


def refusal(make):
    try:
        outcome = make()
        raise AssertionError(f"not refused: {outcome!r}")
    except grpc.RpcError as error:
        return error


def expect(name, error, code, words):
    assert error.code() == code, (name, error.code(), error.details())
    assert error.details() == words, (name, error.details())
    metadata = dict(error.initial_metadata()) | dict(error.trailing_metadata())
    assert len(metadata["x-request-id"]) == 32, (name, metadata)
    return metadata




def endless_words():
    while True:
        yield b"x" * 1000
        time.sleep(0.01)


# Calls whose token ends while they go on, an idle one and a busy one: looked at in the end.
def run(stream, outcome):
    outcome["error"] = refusal(lambda: [outcome.setdefault("first", message) for message in stream])


doomed = [channel.unary_stream("/mine.Service/Endless")(b"", metadata=ending, timeout=60),
          channel.stream_stream("/mine.Service/Both")(endless_words(), metadata=ending, timeout=60)]
outcomes = [{}, {}]
threads = [threading.Thread(target=run, args=pair) for pair in zip(doomed, outcomes)]
for thread in threads:
    thread.start()

# What passes.
unary = channel.unary_unary("/mine.Service/Unary")
answer, call = unary.with_call(b"hello", metadata=good + (("x-mine", "1"), ("x-mine-bin", bytes([1, 2]))), timeout=patience)
assert answer == b"HELLO" and call.code() == grpc.StatusCode.OK, (answer, call)
assert dict(call.initial_metadata())["x-initial"] == "kept"
assert dict(call.trailing_metadata())["x-trailer"] == "kept", call.trailing_metadata()
assert dict(call.trailing_metadata())["x-trailer-bin"] == bytes([0, 255])
large = b"x" * 3_000_000
assert unary(large, metadata=good, timeout=patience) == large.upper()
joined = channel.stream_unary("/mine.Service/ClientStream")(iter([b"a", b"b", b"c"]), metadata=good, timeout=patience)
assert joined == b"a+b+c", joined
numbers = channel.unary_stream("/mine.Service/ServerStream")(b"500", metadata=good, timeout=patience)
assert list(numbers) == [b"%d" % number for number in range(500)]

# Both ways at once: each message is answered before the next is sent.
turn = threading.Semaphore(0)


def words():
    for word in [b"one", b"two", b"three"]:
        yield word
        assert turn.acquire(timeout=patience)


answers = []
for answer in channel.stream_stream("/mine.Service/Both")(words(), metadata=good, timeout=patience):
    answers.append(answer)
    turn.release()
assert answers == [b"eno", b"owt", b"eerht"], answers

# The service's own refusal arrives as it was.
error = refusal(lambda: channel.unary_unary("/mine.Service/Fail")(b"", metadata=good, timeout=patience))
assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "l\u00f6st: 100 %"), error
assert dict(error.trailing_metadata())["x-trailer"] == "kept"

# A deadline of the client, and one who changes his mind: the service hears of both.
began = time.monotonic()
error = refusal(lambda: channel.unary_unary("/mine.Service/Wait")(b"", metadata=good, timeout=0.5))
assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED and time.monotonic() - began < 10, error
stream = channel.unary_stream("/mine.Service/Endless")(b"", metadata=good, timeout=patience)
assert next(stream) == b"begun"
stream.cancel()

# What is refused.
mine, admin = unary, channel.unary_unary("/admin.Service/Unary")
metadata = expect("missing", refusal(lambda: mine(b"", timeout=patience)), grpc.StatusCode.UNAUTHENTICATED, "A bearer token is required")
assert metadata["www-authenticate"].startswith("Bearer realm="), metadata
wrong = (("authorization", "Bearer x.y.z"),)
metadata = expect("malformed", refusal(lambda: mine(b"", metadata=wrong, timeout=patience)), grpc.StatusCode.UNAUTHENTICATED, "The token is malformed")
assert 'error="invalid_token"' in metadata["www-authenticate"], metadata
expect("role", refusal(lambda: admin(b"", metadata=good, timeout=patience)), grpc.StatusCode.PERMISSION_DENIED, "A required role is missing")
seldom = channel.unary_unary("/seldom.Service/Unary")
assert seldom(b"a", metadata=good, timeout=patience) == b"A"
metadata = expect("seldom", refusal(lambda: seldom(b"", metadata=good, timeout=patience)), grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many requests")
assert int(metadata["retry-after"]) > 0
expect("nowhere", refusal(lambda: channel.unary_unary("/nobody.Service/A")(b"", timeout=patience)), grpc.StatusCode.UNIMPLEMENTED, "No such resource")
expect("down", refusal(lambda: channel.unary_unary("/down.Service/A")(b"", timeout=patience)), grpc.StatusCode.UNAVAILABLE, os.environ["UNREACHABLE"])
expect("slow", refusal(lambda: channel.unary_unary("/slow.Service/Wait")(b"", metadata=good, timeout=patience)), grpc.StatusCode.DEADLINE_EXCEEDED, os.environ["TIMEOUT"])

# Also in the middle of what the client has to say.
error = refusal(lambda: channel.stream_unary("/mine.Service/ClientStream")(endless_words(), timeout=patience))
expect("streaming", error, grpc.StatusCode.UNAUTHENTICATED, "A bearer token is required")
error = refusal(lambda: list(channel.stream_stream("/admin.Service/Both")(endless_words(), metadata=good, timeout=patience)))
expect("streams", error, grpc.StatusCode.PERMISSION_DENIED, "A required role is missing")

# Of those whose token ends nothing is left, and one beside them goes on.
spoken = threading.Semaphore(0)


def later():
    while spoken.acquire(timeout=patience):
        yield b"still here"


spared = channel.stream_stream("/mine.Service/Both")(later(), metadata=good, timeout=2 * patience)
for thread, outcome in zip(threads, outcomes):
    thread.join()
    error = outcome["error"]
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAUTHENTICATED, "The token has expired"), error
    assert outcome["first"], outcome
spoken.release()
assert next(spared) == b"ereh llits"
spared.cancel()
print("every call is as it should be")
