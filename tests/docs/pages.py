"""Markdown pages as far as the tests of docs/ need them: headings, tables, blocks of code, links."""

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
_HEADING = re.compile(r"(#{1,6}) +(.*)")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_QUOTED_COMMAND = re.compile(r"'(\{\"type\":[^']*\})'")


class Table:
    """head and rows as lists of cells, and the heading that it stands under."""

    def __init__(self, heading, head):
        self.heading, self.head, self.rows = heading, head, []

    def column(self, name):
        return [row[self.head.index(name)] for row in self.rows]


class Page:
    """path (from the root), headings, tables, blocks (language, text), links, text."""

    def __init__(self, path):
        self.path = path.relative_to(ROOT)
        self.text = path.read_text(encoding="utf-8")
        self.headings, self.tables, self.blocks, self.links = [], [], [], []
        self._read(self.text.splitlines())

    def __str__(self):
        return str(self.path)

    def _read(self, lines):
        table, block = None, None
        for line in lines:
            if block is not None:
                if line.startswith("```"):
                    self.blocks.append((language, "\n".join(block)))
                    block = None
                else:
                    block.append(line)
                continue
            if line.startswith("```"):
                language, block = line[3:].strip(), []
                continue
            heading = _HEADING.fullmatch(line)
            if heading:
                self.headings.append(heading[2])
            if not line.startswith("|"):
                table = None
            elif table is None:
                table = Table(self.headings[-1] if self.headings else "", cells(line))
                self.tables.append(table)
            elif not re.fullmatch(r"[|\-: ]+", line):
                table.rows.append(cells(line))
            self.links += _LINK.findall(line)

    def tables_of(self, *head):
        return [table for table in self.tables if table.head == list(head)]

    def anchors(self):
        return {slug(heading) for heading in self.headings}

    def quoted_commands(self):
        """Commands in single quotes, as a shell takes them."""
        return _QUOTED_COMMAND.findall(self.text)


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def codes(cell):
    """What stands between backticks in a cell."""
    return re.findall(r"`([^`]*)`", cell)


def json_objects(text):
    """The objects of a block of JSON: one in some lines, or one in each line."""
    try:
        return [json.loads(text)]
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]


def slug(heading):
    """The anchor that a heading gets: lower case, hyphens for spaces, other signs dropped."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def all_pages():
    """README.md and its like, and everything below docs/ and tests/."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/**/*.md")]
    return [Page(path) for path in sorted(found)]
