"""Where figures go: the screen, JSON, Markdown, plots, and the tables of docs/performance.md.

Owns the options for it and the files. What a figure looks like is the
business of the module that measured it: it has `text(result)`,
`markdown(result)` and `plots(result)`, and a result names it as its `kind`.
"""
import importlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from harness.tools import Failed


def add_arguments(parser):
    parser.add_argument("--dir", help="where scratch files go; a local disk, not tmpfs")
    parser.add_argument("--keep", action="store_true", help="keeps the scratch files")
    parser.add_argument("--no-build", dest="build", action="store_false", help="takes the binaries that are there")
    add_targets(parser)


def add_targets(parser):
    parser.add_argument("--json", metavar="FILE", help="the figures, to be rendered again by tools/bench/report")
    parser.add_argument("--markdown", metavar="FILE", help="the table")
    parser.add_argument("--docs", metavar="FILE", help="puts the table between this document's markers")
    parser.add_argument("--plots", metavar="DIR", help="SVG plots")


def run(measure, options):
    """Measures in a scratch directory and delivers; the exit code."""
    scratch = Path(tempfile.mkdtemp(prefix="thalweg-bench-", dir=options.dir))
    try:
        result = measure(options, scratch)
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    finally:
        if options.keep:
            print(f"kept {scratch}", file=sys.stderr)
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    deliver([result], options)
    return result.get("exit", 0)


def deliver(results, options):
    """Writes every result wherever the options want it."""
    for result in results:
        print(view(result).text(result), flush=True)
    if options.json:
        whole = results[0] if len(results) == 1 else results
        Path(options.json).write_text(json.dumps(whole, indent=1) + "\n")
    if options.markdown:
        Path(options.markdown).write_text("\n\n".join(view(result).markdown(result) for result in results) + "\n")
    if options.docs:
        document = Path(options.docs)
        plots = os.path.relpath(options.plots, document.parent) if options.plots else None
        document.write_text(with_tables(document.read_text(), results, plots))
    if options.plots:
        directory = Path(options.plots)
        directory.mkdir(parents=True, exist_ok=True)
        for _, name, svg in named_plots(results):
            (directory / f"{name}.svg").write_text(svg)


def named_plots(results):
    """(kind, name, SVG) of every result; a name that is taken gets a number."""
    found, times = [], {}
    for result in results:
        for name, svg in view(result).plots(result).items():
            times[name] = times.get(name, 0) + 1
            found.append((result["kind"], name if times[name] == 1 else f"{name}-{times[name]}", svg))
    return found


def view(result):
    return importlib.import_module(f"harness.{result['kind']}")


def with_tables(text, results, plots=None):
    """The document with each kind's tables between `<!-- KIND -->` and `<!-- /KIND -->`, and its plots from there."""
    for kind in dict.fromkeys(result["kind"] for result in results):
        between = re.compile(f"(<!-- {kind} -->\n).*?(<!-- /{kind} -->)", re.DOTALL)
        parts = [view(result).markdown(result) for result in results if result["kind"] == kind]
        parts += [f"![{name}]({plots}/{name}.svg)" for of, name, _ in named_plots(results) if plots and of == kind]
        tables = "\n\n".join(parts)
        text, found = between.subn(lambda match: f"{match[1]}{tables}\n{match[2]}", text)
        if found != 1:
            raise Failed(f"the document has {found} places for `{kind}`, not one")
    return text
