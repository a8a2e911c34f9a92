"""A hook of mkdocs: puts the documents of the repository's root on the site, and the files that documents link to.

A page is written for readers of the repository, so its links are paths in the repository. Each is turned into a path on the site here; one
that leads to nothing on the site is left as it is, and the strict build fails on it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = {"README.md": "index.md", "examples/README.md": "examples.md"} | {
    path.name: path.name for path in ROOT.glob("*.md") if path.name != "README.md"
}
FOLDERS = ("examples", "docker")  # shown as files, so that links to them work
OTHERS = ("LICENSE",)
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def _extras() -> dict[str, str]:
    """Path in the repository -> path on the site, of all that does not lie in docs/."""
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.is_file() and "secrets" not in path.parts]
    names = [*OTHERS, *(path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts)]
    return {name: f"files/{name}" for name in names} | DOCUMENTS


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, target in _extras().items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # mkdocs hands them over by name
    """The page's text with each link to a path in the repository turned into one to a path on the site."""
    sources = {target: source for source, target in DOCUMENTS.items()}
    here = page.file.src_uri
    folder = posixpath.dirname(sources.get(here, f"docs/{here}"))
    extras = _extras()

    def turned(match: re.Match[str]) -> str:
        opening, target, anchor, closing = match.groups()
        if "://" in target:
            return match.group()
        wanted = posixpath.normpath(posixpath.join(folder, target))
        on_site = extras.get(wanted, wanted.removeprefix("docs/") if wanted.startswith("docs/") else None)
        if on_site is None:
            return match.group()
        return f"{opening}{posixpath.relpath(on_site, posixpath.dirname(here) or '.')}{anchor or ''}{closing}"

    return _LINK.sub(turned, markdown)
