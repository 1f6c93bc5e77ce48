"""What a notebook ends with: a plot of its losses, and its place in the stored results."""

import html
import json

WIDTH, HEIGHT, MARGIN = 560, 200, 40


class Summary:
    """Shown by Jupyter as SVG and a table, elsewhere as text; needs no plotting library.

    Args:
        job: The finished ``Job``. losses: In nats, one a step; None where it was not finite.
    """

    def __init__(self, job, losses):
        self._job, self._losses = job, losses

    def __repr__(self):
        last = [v for v in self._losses if v is not None][-1:]
        loss = "last loss %.4f nats after %d steps, " % (last[0], len(self._losses)) if last else ""
        return "%srecorded in %s" % (loss, self._job.events)

    def _repr_html_(self):
        return "<p>%s</p>%s%s" % (html.escape(repr(self)), curve(self._losses), self._stored())

    def _stored(self):
        """The rows of every stored table of this workload, the fastest first."""
        rows = []
        for path in sorted((self._job.root / "results").glob("*/rows.json")):
            for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
                if row["workload"] == self._job.facts["workload"] and row["step_seconds"]:
                    rows.append((row["step_seconds"]["median"], path.parent.name, row))
        if not rows:
            return "<p>No stored results of this workload yet: make bench</p>"
        lines = [
            "<tr><td>%s</td><td>%s / %s</td><td>%s</td><td>%.2f ms</td></tr>"
            % (machine, row["framework"], row["variant"], row["feed"], seconds * 1e3)
            for seconds, machine, row in sorted(rows, key=lambda r: (r[1], r[0]))
        ]
        head = "<tr><th>machine</th><th>framework</th><th>feed</th><th>time per step</th></tr>"
        return "<table>%s%s</table>" % (head, "".join(lines))


def curve(losses):
    """The losses as an SVG line; an empty string where there are fewer than two."""
    points = [(i, v) for i, v in enumerate(losses) if v is not None]
    if len(points) < 2:
        return ""
    low, high = min(v for _, v in points), max(v for _, v in points)
    across = (WIDTH - 2.0 * MARGIN) / (len(losses) - 1)
    up = (HEIGHT - 2.0 * MARGIN) / ((high - low) or 1)
    line = " ".join(
        "%.1f,%.1f" % (MARGIN + i * across, HEIGHT - MARGIN - (v - low) * up) for i, v in points
    )
    text = '<text x="%d" y="%d" font-size="11" text-anchor="%s">%s</text>'
    return (
        '<svg width="%d" height="%d" role="img" aria-label="loss of each step">' % (WIDTH, HEIGHT)
        + '<rect width="100%" height="100%" fill="white"/>'
        + '<polyline fill="none" stroke="#0072B2" points="%s"/>' % line
        + text % (MARGIN - 4, MARGIN + 4, "end", "%.3g" % high)
        + text % (MARGIN - 4, HEIGHT - MARGIN + 4, "end", "%.3g" % low)
        + text % (WIDTH - MARGIN, HEIGHT - MARGIN + 16, "end", "step %d" % len(losses))
        + text % (MARGIN, MARGIN - 14, "start", "loss (nats)")
        + "</svg>"
    )
