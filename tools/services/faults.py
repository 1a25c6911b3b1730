#!/usr/bin/env python3
"""usage: faults.py serve --port PORT --upstream http://HOST:PORT --log FILE [SETTING=VALUE]...
       faults.py set ENDPOINT SETTING=VALUE...
       faults.py settings ENDPOINT

A proxy in front of an S3 server that answers some requests with a scripted
fault. Bytes pass unchanged, so that signatures hold. As a reverse proxy it is
the endpoint itself; requests in absolute form (`proxy_url`) go the same way.
Standard library only.

Owns: which request meets which fault, and the log. It knows nothing of S3
except how an error looks. See `tools/faults --help` for settings and kinds.
"""
import argparse
import asyncio
import json
import random
import re
import sys
import time
import urllib.request

CONTROL = "/-faults/settings"
HEAD_BYTES_MAX, CHUNK = 64 << 10, 256 << 10

# Refusals: (status, code); the request is read and not forwarded.
REFUSED = {"503": (503, "SlowDown"), "429": (429, "TooManyRequests"), "500": (500, "InternalError"),
           "403": (403, "ExpiredToken")}
KINDS = [*REFUSED, "500-after", "cut-before", "cut-request", "cut-after", "cut-reply", "slow", "slow-reply", "stall",
         "stall-after"]
# Request headers that the log shows. A token's value is nobody's business.
SHOWN = ("host", "if-none-match", "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
         "x-amz-server-side-encryption-bucket-key-enabled")


class Settings:
    """What the faults are now. Changed at runtime, one request at a time."""

    def __init__(self, given):
        self.rate, self.kinds, self.only, self.seed, self.slow, self.stall = 0.0, ["503"], "", 1, 0.2, 60.0
        self.random = random.Random(self.seed)
        self.change(given)

    def change(self, given):
        read = {"rate": float, "slow": float, "stall": float, "seed": int, "only": str,
                "kinds": lambda text: text.split(",")}
        new = {name: read[name](value) for name, value in given.items()}
        unknown = set(new.get("kinds", [])) - set(KINDS)
        if unknown:
            raise ValueError(f"unknown kinds: {', '.join(sorted(unknown))}")
        re.compile(new.get("only", ""))
        self.__dict__.update(new)
        if "seed" in new:
            self.random = random.Random(self.seed)

    def shown(self):
        return {name: getattr(self, name) for name in ("rate", "kinds", "only", "seed", "slow", "stall")}

    def draw(self, method, path):
        """The kind of fault that this request meets, or None."""
        if not re.search(self.only, f"{method} {path}") or self.random.random() >= self.rate:
            return None
        return self.random.choice(self.kinds)


class Cut(Exception):
    """The connection ends here, on purpose or because the other side is gone."""


class Head:
    """A request's or a reply's first lines, as they came."""

    def __init__(self, raw):
        self.raw = raw
        lines = raw.decode("latin-1").split("\r\n")
        self.first = lines[0]
        self.fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.fields[name.strip().lower()] = value.strip()

    def length(self):
        """Bytes of the body; None: in chunks or until the end."""
        length = self.fields.get("content-length")
        return None if length is None else int(length)

    def chunked(self):
        return "chunked" in self.fields.get("transfer-encoding", "").lower()


async def read_head(reader):
    try:
        return Head(await reader.readuntil(b"\r\n\r\n"))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
        raise Cut(str(error)) from None


async def body(head, reader, has_body, until_end):
    """The body in the pieces in which it comes, its framing included."""
    if not has_body:
        return
    if head.chunked():
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line + await reader.readexactly(size + 2)
            if size == 0:
                return
    left = head.length()
    if left is None and not until_end:
        return
    while left is None or left > 0:
        piece = await reader.read(min(CHUNK, left or CHUNK))
        if not piece:
            if left is None:
                return
            raise Cut("the body ended early")
        left = None if left is None else left - len(piece)
        yield piece


