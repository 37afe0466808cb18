"""How the time of a tangent grows, as one SVG: a panel for each extent, a line for each family of V."""

import math
from html import escape
from typing import Any

Row = dict[str, Any]
Point = tuple[float, float]

EXTENTS = {"n": "samples n", "m": "width m", "p": "rank p", "d": "columns d"}
FAMILIES = {"rademacher": ("#2a78d6", "circle"), "srht": ("#c2561a", "square")}
WIDTH, HEIGHT, GAP, LEFT, TOP = 250, 190, 74, 60, 86  # of a panel, between panels, around them
TEXT, MUTED, GRID, PAPER = "#1f2933", "#616e7c", "#e4e7eb", "#ffffff"


def points(rows: list[Row], extent: str, family: str) -> list[Point]:
    return sorted((float(row["shape"][extent]), float(row["ms"]["median"])) for row in rows
                  if row["op"] == "growth" and row["status"] == "ok" and row["case"] == f"{extent}/{family}")


def ticks(least: float, most: float) -> list[float]:
    """Powers of ten within, or of two and five times them where those are few."""
    found = [10.0**e for e in range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1) if least <= 10.0**e <= most]
    if len(found) >= 2:
        return found
    return [k * 10.0**e for e in range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1) for k in (1, 2, 5)
            if least <= k * 10.0**e <= most]


def number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 1 else f"{value:g}"


class Panel:
    """Logarithmic in both directions, with room around the points."""

    def __init__(self, left: float, top: float, series: dict[str, list[Point]]) -> None:
        every = [point for line in series.values() for point in line]
        self.left, self.top, self.series = left, top, series
        self.x = [f(x for x, _ in every) * k for f, k in ((min, 0.8), (max, 1.25))]
        self.y = [f(y for _, y in every) * k for f, k in ((min, 0.7), (max, 1.4))]

    def place(self, x: float, y: float) -> Point:
        across, up = (math.log(v / low) / math.log(high / low) for v, (low, high) in ((x, self.x), (y, self.y)))
        return self.left + WIDTH * across, self.top + HEIGHT * (1 - up)

    def axes(self, title: str) -> list[str]:
        bottom = self.top + HEIGHT
        lines = [f'<text x="{self.left}" y="{self.top - 12}" class="title">{escape(title)}</text>']
        for value in ticks(*self.y):
            y = self.place(self.x[0], value)[1]
            lines += [f'<line x1="{self.left}" y1="{y:.1f}" x2="{self.left + WIDTH}" y2="{y:.1f}" stroke="{GRID}"/>',
                      f'<text x="{self.left - 8}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>']
        free = self.left - WIDTH  # from where a label overlaps no other
        for value in sorted({x for line in self.series.values() for x, _ in line}):
            x, text = self.place(value, self.y[0])[0], number(value)
            if x - 3.6 * len(text) >= free:
                lines.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{text}</text>')
                free = x + 3.6 * len(text) + 4
        return [*lines, f'<line x1="{self.left}" y1="{bottom}" x2="{self.left + WIDTH}" y2="{bottom}" stroke="{MUTED}"/>']

    def straight(self) -> list[str]:
        """Time proportional to the extent, up to the most expensive point."""
        x1, y1 = max((point for line in self.series.values() for point in line), key=lambda point: point[1])
        x0 = max(self.x[0], x1 * self.y[0] / y1)
        (a, b), (c, d) = self.place(x0, y1 * x0 / x1), self.place(x1, y1)
        return [f'<line x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}" stroke="{MUTED}" stroke-dasharray="3 4"/>']

    def lines(self) -> list[str]:
        drawn = []
        for family, line in self.series.items():
            colour, shape = FAMILIES[family]
            places = [self.place(*point) for point in line]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            for (x, y), (extent, ms) in zip(places, line):
                drawn.append(f"<g>{mark(shape, x, y, colour)}<title>{family}, {number(extent)}: {ms:.3g} ms</title></g>")
        return drawn


def mark(shape: str, x: float, y: float, colour: str) -> str:
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}" stroke="{PAPER}"/>'
    return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="{colour}" stroke="{PAPER}"/>'


def figure(rows: list[Row], device: str) -> str:
    panels = []
    for extent, title in EXTENTS.items():
        series = {family: line for family in FAMILIES if (line := points(rows, extent, family))}
        if series:
            left = LEFT + len(panels) % 2 * (WIDTH + GAP)
            panels.append((title, Panel(left, TOP + len(panels) // 2 * (HEIGHT + GAP), series)))
    width, height = LEFT + 2 * WIDTH + GAP + 20, TOP + (len(panels) + 1) // 2 * (HEIGHT + GAP) - GAP + 40
    body = [f'<text x="16" y="24" class="head">Milliseconds of a tangent on {escape(device)}</text>']
    x = 16
    for family in dict.fromkeys(family for _, panel in panels for family in panel.series):
        colour, shape = FAMILIES[family]
        body += [mark(shape, x + 4, 40, colour), f'<text x="{x + 14}" y="44">{family}</text>']
        x += 34 + 7 * len(family)
    body += [f'<line x1="{x}" y1="40" x2="{x + 22}" y2="40" stroke="{MUTED}" stroke-dasharray="3 4"/>',
             f'<text x="{x + 28}" y="44">proportional</text>']
    for title, panel in panels:
        body += [*panel.axes(title), *panel.straight(), *panel.lines()]
    style = (f"text{{font:12px sans-serif;fill:{MUTED}}}.title{{font-weight:600;fill:{TEXT}}}"
             f".head{{font-size:15px;font-weight:600;fill:{TEXT}}}")
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
                      f"<style>{style}</style>", f'<rect width="{width}" height="{height}" fill="{PAPER}"/>', *body, "</svg>", ""])
