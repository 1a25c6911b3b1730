"""Bars with their spread, as SVG text. Standard library only; readable on light and dark paper."""
from html import escape

WIDTH, LABELS, ROW, TOP = 760, 190, 34, 54
STYLE = """text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:14px}
.note{fill:#6e7781;font-size:12px}.bar{fill:#8c96a0}.own{fill:#0a7ea4}.spread{stroke:#24292f;stroke-width:1.5}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.spread{stroke:#e6edf3}}"""


def bars(title, note, rows, own="thalweg"):
    """`rows`: (label, low, middle, high, text behind the bar). The axis begins at zero."""
    longest = max((high for _, _, _, high, _ in rows), default=1) or 1
    room = WIDTH - LABELS - 150
    x = lambda value: LABELS + room * value / longest
    height = TOP + ROW * len(rows) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}"><style>{STYLE}</style>',
        f'<text class="title" x="0" y="18">{escape(title)}</text>',
        f'<text class="note" x="0" y="38">{escape(note)}</text>',
    ]
    for index, (label, low, middle, high, text) in enumerate(rows):
        top = TOP + ROW * index
        center = top + ROW / 2 - 2
        kind = "own" if label.startswith(own) else "bar"
        parts += [
            f'<text x="{LABELS - 8}" y="{center + 4}" text-anchor="end">{escape(label)}</text>',
            f'<rect class="{kind}" x="{LABELS}" y="{top + 3}" width="{max(1, x(middle) - LABELS):.1f}" height="{ROW - 10}"/>',
            f'<path class="spread" d="M{x(low):.1f} {center}H{x(high):.1f}M{x(low):.1f} {center - 5}v10'
            f'M{x(high):.1f} {center - 5}v10"/>',
            f'<text x="{max(x(high), x(middle)) + 8:.1f}" y="{center + 4}">{escape(text)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
