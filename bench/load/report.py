"""The results as a Markdown table and as an SVG plot. Knows nothing of how they were measured."""

import html
import statistics

OURS = "ringgate"


def median(values):
    return statistics.median(values) if values else float("nan")


def ratio(figures: dict, ours: str = "ringgate-uring"):
    """`ours` divided by the best (lowest) rival, with that rival's name; None where either is missing."""
    rivals = {name: value for name, value in figures.items() if not name.startswith(OURS)}
    if ours not in figures or not rivals:
        return None
    best = min(rivals, key=rivals.get)
    return figures[ours] / rivals[best], best


def markdown(table: dict, names: list) -> str:
    """`table` is {row title: {gateway: figure}}; a lower figure is better in every row."""
    lines = ["| case | " + " | ".join(names) + " | ours ÷ best rival | uring ÷ epoll |",
             "|---|" + "---|" * (len(names) + 2)]
    for title, figures in table.items():
        cells = [f"{figures[name]:.2f}" if name in figures else "–" for name in names]
        against = ratio(figures)
        engines = ("ringgate-uring" in figures and "ringgate-epoll" in figures
                   and f"{figures['ringgate-uring'] / figures['ringgate-epoll']:.2f}")
        cells.append(f"{against[0]:.2f} ({against[1]})" if against else "–")
        cells.append(engines or "–")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def svg(table: dict, names: list, title: str) -> str:
    """Horizontal bars, one group for each row, each group scaled to its own longest bar."""
    colours = ["#0b7285", "#66c2cf", "#e8590c", "#868e96", "#5f3dc4", "#2b8a3e"]
    bar, gap, left, width = 18, 34, 150, 520
    y, body = 50, []
    for row, figures in table.items():
        body.append(f'<text x="12" y="{y}" font-weight="bold">{html.escape(row)}</text>')
        y += 8
        longest = max(figures.values(), default=0) or 1
        for index, name in enumerate(names):
            if name not in figures:
                continue
            length = max(1.0, figures[name] / longest * width)
            body.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{html.escape(name)}</text>')
            body.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar - 4}" rx="2" '
                        f'fill="{colours[index % len(colours)]}"/>')
            body.append(f'<text x="{left + length + 6:.1f}" y="{y + 12}">{figures[name]:.2f}</text>')
            y += bar
        y += gap
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{y}" viewBox="0 0 760 {y}" '
            f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
            f'<text x="12" y="24" font-size="15">{html.escape(title)}</text>\n')
    return head + "\n".join(body) + "\n</svg>\n"
