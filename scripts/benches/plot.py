"""A picture of the measurements: each as a multiple of the pipeline with tee, on a logarithmic scale."""

import math
from html import escape

WIDTH, LEFT, RIGHT, ROW, TOP = 900, 320, 30, 26, 70
COLOURS = ("#0b62b8", "#8a8f98", "#b8a100", "#c2185b", "#e07b00", "#2e8b57", "#7b3fb5", "#5b4636")


def plot(found, rows, baseline, columns, agent):
    """An SVG with a line for each of `rows` in which the baseline was measured, and a dot for each of `columns`."""
    lines = []
    for row, what in rows:
        base = found.median(row, what, baseline)
        if base:
            values = {who: found.median(row, what, who) for who in columns}
            ratios = {who: value / base for who, value in values.items() if value}
            if len(ratios) > 1:
                lines.append((what, ratios))
    if not lines:
        return ""
    every = [ratio for _, ratios in lines for ratio in ratios.values()]
    low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))

    def across(ratio):
        return LEFT + (math.log10(ratio) - low) / max(high - low, 1) * (WIDTH - LEFT - RIGHT)

    height = TOP + ROW * len(lines) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for index, who in enumerate(columns):
        at = 12 + index % 5 * 175, 18 + index // 5 * 18
        parts.append(f'<circle cx="{at[0]}" cy="{at[1] - 4}" r="5" fill="{COLOURS[index % len(COLOURS)]}"/>')
        parts.append(f'<text x="{at[0] + 10}" y="{at[1]}">{escape(who.replace(chr(92), ""))}</text>')
    for power in range(low, high + 1):
        x = across(10**power)
        parts.append(
            f'<line x1="{x:.1f}" y1="{TOP - 10}" x2="{x:.1f}" y2="{height - 18}" stroke="{"#333" if power == 0 else "#ddd"}"/>'
        )
        parts.append(f'<text x="{x:.1f}" y="{height - 4}" text-anchor="middle" fill="#555">{10.0**power:g}×</text>')
    for index, (what, ratios) in enumerate(lines):
        y = TOP + ROW * index + 6
        parts.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(what)}</text>')
        # The agent last, on top of the others.
        for who in sorted(ratios, key=lambda who: who == agent):
            x, colour = across(ratios[who]), COLOURS[columns.index(who) % len(COLOURS)]
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y}" r="{6 if who == agent else 4.5}" fill="{colour}" fill-opacity="0.85"/>'
            )
    return "\n".join([*parts, "</svg>", ""])
