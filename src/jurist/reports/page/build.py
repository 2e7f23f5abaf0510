"""The HTML file of a report: data, style and script in one page that loads nothing."""

import base64
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

import msgspec

from jurist.core.version import __version__
from jurist.reports.page.collect import Page

SCRIPTS = ("vendor/markdown-it.min.js", "vendor/purify.min.js", "texts.js", "pictures.js", "page.js")
"""In the order in which they run; what the two of others are, and their licences, is in vendor/README.md."""


def build(page: Page, title: str, *, live: bool = False) -> str:
    """The page as text. ``live``: it asks the server that it came from whether there is something new."""
    style = _asset("page.css")
    scripts = [_asset(name) for name in SCRIPTS]
    policy = "; ".join([
        "default-src 'none'", f"style-src {_hash(style)}", f"script-src {' '.join(map(_hash, scripts))}",
        "img-src data:", f"connect-src {chr(39)}self{chr(39)}" if live else "connect-src 'none'",
        "base-uri 'none'", "form-action 'none'",
    ])  # fmt: skip
    index = page.index | {"title": title, "jurist": __version__, "live": live}
    blocks = "".join(f'<script type="text/plain" class="block">{block}</script>\n' for block in page.blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        "<noscript>This report needs JavaScript; nothing is loaded from elsewhere.</noscript>\n"
        '<div id="app"></div>\n'
        f'<script type="application/json" id="index">{_json(index)}</script>\n'
        # The scripts draw the list before the browser has read the texts behind them.
        + "".join(f"<script>{script}</script>\n" for script in scripts)
        + f"{blocks}</body>\n</html>\n"
    )


def _json(value: Any) -> str:
    """JSON in which no text can end the element that holds it."""
    text = msgspec.json.encode(value).decode()
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _asset(name: str) -> str:
    return files("jurist.reports.page").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"
