"""What the oracles share: where a table is, how to reach it, and its types.

Owns: locations and storage options, DuckDB with its extensions loaded from
the Python packages (no download), and the reading of Spark DDL. It knows
nothing of thalweg's own code: an oracle judges from outside.
"""
import argparse
import glob
import importlib
import os
import re
import sys
import traceback
import urllib.parse
from dataclasses import dataclass, field


# ---- where a table is -------------------------------------------------------------------------------------------


@dataclass
class Location:
    """A table's place: a local path or an s3:// URL with its storage options."""

    url: str
    options: dict = field(default_factory=dict)

    @property
    def is_s3(self):
        return self.url.startswith("s3://")

    def delta_options(self):
        """Options for deltalake and Polars (the names of object_store)."""
        if not self.is_s3:
            return None
        names = {f"aws_{key}": value for key, value in self.options.items()}
        if self.options.get("endpoint", "").startswith("http://"):
            names["aws_allow_http"] = "true"
        return names

    def filesystem(self):
        """A pyarrow filesystem and the table's path in it."""
        from pyarrow import fs

        if not self.is_s3:
            return fs.LocalFileSystem(), self.url
        endpoint = urllib.parse.urlsplit(self.options.get("endpoint", ""))
        store = fs.S3FileSystem(
            access_key=self.options.get("access_key_id"),
            secret_key=self.options.get("secret_access_key"),
            region=self.options.get("region"),
            endpoint_override=endpoint.netloc or None,
            scheme=endpoint.scheme or "https",
        )
        return store, self.url.removeprefix("s3://")


def add_storage_argument(parser):
    parser.add_argument(
        "--storage",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="endpoint, access_key_id, secret_access_key, region of an s3:// location "
        "(with an endpoint the defaults are tools/s3's credentials)",
    )


def location(url, storage):
    options = {}
    for pair in storage:
        key, separator, value = pair.partition("=")
        if not separator:
            raise SystemExit(f"--storage {pair}: KEY=VALUE expected")
        options[key.removeprefix("aws_")] = value
    if url.startswith("s3://") and "endpoint" in options:
        defaults = {"access_key_id": "test", "secret_access_key": "testtest1", "region": "us-east-1"}
        options = defaults | options
    if url.startswith("file://"):
        url = urllib.parse.unquote(url.removeprefix("file://"))
    if not url.startswith("s3://"):
        url = os.path.abspath(url)
    return Location(url.rstrip("/"), options)


def arguments(text):
    return argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)


def run(main):
    """Exits with main's verdict; what broke on the way to one is 2, so that a crash is never taken for a finding."""
    try:
        verdict = main()
    except Exception:
        traceback.print_exc()
        verdict = 2
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(verdict)  # without the clients' slow shutdown


# ---- DuckDB -----------------------------------------------------------------------------------------------------


