"""Looks at a Delta log every few milliseconds, as a reader would, and notes when each version is first seen.

usage: watch.py PLACE --poll-ms N --out FILE

PLACE is a directory or http://HOST:PORT/BUCKET/PATH of an S3 server (tools/s3's
credentials). It asks for the next version by its name: one look at a file, or
one GET. Ends at SIGTERM. FILE gets a line for each version: number, Unix time in
milliseconds. It never reads what a version holds, so that it costs little.
"""
import argparse
import http.client
import os
import signal
import sys
import time
import urllib.parse
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "services"))
import s3  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place")
    parser.add_argument("--poll-ms", type=float, default=5)
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    exists = on_s3(options.place) if options.place.startswith("http://") else on_disk(options.place)
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    version, step, due = 0, options.poll_ms / 1e3, time.monotonic()
    with open(options.out, "w", buffering=1) as out:
        while not stopped:
            while exists(version):
                out.write(f"{version} {time.time_ns() / 1e6:.3f}\n")
                version += 1
            # Looks keep to their times; those that were missed are not made up for.
            due = max(due + step, time.monotonic())
            time.sleep(max(0, due - time.monotonic()))


def on_disk(directory):
    return lambda version: os.path.exists(f"{directory}/_delta_log/{version:020}.json")


def on_s3(url):
    read = reader(url)
    return lambda version: read(version) is not None


def reader(place):
    """A function from a version to its actions as text, None while there is no such version."""
    if not str(place).startswith("http://"):
        exists = on_disk(place)
        return lambda version: Path(f"{place}/_delta_log/{version:020}.json").read_text() if exists(version) else None
    url = urllib.parse.urlsplit(place)
    connection = http.client.HTTPConnection(url.netloc, timeout=30)

    def get(version):
        path = f"{url.path}/_delta_log/{version:020}.json"
        try:
            connection.request("GET", path, headers=s3.signed_headers("GET", url.netloc, path))
            reply = connection.getresponse()
            text = reply.read().decode()
        except (OSError, http.client.HTTPException):
            connection.close()  # the next request opens it again
            return None
        return text if reply.status == 200 else None

    return get


if __name__ == "__main__":
    main()
