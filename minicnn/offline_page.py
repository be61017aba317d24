"""Pages that are one file: they open from a disk, ask the network for nothing, and run no script but their own.

A page is a package with ``page.html``, the body, ``page.css``, and perhaps scripts (``*.js``), which become one in the
order of their names.
"""

import base64
import hashlib
import json
from functools import cache
from html import escape
from importlib import resources
from string import Template
from typing import Any

import minicnn

SHELL = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<!-- Nothing is fetched from anywhere, and no script runs but the one below, if any: the browser itself is told. -->
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src $allowed">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
$style</style>
</head>
<body>
$body$script</body>
</html>
"""


def assemble(package: str, title: str, /, **parts: str) -> str:
    """The page of ``package``: ``parts``, which are HTML, put into its body; ``title`` is a text.

    ``page.html`` may also name ``$version``, minicnn's. **Raises** KeyError for a name that it has and ``parts`` lack.
    """
    script = _script(package)
    return Template(SHELL).substitute(
        title=escape(title),
        style=_file(package, "page.css"),
        body=Template(_file(package, "page.html")).substitute(parts, version=escape(minicnn.__version__)),
        script=f"<script>{script}</script>\n" if script else "",
        allowed=f"'{_hash(script)}'" if script else "'none'",
    )


def script_data(data: Any) -> str:
    """``data`` as JSON inside a script element, which a text with "<" in it cannot end."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@cache
def _script(package: str) -> str:
    names = sorted(file.name for file in resources.files(package).iterdir() if file.name.endswith(".js"))
    return "\n".join(_file(package, name) for name in names)


@cache
def _file(package: str, name: str) -> str:
    return (resources.files(package) / name).read_text(encoding="utf-8")
