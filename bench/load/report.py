"""The results as a Markdown table and as an SVG plot. Knows nothing of how they were measured."""

import html
import statistics

OURS = "ringgate"


def median(values):
    return statistics.median(values) if values else float("nan")


def ratios(ours: list, theirs: list) -> list:
    """`ours` ÷ `theirs` for the rounds that both have: [(round, figure), ...] each."""
    other = dict(theirs)
    return [(turn, figure / other[turn]) for turn, figure in ours if other.get(turn)]


def paired(ours: list, theirs: list):
    """The median of `ours` ÷ `theirs` within rounds. A machine that is slow for a while is slow for neighbours in one round,
    so this holds still where the medians themselves do not."""
    found = ratios(ours, theirs)
    return statistics.median(figure for _, figure in found) if found else None


def against_rivals(rounds: dict, ours: str = OURS + "-uring"):
    """`ours` ÷ the best rival with that rival's name; None where either is missing. {gateway: [(round, figure), ...]}"""
    rivals = {name: paired(rounds.get(ours, []), taken) for name, taken in rounds.items() if not name.startswith(OURS)}
    rivals = {name: value for name, value in rivals.items() if value is not None}
    if not rivals:
        return None
    best = max(rivals, key=rivals.get)
    return rivals[best], best


def medians(rows: dict) -> dict:
    """{row title: {gateway: median}} of {row title: {gateway: [(round, figure), ...]}}"""
    return {title: {name: median([figure for _, figure in taken]) for name, taken in gateways.items()}
            for title, gateways in rows.items()}


def markdown(rows: dict, names: list) -> str:
    """`rows` is {row title: {gateway: [(round, figure), ...]}}; a lower figure is better in every row."""
    lines = ["| case | " + " | ".join(names) + " | ours ÷ best rival | uring ÷ epoll |",
             "|---|" + "---|" * (len(names) + 2)]
    table = medians(rows)
    for title, rounds in rows.items():
        cells = [f"{table[title][name]:.2f}" if name in rounds else "–" for name in names]
        against = against_rivals(rounds)
        engines = paired(rounds.get(OURS + "-uring", []), rounds.get(OURS + "-epoll", []))
        cells.append(f"{against[0]:.2f} ({against[1]})" if against else "–")
        cells.append(f"{engines:.2f}" if engines else "–")
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
