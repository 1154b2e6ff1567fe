"""Build the site: ``python -m docs [FOLDER]``. A warning or a broken link is an error."""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SOURCE = Path(__file__).parent
LINKS = {"a": "href", "link": "href", "img": "src", "script": "src", "object": "data"}


class _Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := values.get(key))}
        if link := values.get(LINKS.get(tag, "")):
            self.links.append(link)


def broken_links(site: Path) -> list[str]:
    """``page: link`` for each link of the site that leads to no file or to no anchor of it."""
    pages = {path.resolve(): _Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            anchor = unquote(url.fragment)
            exists = target.is_file() and target.is_relative_to(site.resolve())
            if not exists or (anchor and target in pages and anchor not in pages[target].anchors):
                broken.append(f"{path.relative_to(site.resolve())}: {link}")
    return broken


def main(folder: str = "build/site") -> int:
    from sphinx.cmd.build import build_main

    strict = ["-W", "--keep-going", "--fresh-env", "--quiet"]
    if status := build_main([*strict, "-d", f"{folder}.cache", str(SOURCE), folder]):
        return status
    for line in (broken := broken_links(Path(folder))):
        print(f"broken link: {line}", file=sys.stderr)
    if not broken:
        print(f"{folder}/index.html")
    return len(broken) > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