class Proxy:
    def __init__(self, upstream, settings, log):
        host, _, port = upstream.removeprefix("http://").rstrip("/").partition(":")
        self.upstream, self.settings, self.log = (host, int(port)), settings, log
        self.number, self.began = 0, time.monotonic()

    async def serve(self, reader, writer):
        try:
            while True:
                await self.one(await read_head(reader), reader, writer)
        except (Cut, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            # Not a close in order: what was cut looks cut.
            writer.transport.abort()

    async def one(self, head, reader, writer):
        method, target, _ = head.first.split(" ", 2)
        absolute = target.startswith("http://")
        path = "/" + target.split("/", 3)[3] if absolute else target
        if path.startswith(CONTROL):
            return await self.control(method, head, reader, writer)
        raw = head.raw.replace(target.encode("latin-1"), path.encode("latin-1"), 1) if absolute else head.raw
        kind = self.settings.draw(method, path)
        self.number += 1
        entry = {"n": self.number, "at": round(time.monotonic() - self.began, 3), "method": method, "path": path,
                 "kind": kind, "status": None, "absolute": absolute,
                 "headers": {name: head.fields[name] for name in SHOWN if name in head.fields},
                 "token": "x-amz-security-token" in head.fields}
        try:
            await self.answer(kind, method, raw, body(head, reader, True, False), writer, entry)
        finally:
            self.log.write(json.dumps(entry) + "\n")

    async def answer(self, kind, method, raw, pieces, writer, entry):
        if kind in REFUSED:
            async for _ in pieces:
                pass
            return await self.refuse(method, *REFUSED[kind], writer, entry)
        if kind == "cut-before":
            raise Cut(kind)
        if kind == "slow":
            await asyncio.sleep(self.settings.slow)
        if kind == "stall":
            # It takes effect late, when nobody waits for it any more.
            held = [piece async for piece in pieces]
            await asyncio.sleep(self.settings.stall)
            pieces = again(held)
        from_upstream, to_upstream = await asyncio.open_connection(*self.upstream, limit=HEAD_BYTES_MAX)
        try:
            to_upstream.write(raw)
            if kind == "cut-request":
                async for piece in pieces:
                    to_upstream.write(piece[: len(piece) // 2])
                    await to_upstream.drain()
                    break
                raise Cut(kind)
            async for piece in pieces:
                to_upstream.write(piece)
                await to_upstream.drain()
            await self.reply(kind, method, from_upstream, writer, entry)
        finally:
            to_upstream.transport.abort()

    async def reply(self, kind, method, from_upstream, writer, entry):
        head = await read_head(from_upstream)
        while head.first.split(" ")[1].startswith("1"):
            writer.write(head.raw)
            head = await read_head(from_upstream)
        status = int(head.first.split(" ")[1])
        entry["status"] = status
        has_body = method != "HEAD" and status not in (204, 304)
        pieces = body(head, from_upstream, has_body, True)
        if kind in ("500-after", "cut-after"):
            async for _ in pieces:
                pass
            if kind == "cut-after":
                raise Cut(kind)
            return await self.refuse(method, *REFUSED["500"], writer, entry)
        if kind == "cut-reply":
            whole = head.raw + b"".join([piece async for piece in pieces])
            writer.write(whole[: max(1, len(whole) // 2)])
            await writer.drain()
            raise Cut(kind)
        if kind == "stall-after":
            # It has taken effect; whoever asked has given up when this answer comes.
            await asyncio.sleep(self.settings.stall)
        writer.write(head.raw)
        async for piece in pieces:
            if kind == "slow-reply":
                await asyncio.sleep(self.settings.slow)
            writer.write(piece)
            await writer.drain()
        await writer.drain()
        if has_body and head.length() is None and not head.chunked():
            raise Cut("the reply's end is the connection's")

    async def refuse(self, method, status, code, writer, entry):
        text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code>' \
               f"<Message>a fault of the proxy</Message></Error>"
        entry["status"] = status
        writer.write(f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\n"
                     f"Content-Length: {len(text)}\r\n\r\n".encode() + (b"" if method == "HEAD" else text.encode()))
        await writer.drain()

    async def control(self, method, head, reader, writer):
        status, text = 200, ""
        given = b"".join([piece async for piece in body(head, reader, True, False)])
        if method == "PUT":
            try:
                self.settings.change(json.loads(given))
            except (ValueError, KeyError, re.error) as error:
                status, text = 400, str(error)
        text = text or json.dumps(self.settings.shown())
        writer.write(f"HTTP/1.1 {status} -\r\nContent-Length: {len(text.encode())}\r\n\r\n{text}".encode())
        await writer.drain()


async def again(pieces):
    for piece in pieces:
        yield piece


def pairs(words):
    given = dict(word.partition("=")[::2] for word in words)
    unknown = set(given) - set(Settings({}).shown())
    if unknown or any("=" not in word for word in words):
        sys.exit(f"settings are written name=value; unknown: {', '.join(sorted(unknown)) or words}")
    return given


def ask(endpoint, given=None):
    data = None if given is None else json.dumps(given).encode()
    request = urllib.request.Request(endpoint + CONTROL, data=data, method="GET" if data is None else "PUT")
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.read().decode()
    except OSError as error:
        detail = error.read().decode() if hasattr(error, "read") else ""
        sys.exit(f"{endpoint}: {error} {detail}")


async def serve(options):
    with open(options.log, "a", buffering=1) as log:
        proxy = Proxy(options.upstream, Settings(pairs(options.settings)), log)
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", options.port, limit=HEAD_BYTES_MAX, backlog=512)
        async with server:
            await server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    serving = commands.add_parser("serve")
    serving.add_argument("--port", type=int, required=True)
    serving.add_argument("--upstream", required=True)
    serving.add_argument("--log", required=True)
    serving.add_argument("settings", nargs="*")
    setting = commands.add_parser("set")
    setting.add_argument("endpoint")
    setting.add_argument("settings", nargs="+")
    showing = commands.add_parser("settings")
    showing.add_argument("endpoint")
    options = parser.parse_args()
    if options.command == "serve":
        asyncio.run(serve(options))
    elif options.command == "set":
        print(ask(options.endpoint, pairs(options.settings)))
    else:
        print(ask(options.endpoint))


if __name__ == "__main__":
    main()
