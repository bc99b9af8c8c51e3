"""What is wrong with the text of a figure: cut by the edge, on other text, or too small to read in print."""

from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

LEAST_PT = 6.0
WIDEST_IN = 180 / 25.4
ROOM_PX = 1.0


def faults(figure: Figure) -> list[str]:
    """List the faults of a figure; none for a good one."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    hidden = _hidden(figure)
    texts = [text for text in texts if id(text) not in hidden]
    found = [f"{text.get_text()!r} has {text.get_fontsize():g} pt" for text in texts if text.get_fontsize() < LEAST_PT]
    boxes = [text.get_window_extent(renderer) for text in texts]
    width, height = figure.bbox.width, figure.bbox.height
    for text, box in zip(texts, boxes, strict=True):
        if min(box.x0, box.y0, width - box.x1, height - box.y1) < -ROOM_PX:
            found.append(f"{text.get_text()!r} reaches over the edge")
    level = [(text, box) for text, box in zip(texts, boxes, strict=True) if text.get_rotation() % 90 == 0]
    for (one, a), (other, b) in combinations(level, 2):
        if min(a.x1, b.x1) - max(a.x0, b.x0) > ROOM_PX and min(a.y1, b.y1) - max(a.y0, b.y0) > ROOM_PX:
            found.append(f"{one.get_text()!r} lies on {other.get_text()!r}")
    if figure.get_figwidth() > WIDEST_IN + 0.01:
        found.append(f"is {25.4 * figure.get_figwidth():.0f} mm wide")
    return found


def _hidden(figure: Figure) -> set[int]:
    """Return which labels are not drawn: those of ticks beyond the limits."""
    found = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        drawn = {id(tick) for tick in axis._update_ticks()}
        others = (tick for tick in [*axis.majorTicks, *axis.minorTicks] if id(tick) not in drawn)
        found |= {id(label) for tick in others for label in (tick.label1, tick.label2)}
    return found
