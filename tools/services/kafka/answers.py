#!/usr/bin/env python3
"""usage: answers.py PORT

Asks the broker on 127.0.0.1:PORT for its metadata, in Kafka's protocol and
with the standard library only. Exit 0 when it names at least one live broker.
"""
import socket
import struct
import sys

METADATA_KEY, METADATA_VERSION = 3, 1


def text(value):
    return struct.pack(">h", len(value)) + value


def request():
    body = struct.pack(">hhi", METADATA_KEY, METADATA_VERSION, 7) + text(b"tools")
    body += struct.pack(">i", 0)  # no topics
    return struct.pack(">i", len(body)) + body


def receive(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError("closed")
        data += piece
    return data


def live_brokers(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request())
        size = struct.unpack(">i", receive(connection, 4))[0]
        correlation, brokers = struct.unpack(">ii", receive(connection, size)[:8])
        assert correlation == 7
        return brokers


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit(__doc__)
    try:
        sys.exit(0 if live_brokers(int(sys.argv[1])) > 0 else 1)
    except OSError as error:
        sys.exit(str(error))
