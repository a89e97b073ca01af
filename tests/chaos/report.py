"""The report of a soak: one HTML file with its four plots, drawn by hand as SVG."""

from __future__ import annotations

import math
from html import escape

from tests.chaos.curves import CURVES, Curves, Fit, Series
from tests.chaos.journal import Journal

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 960, 220, 60, 14, 24
COLOURS = ("#1b6ca8", "#c0392b", "#2e8b57", "#b8860b", "#7d3c98")
STYLE = (
    "body{font:14px/1.5 sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse}td,th{padding:.15em .8em;text-align:right}"
    "td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}"
    "pre{background:#f5f5f5;padding:1em;overflow:auto;max-height:24em}.bad{color:#c0392b}"
)


def plot(name: str, daemons: dict[str, Series], seconds: float, faults: list[float]) -> str:
    """One curve of all daemons; grey lines are faults, the shaded part is the warm-up."""
    top = max([y for points in daemons.values() for _, y in points] + [1.0]) * 1.05
    wide, high = WIDTH - LEFT - 10, HEIGHT - TOP - BOTTOM

    def x(at: float) -> float:
        return LEFT + wide * min(1.0, at / seconds)

    def y(value: float) -> float:
        return TOP + high * (1 - value / top)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" role="img" aria-label="{escape(name)}">',
        f'<rect x="{LEFT}" y="{TOP}" width="{wide / 3:.1f}" height="{high}" fill="#f2f2f2"/>',
    ]
    parts += [
        f'<line x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{TOP}" y2="{TOP + high}" stroke="#ddd"/>'
        for at in faults
    ]
    step = 10 ** math.floor(math.log10(top)) / (1 if top / 10 ** math.floor(math.log10(top)) > 4 else 2)
    mark = 0.0
    while mark <= top:
        parts.append(
            f'<line x1="{LEFT}" x2="{LEFT + wide}" y1="{y(mark):.1f}" y2="{y(mark):.1f}" stroke="#e8e8e8"/>'
            f'<text x="{LEFT - 6}" y="{y(mark) + 4:.1f}" font-size="11" text-anchor="end">{mark:g}</text>'
        )
        mark += step
    for tenth in range(0, 11, 2):
        at = seconds * tenth / 10
        parts.append(
            f'<text x="{x(at):.1f}" y="{HEIGHT - 6}" font-size="11"'
            f' text-anchor="{"end" if tenth == 10 else "middle"}">'
            f"{at / 60:.1f} min</text>"
        )
    for number, (daemon, points) in enumerate(sorted(daemons.items())):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.4" points="{line}"/>')
        parts.append(
            f'<text x="{LEFT + 8 + 40 * number}" y="{TOP + 12}" font-size="12" fill="{colour}">'
            f"{daemon}</text>"
        )
    return "".join([*parts, "</svg>"])


def table(found: list[Fit]) -> str:
    """Level, rise and allowance of each curve."""
    rows = "".join(
        f"<tr{'' if fit.flat else ' class=bad'}><td>{fit.curve}</td><td>{fit.daemon}</td>"
        f"<td>{fit.level:.1f}</td>"
        f"<td>{fit.rise:+.1f}</td><td>{fit.allowed:.1f}</td><td>{'flat' if fit.flat else 'RISES'}</td></tr>"
        for fit in found
    )
    head = "".join(f"<th>{h}</th>" for h in ("curve", "daemon", "median", "rise", "allowed", ""))
    return f"<table><tr>{head}</tr>{rows}</table>"


def html(
    title: str,
    facts: list[str],
    curves: Curves,
    found: list[Fit],
    seconds: float,
    journal: Journal,
    criterion: str,
) -> str:
    """The whole file."""
    plots = "".join(
        f"<h2>{name} ({unit})</h2>{plot(name, curves.series[name], seconds, journal.times)}"
        for name, (unit, _) in CURVES.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style>"
        f"<h1>{escape(title)}</h1><ul>{''.join(f'<li>{escape(fact)}</li>' for fact in facts)}</ul>{plots}"
        f"<h2>Flat?</h2><p>{escape(criterion)}</p>{table(found)}"
        f"<h2>What happened when</h2><pre>{escape(chr(10).join(journal.lines))}</pre></html>\n"
    )
