"""How cost grows, measured and written down: the tables between the marks in docs/performance.md, and a chart of each under
docs/charts. Takes half an hour; --json FILE takes the figures of ./dev bench growth --json FILE instead."""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

import pygal
from pygal.style import CleanStyle

from traffic import ROOT

PAGE, CHARTS = (os.path.join(ROOT, "docs", name) for name in ("performance.md", "charts"))
MARKS = "<!-- growth: begin -->\n", "<!-- growth: end -->\n"


def draw(name, title, rows):
    chart = pygal.Bar(pygal.Config(js=[], show_legend=False, width=640, height=260, title=title, y_title="commands a second",
                                   print_values=True, value_formatter=lambda value: f"{value:,.0f}", no_prefix=True), style=CleanStyle)
    chart.x_labels = [f"{row['value']:,}" for row in rows]
    chart.add("", [round(row["steady"]) for row in rows])
    # No time and no random names, so that a new figure is the only thing that changes.
    drawn = re.sub(r"<!--.*?-->", "", chart.render(is_unicode=True))
    drawn = re.sub(r"<script.*?</script>", "", drawn, flags=re.S).replace(f"chart-{chart.uuid}", f"chart-{name}")
    with open(os.path.join(CHARTS, f"{name}.svg"), "w") as file:
        file.write(drawn + "\n")


def table(name, title, rows):
    lines = [f"| {title} | commands/s | worker | broker | PostgreSQL | memory |", "|---|---|---|---|---|---|"]
    lines += [f"| {row['value']:,} | {row['steady']:,.0f} | {row['cpu_ms']['worker']:.1f} ms | {row['cpu_ms']['broker']:.1f} ms |"
              f" {row['cpu_ms']['postgres']:.1f} ms | {row['mib']:.0f} MiB |" for row in rows]
    return "\n".join(lines) + f"\n\n![{title}](charts/{name}.svg)\n"


def write(figures):
    os.makedirs(CHARTS, exist_ok=True)
    parts = [f"Backlogs of {figures['commands']:,} commands, median of {figures['runs']} runs; processor time for 1,000 commands.\n"]
    for name, series in figures["series"].items():
        draw(name, **series)
        parts.append(table(name, **series))
    page = open(PAGE).read()
    begin, end = (page.index(mark) for mark in MARKS)
    with open(PAGE, "w") as file:
        file.write(page[:begin] + MARKS[0] + "\n" + "\n".join(parts) + "\n" + page[end:])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="figures that are there already")
    args, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.json or os.path.join(folder, "growth.json")
        if not args.json:
            program = os.path.join(ROOT, "tests", "bench", "growth.py")
            subprocess.run([sys.executable, "-B", program, "--json", path, *more], check=True)
        with open(path) as file:
            write(json.load(file))


if __name__ == "__main__":
    main()
