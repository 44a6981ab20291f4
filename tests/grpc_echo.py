"""A gRPC server and a client for it, both of Google's own library: what tests/grpc.rs puts the gateway between.

    grpc_echo.py serve          prints its port; messages are bytes as they are, so no compiler of protocols is needed
    grpc_echo.py call ADDRESS CA CALL [TOKEN]   makes one of the calls below and prints what came of it as JSON
"""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

ended = threading.Semaphore(0)


def unary(message, context):
    shown = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
    context.set_trailing_metadata((("x-trailer", "behind"),))
    return json.dumps({"length": len(message), "metadata": shown}).encode()


def count(message, context):
    for number in range(int(message)):
        yield str(number).encode()


def total(messages, context):
    return str(sum(int(message) for message in messages)).encode()


def chat(messages, context):
    for message in messages:
        yield b"re: " + message


def fail(message, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ä")


def fail_late(message, context):
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "the rest is lost")


def hang(message, context):
    """Waits until the call is given up by the other side."""
    context.add_callback(ended.release)
    while context.is_active():
        time.sleep(0.01)


def tick(messages, context):
    for number in range(int(next(messages))):
        time.sleep(0.1)
        yield str(number).encode()


def keep_silent(messages, context):
    context.send_initial_metadata(())
    while context.is_active():
        time.sleep(0.01)
    yield b""


def was_given_up(message, context):
    return b"yes" if ended.acquire(timeout=20) else b"no"


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(16))
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Total": grpc.stream_unary_rpc_method_handler(total),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
        "Hang": grpc.unary_unary_rpc_method_handler(hang),
        "Tick": grpc.stream_stream_rpc_method_handler(tick),
        "KeepSilent": grpc.stream_stream_rpc_method_handler(keep_silent),
        "WasGivenUp": grpc.unary_unary_rpc_method_handler(was_given_up),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


def talk(channel, metadata):
    """One message at a time, each after the answer to the one before."""
    answered = threading.Semaphore(1)

    def messages():
        for number in range(20):
            answered.acquire()
            yield str(number).encode()

    answers = []
    for answer in channel.stream_stream("/test.Echo/Chat")(messages(), metadata=metadata, timeout=20):
        answers.append(answer.decode())
        answered.release()
    return answers


def listen(method):
    """Says one thing, and is silent while the server speaks."""

    def ask(channel, metadata):
        over = threading.Event()

        def messages():
            yield b"25"
            over.wait(20)

        try:
            answers = channel.stream_stream(method)(messages(), metadata=metadata, timeout=20)
            return [int(answer) for answer in answers]
        finally:
            over.set()

    return ask


def ask_unary(channel, metadata):
    answer, call = channel.unary_unary("/test.Echo/Unary").with_call(b"x" * 3_000_000, metadata=metadata, timeout=20)
    trailing = {name: value for name, value in call.trailing_metadata()}
    return {"answer": json.loads(answer), "trailing": trailing}


def give_up(channel, metadata):
    code = None
    try:
        channel.unary_unary("/test.Echo/Hang")(b"", metadata=metadata, timeout=0.3)
    except grpc.RpcError as error:
        code = error.code().name
    given_up = channel.unary_unary("/test.Echo/WasGivenUp")(b"", metadata=metadata, timeout=30)
    return {"code": code, "given_up": given_up.decode()}


def read_until_it_fails(channel, metadata):
    answers = []
    try:
        for answer in channel.unary_stream("/test.Echo/FailLate")(b"", metadata=metadata, timeout=20):
            answers.append(answer.decode())
    except grpc.RpcError as error:
        return {"answers": answers, "code": error.code().name, "details": error.details()}
    return {"answers": answers}


def plain(path):
    return lambda channel, metadata: channel.unary_unary(path)(b"", metadata=metadata, timeout=20).decode()


CALLS = {
    "unary": ask_unary,
    "count": lambda channel, metadata: [
        int(one) for one in channel.unary_stream("/test.Echo/Count")(b"1000", metadata=metadata, timeout=20)
    ],
    "total": lambda channel, metadata: int(
        channel.stream_unary("/test.Echo/Total")(
            (str(number).encode() for number in range(1000)), metadata=metadata, timeout=20
        )
    ),
    "chat": talk,
    "listen": listen("/test.Echo/Tick"),
    "silence": listen("/test.Echo/KeepSilent"),
    "fail": plain("/test.Echo/Fail"),
    "fail-late": read_until_it_fails,
    "give-up": give_up,
    "forbidden": plain("/test.Admin/Unary"),
    "down": plain("/test.Down/Unary"),
    "unrouted": plain("/other.Service/Unary"),
}


def call(address, authority, name, token=None):
    with open(authority, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options = (("grpc.ssl_target_name_override", "a.test"), ("grpc.enable_retries", 0))
    metadata = (("x-user-id", "root"),)
    if token:
        metadata += (("authorization", "Bearer " + token),)
    with grpc.secure_channel(address, credentials, options) as channel:
        try:
            result = {"result": CALLS[name](channel, metadata)}
        except grpc.RpcError as error:
            result = {"code": error.code().name, "details": error.details()}
    print(json.dumps(result))


if sys.argv[1] == "serve":
    serve()
else:
    call(*sys.argv[2:])