def duck(place=None, memory="4GB", directory=None):
    """DuckDB in UTC with a memory limit, its Delta reader loaded, no network but the table's."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET autoinstall_known_extensions=false; SET TimeZone='UTC'")
    connection.execute(f"SET memory_limit='{memory}'; SET preserve_insertion_order=false")
    if directory:
        connection.execute(f"SET temp_directory='{directory}'")
    for name in ["delta"] + (["httpfs"] if place and place.is_s3 else []):
        package = importlib.import_module(f"duckdb_extension_{name}")
        found = glob.glob(f"{os.path.dirname(package.__file__)}/**/*.duckdb_extension", recursive=True)
        connection.execute(f"LOAD '{found[0]}'")
    if place and place.is_s3:
        endpoint = urllib.parse.urlsplit(place.options.get("endpoint", ""))
        custom = (
            f", endpoint '{endpoint.netloc}', url_style 'path', use_ssl {str(endpoint.scheme == 'https').lower()}"
            if endpoint.netloc
            else ""
        )
        connection.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{place.options.get('access_key_id', '')}', "
            f"SECRET '{place.options.get('secret_access_key', '')}', "
            f"REGION '{place.options.get('region', 'us-east-1')}'{custom})"
        )
    return connection


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def literal(text):
    return "'" + text.replace("'", "''") + "'"


# ---- Spark DDL --------------------------------------------------------------------------------------------------

SIMPLE = {
    "BOOLEAN": "BOOLEAN",
    "TINYINT": "TINYINT",
    "BYTE": "TINYINT",
    "SMALLINT": "SMALLINT",
    "SHORT": "SMALLINT",
    "INT": "INTEGER",
    "INTEGER": "INTEGER",
    "BIGINT": "BIGINT",
    "LONG": "BIGINT",
    "FLOAT": "FLOAT",
    "REAL": "FLOAT",
    "DOUBLE": "DOUBLE",
    "STRING": "VARCHAR",
    "BINARY": "BLOB",
    "DATE": "DATE",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
}


@dataclass
class Type:
    """A DDL type: `kind` is a DuckDB scalar type, or STRUCT, LIST or MAP with `children`."""

    kind: str
    children: list = field(default_factory=list)

    def duckdb(self):
        if self.kind == "STRUCT":
            return "STRUCT(" + ", ".join(f"{quoted(f.name)} {f.type.duckdb()}" for f in self.children) + ")"
        if self.kind == "LIST":
            return self.children[0].duckdb() + "[]"
        if self.kind == "MAP":
            return f"MAP({self.children[0].duckdb()}, {self.children[1].duckdb()})"
        return self.kind

    def json_structure(self):
        """The structure that DuckDB's json_transform wants."""
        if self.kind == "STRUCT":
            return {f.name: f.type.json_structure() for f in self.children}
        if self.kind == "LIST":
            return [self.children[0].json_structure()]
        return self.duckdb()


@dataclass
class Field:
    name: str
    type: Type
    nullable: bool


class Ddl:
    """`id BIGINT NOT NULL, tags ARRAY<STRING>, actor STRUCT<id: BIGINT>`"""

    def __init__(self, text):
        self.tokens = re.findall(r"`(?:[^`]|``)*`|\w+|[<>(),:]", text)
        self.index = 0

    def fields(self):
        found = []
        while True:
            name = self.next()
            name = name[1:-1].replace("``", "`") if name.startswith("`") else name
            self.take(":")
            kind = self.type()
            not_null = self.take("NOT")
            if not_null:
                self.expect("NULL")
            found.append(Field(name, kind, not not_null))
            if not self.take(","):
                return found

    def type(self):
        word = self.next().upper()
        if word == "STRUCT":
            return Type("STRUCT", self.inside("<", ">", self.fields))
        if word == "ARRAY":
            return Type("LIST", [self.inside("<", ">", self.type)])
        if word == "MAP":
            return Type("MAP", self.inside("<", ">", lambda: [self.type(), self.expect(",") or self.type()]))
        if word in ("DECIMAL", "NUMERIC"):
            if self.peek() != "(":
                return Type("DECIMAL(10,0)")
            digits = self.inside("(", ")", lambda: [self.next(), self.take(",") and self.next() or "0"])
            return Type(f"DECIMAL({','.join(digits)})")
        if word not in SIMPLE:
            raise ValueError(f"unknown type {word}")
        return Type(SIMPLE[word])

    def inside(self, opening, closing, read):
        self.expect(opening)
        value = read()
        self.expect(closing)
        return value

    def peek(self):
        return self.tokens[self.index] if self.index < len(self.tokens) else ""

    def next(self):
        token = self.peek()
        self.index += 1
        return token

    def take(self, token):
        if self.peek().upper() != token:
            return False
        self.index += 1
        return True

    def expect(self, token):
        if not self.take(token):
            raise ValueError(f"schema: `{token}` expected before `{self.peek()}`")


def ddl(text):
    reader = Ddl(text)
    found = reader.fields()
    if reader.peek():
        raise ValueError(f"schema: unexpected `{reader.peek()}`")
    return found
