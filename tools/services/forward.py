#!/usr/bin/env python3
"""usage: forward.py LISTEN=TARGET...

Forwards TCP connections, each address written HOST:PORT, until it is killed.
Prints `ready` when it listens. Standard library only.
"""
import asyncio
import sys


async def pump(reader, writer):
    try:
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def forwarder(target):
    host, port = target.rsplit(":", 1)

    async def serve(reader, writer):
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return writer.transport.abort()
        await asyncio.gather(pump(reader, upstream_writer), pump(upstream_reader, writer))

    return serve


async def main(pairs):
    servers = []
    for pair in pairs:
        listen, target = pair.split("=")
        host, port = listen.rsplit(":", 1)
        servers.append(await asyncio.start_server(forwarder(target), host, int(port)))
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1:]))
