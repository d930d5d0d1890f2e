"""python3 call.py SOCKET METHOD: one call of a gRPC service; request on stdin, response on stdout, as protobuf has them.

For the Python that has grpc (Debian: python3-grpcio); tests/containerd/cri.py makes the messages.
"""

import sys

import grpc  # type: ignore[import-not-found,unused-ignore]

socket, method = sys.argv[1:]
with grpc.insecure_channel(f"unix://{socket}", options=[("grpc.enable_http_proxy", 0)]) as channel:
    call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
    try:
        sys.stdout.buffer.write(call(sys.stdin.buffer.read(), timeout=60))
    except grpc.RpcError as error:
        sys.exit(f"{method}: {error.code().name}: {error.details()}")
