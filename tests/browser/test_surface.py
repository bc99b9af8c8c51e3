"""The surface in a browser: what is painted is where it belongs, and clicks find it."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from rsa.core import Volume
from rsa.report.surface_mesh import UNIT_MM, explorer_mesh, mid_thickness_mm

SCRIPT = Path(__file__).parents[2] / "rsa" / "report" / "js" / "surface.js"
AFFINE = np.array([[-4.0, 0, 0, 90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])
PAGE = """<!doctype html><html lang="en"><title>surface</title><canvas style="width: 400px; height: 300px"></canvas>
<script>"use strict";
{script}
const bytes = (text, Kind) => new Kind(Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer);
const packed = {packed};
const shapes = {{}};
for (const name of Object.keys(packed.shapes))
  shapes[name] = Float32Array.from(bytes(packed.shapes[name], Int16Array), (one) => one * {unit});
const mesh = {{shapes, triangles: bytes(packed.triangles, Uint16Array), inFlat: bytes(packed.in_flat, Uint8Array),
  sulc: Float32Array.from(bytes(packed.sulc, Int8Array), (one) => one / 100), nLeft: {n_left}}};
const picked = [];
const canvas = document.querySelector("canvas");
const surface = makeSurface(canvas, mesh, (vertex) => picked.push(vertex));
const painted = (vertices) => {{
  const rgba = new Uint8Array(4 * mesh.sulc.length);
  vertices.forEach((vertex) => rgba.set([255, 0, 0, 255], 4 * vertex));
  surface.paint(rgba, true);
}};
const drawn = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
const pixel = async (x, y) => {{
  await drawn();
  const copy = Object.assign(document.createElement("canvas"), {{ width: canvas.width, height: canvas.height }});
  const pen = copy.getContext("2d");
  pen.drawImage(canvas, 0, 0);
  return [...pen.getImageData(Math.floor(x), Math.floor(y), 1, 1).data];
}};
</script></html>"""


def text_of(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


@pytest.fixture(scope="module")
def mesh():
    return explorer_mesh(Volume(np.ones((46, 55, 46), dtype=bool), AFFINE))


@pytest.fixture
def page(opened, mesh, tmp_path):
    packed = {name: text_of(getattr(mesh, name)) for name in ("triangles", "in_flat", "sulc")}
    packed |= {"shapes": {name: text_of(shape) for name, shape in mesh.shapes.items()}}
    about = {"script": SCRIPT.read_text("utf-8"), "packed": json.dumps(packed), "unit": UNIT_MM, "n_left": mesh.n_left}
    path = tmp_path / "surface.html"
    path.write_text(PAGE.format(**about), encoding="utf-8")
    return opened(path)


def test_what_is_painted_is_seen_at_its_place_and_can_be_clicked(page, mesh):
    for side in ("left", "right"):
        require_painted_place(page, mesh, side)


def require_painted_place(page, mesh, side):
    """Paint vertices near a place in the lateral occipital cortex, look at a hemisphere from its side, and click."""
    target = np.array([-46.0 if side == "left" else 46.0, -74.0, 0.0])
    middle = np.concatenate([mid_thickness_mm("L"), mid_thickness_mm("R")])
    near = np.flatnonzero(np.linalg.norm(middle - target, axis=1) < 9)
    page.evaluate("(vertices) => painted(vertices)", near.tolist())
    page.evaluate("(name) => surface.setHemisphere(name)", side)
    seen = page.evaluate(
        "async (vertices) => { await drawn(); for (const one of vertices) { const at = surface.placeOf(one);"
        "if (surface.pick(...at) === one) return [one, at, await pixel(...at)]; } }",
        near.tolist(),
    )
    vertex, (x, y), colour = seen
    assert colour[0] > 150
    assert max(colour[1:3]) < 60, "not red"
    assert (x > 200) == (side == "left"), (
        "the back of the left hemisphere is to the right when it is seen from its side"
    )
    page.mouse.click(8 + x, 8 + y)
    assert page.evaluate("picked").pop() == vertex
    other = "right" if side == "left" else "left"
    page.evaluate("(name) => surface.setHemisphere(name)", other)
    assert page.evaluate("(vertex) => surface.placeOf(vertex)", vertex) is None


def test_left_is_on_the_left_but_from_the_front(page):
    across = page.evaluate(
        """() => {
          const found = {};
          for (const view of ["posterior", "dorsal", "ventral", "lateral", "medial"])
            for (const shape of ["pial", "inflated", "flat"]) {
              surface.setView(view);
              surface.setShape(shape);
              found[`${view} ${shape}`] = [0, mesh.nLeft].map((first) => {
                const places = [0, 997, 1994, 2991, 3988, 4985].map((i) => surface.placeOf(first + i)).filter(Boolean);
                return places.reduce((sum, place) => sum + place[0], 0) / places.length;
              });
            }
          return found;
        }"""
    )
    assert len(across) == 15
    assert all(left < 200 < right for left, right in across.values()), across


def test_drags_turn_and_do_not_pick_and_keys_turn(page):
    where = "surface.placeOf(5000)"
    start = page.evaluate(where)
    page.mouse.move(150, 150)
    page.mouse.down()
    page.mouse.move(200, 160, steps=4)
    page.mouse.up()
    assert np.abs(np.subtract(page.evaluate(where), start)).max() > 5
    assert page.evaluate("picked") == []
    page.focus("canvas")
    page.keyboard.press("Home")
    assert page.evaluate(where) == start
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(where) != start
    page.keyboard.press("ArrowRight")
    np.testing.assert_allclose(page.evaluate(where), start, atol=1e-6)


def test_without_webgl_there_is_no_surface(page):
    gone = "HTMLCanvasElement.prototype.getContext = () => null"
    assert page.evaluate(f"{gone}; makeSurface(document.createElement('canvas'), mesh, () => 0)") is None
