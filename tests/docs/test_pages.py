"""All pages: links lead somewhere, and nothing in them is of one machine only."""

import re

import pytest

from pages import ROOT, Page, all_pages

PAGES = all_pages()
# Roots of absolute paths, as they stand in a text or a command; an URL's path does not begin a word.
_ABSOLUTE = re.compile(r"(?<![\w.:/}*$])(/(?:bin|dev|etc|home|mnt|opt|proc|root|run|srv|tmp|usr|var|work)/\S*)")
_EVERYWHERE = {"/dev/null"}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_resolve(page):
    for link in page.links:
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page.path).parent / file if file else ROOT / page.path
        assert target.exists(), f"{page}: {link}"
        assert target.resolve().is_relative_to(ROOT), f"{page}: {link} leaves the project"
        if anchor:
            assert anchor in Page(target.resolve()).anchors(), f"{page}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_absolute_paths(page):
    found = {path.rstrip("`'\").,;:") for path in _ABSOLUTE.findall(page.text)}
    assert found - _EVERYWHERE == set()


def test_every_page_is_linked_from_another():
    linked = set()
    for page in PAGES:
        for link in page.links:
            target = ((ROOT / page.path).parent / link.split("#")[0]).resolve()
            linked |= {target, *(target.glob("*.md") if target.is_dir() and target != ROOT else [])}
    lonely = [str(page) for page in PAGES if (ROOT / page.path) not in linked and page.path.parts[0] == "docs"]
    assert lonely == []
