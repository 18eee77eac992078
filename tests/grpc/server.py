"""A service of gRPC without generated code: messages are bytes. Tells its port, and each call in one line of JSON."""
import json
import sys
import threading
from concurrent import futures

import grpc

said = threading.Lock()


def say(**line):
    with said:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def seen(method, context):
    metadata = {name: value if isinstance(value, str) else value.hex() for name, value in context.invocation_metadata()}
    say(method=method, metadata=metadata, deadline=context.time_remaining() is not None)
    context.set_trailing_metadata((("x-trailer", "kept"), ("x-trailer-bin", bytes([0, 255]))))


def unary(request, context):
    seen("unary", context)
    context.send_initial_metadata((("x-initial", "kept"),))
    return request.upper()


def client_stream(requests, context):
    seen("client_stream", context)
    return b"+".join(requests)


def server_stream(request, context):
    seen("server_stream", context)
    for number in range(int(request)):
        yield b"%d" % number


def both(requests, context):
    seen("both", context)
    for request in requests:
        yield request[::-1]


def fail(request, context):
    seen("fail", context)
    context.abort(grpc.StatusCode.DATA_LOSS, "l\u00f6st: 100 %")


def wait(request, context):
    seen("wait", context)
    over = threading.Event()
    context.add_callback(over.set)
    say(cancelled=over.wait(30))
    return b""


def endless(request, context):
    seen("endless", context)
    over = threading.Event()
    context.add_callback(over.set)
    yield b"begun"
    say(ended=over.wait(30))


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "Endless": grpc.unary_stream_rpc_method_handler(endless),
}
server = grpc.server(futures.ThreadPoolExecutor(16))
services = ["mine.Service", "admin.Service", "seldom.Service", "slow.Service"]
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, handlers) for name in services])
say(port=server.add_insecure_port("127.0.0.1:0"))
server.start()
server.wait_for_termination()
