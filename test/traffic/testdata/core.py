"""A server and a client of gRPC's C-core. Messages are plain bytes: nothing here needs a schema.

core.py serve NAME   serve all four kinds of calls as NAME, and print the port
core.py ask PORT     make calls of all kinds on one channel, every other one as alice, and print as JSON who answered
"""
import json
import sys
from concurrent import futures

import grpc

raw = {"request_deserializer": None, "response_serializer": None}


class Echo(grpc.GenericRpcHandler):
    def __init__(self, name):
        self.name = name.encode()

    def say(self, context, text):
        context.set_trailing_metadata((("answered-by", self.name.decode()), ("sum-bin", b"\x00\xff")))
        return self.name + b":" + text

    def service(self, details):
        if details.method == "/echo/Unary":
            return grpc.unary_unary_rpc_method_handler(lambda q, c: self.say(c, q), **raw)
        if details.method == "/echo/Up":
            return grpc.stream_unary_rpc_method_handler(lambda qs, c: self.say(c, str(sum(len(q) for q in qs)).encode()), **raw)
        if details.method == "/echo/Down":
            return grpc.unary_stream_rpc_method_handler(lambda q, c: (self.say(c, q) for _ in range(20)), **raw)
        if details.method == "/echo/Both":
            return grpc.stream_stream_rpc_method_handler(lambda qs, c: (self.say(c, q) for q in qs), **raw)
        if details.method == "/echo/Fail":
            return grpc.unary_unary_rpc_method_handler(lambda q, c: c.abort(grpc.StatusCode.DATA_LOSS, self.name.decode()), **raw)
        if details.method == "/echo/Wait":
            return grpc.unary_unary_rpc_method_handler(self.wait, **raw)
        return None

    def wait(self, request, context):
        done = futures.Future()
        context.add_callback(lambda: done.set_result(None))
        done.result(20)
        return request


def serve(name):
    server = grpc.server(futures.ThreadPoolExecutor(32), handlers=(Echo(name),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


def ask(port):
    channel = grpc.insecure_channel("127.0.0.1:" + port, options=[("grpc.use_local_subchannel_pool", 1)])
    large = b"x" * 300_000
    answers = []

    def check(what, who, got, want):
        answers.append({"What": what, "Who": who, "Got": "ok" if got == want else repr(got)[:200]})

    for i in range(20):
        who = ("target", "debuggee")[i % 2]
        me = (("x-user", ("bob", "alice")[i % 2]), ("trace-bin", b"\x01\x02"))
        name = who.encode() + b":"
        got, call = channel.unary_unary("/echo/Unary").with_call(large, metadata=me, timeout=20)
        check("unary", who, (got, dict(call.trailing_metadata()).get("answered-by")), (name + large, who))
        got = channel.stream_unary("/echo/Up")(iter([large] * 5), metadata=me, timeout=20)
        check("up", who, got, name + b"1500000")
        got = list(channel.unary_stream("/echo/Down")(large, metadata=me, timeout=20))
        check("down", who, got, [name + large] * 20)
        got = list(channel.stream_stream("/echo/Both")(iter([b"a", large, b"c"]), metadata=me, timeout=20))
        check("both", who, got, [name + b"a", name + large, name + b"c"])
        for what, method, timeout, want in (
            ("status", "/echo/Fail", 20, (grpc.StatusCode.DATA_LOSS, who)),
            ("deadline", "/echo/Wait", 0.3, (grpc.StatusCode.DEADLINE_EXCEEDED, None)),
            ("unknown", "/echo/None", 20, (grpc.StatusCode.UNIMPLEMENTED, None)),
        ):
            try:
                got = channel.unary_unary(method)(b"", metadata=me, timeout=timeout)
            except grpc.RpcError as e:
                got = (e.code(), e.details() if want[1] else None)
            check(what, who, got, want)
        cancelled = channel.unary_unary("/echo/Wait").future(b"", metadata=me, timeout=20)
        cancelled.cancel()
        check("cancelled", who, cancelled.cancelled(), True)
    # All at once on the one connection.
    calls = []
    for i in range(100):
        me = (("x-user", ("bob", "alice")[i % 2]),)
        calls.append(channel.unary_unary("/echo/Unary").future(b"%d" % i, metadata=me, timeout=20))
    for i, call in enumerate(calls):
        who = ("target", "debuggee")[i % 2]
        check("at once", who, call.result(), b"%s:%d" % (who.encode(), i))
    json.dump(answers, sys.stdout)


{"serve": serve, "ask": ask}[sys.argv[1]](sys.argv[2])
