#!/usr/bin/env python3
"""usage: s3.py alive ENDPOINT
       s3.py bucket ENDPOINT NAME
       s3.py uploads ENDPOINT NAME

alive: exit 0 when the S3 server at ENDPOINT answers any request.
bucket: creates a bucket; one that exists already is no error.
uploads: prints the keys of a bucket's incomplete multipart uploads, one a line.
Standard library only, so that tools/s3 needs no environment.
"""
import datetime
import hashlib
import hmac
import http.client
import re
import sys
import urllib.parse

ACCESS_KEY, SECRET_KEY, REGION = "test", "testtest1", "us-east-1"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def signed_headers(method, host, path, query=""):
    """AWS Signature Version 4 of a request without body; `query` is in canonical form."""
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
    headers = {"host": host, "x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": stamp}
    names = ";".join(headers)
    canonical = "\n".join(
        [method, path, query, *(f"{name}:{value}" for name, value in headers.items()), "", names, EMPTY_SHA256]
    )
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + SECRET_KEY).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def request(endpoint, method, path, query=""):
    host = urllib.parse.urlsplit(endpoint).netloc
    connection = http.client.HTTPConnection(host, timeout=30)
    target = f"{path}?{query}" if query else path
    connection.request(method, target, headers=signed_headers(method, host, path, query))
    reply = connection.getresponse()
    return reply.status, reply.read().decode(errors="replace")


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "alive":
        try:
            status, _ = request(arguments[1], "GET", "/")
        except OSError as error:
            return str(error)
        return 0 if status < 500 else f"status {status}"
    if len(arguments) == 3 and arguments[0] == "bucket":
        status, body = request(arguments[1], "PUT", "/" + urllib.parse.quote(arguments[2]))
        exists = status == 409 and "BucketAlready" in body
        return 0 if status == 200 or exists else f"bucket {arguments[2]}: status {status} {body}"
    if len(arguments) == 3 and arguments[0] == "uploads":
        status, body = request(arguments[1], "GET", "/" + urllib.parse.quote(arguments[2]), "uploads=")
        for key in re.findall(r"<Key>(.*?)</Key>", body):
            print(key)
        return 0 if status == 200 else f"uploads of {arguments[2]}: status {status} {body}"
    return __doc__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
