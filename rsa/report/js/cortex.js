"use strict";
// The map on the surface of the cortex, beside the slices.

const NEAR_MM = 12; // a vertex so far from the crosshair, or nearer, is marked

class CortexPanel {
  /** @param {StudyMaps} maps @param {(mm: number[], snaps: boolean) => void} onMove */
  constructor(maps, onMove) {
    this.maps = maps;
    this.onMove = onMove;
    /** @type {Surface | null} */
    this.surface = null;
    /** @type {Int32Array | null} */
    this.vertices = null;
    /** @type {Grid | null} */
    this.grid = null;
    this.space = -1;
    this.look = { shape: "inflated", hemisphere: "both", view: "lateral" };
  }

  /** Load the cortex and show it, where the maps are of an MNI brain and the browser has WebGL. */
  async start() {
    const mesh = await this.maps.loadMesh();
    if (!mesh) return false;
    const holder = element("surface", HTMLElement);
    holder.hidden = false;
    const canvas = element("surface-canvas", HTMLCanvasElement);
    this.surface = makeSurface(canvas, mesh, (vertex) => this.picked(vertex));
    if (!this.surface) {
      holder.hidden = true;
      return false;
    }
    holder.parentElement?.classList.add("four");
    this.fillMenus();
    this.apply();
    return true;
  }

  fillMenus() {
    /** @type {[keyof CortexPanel["look"], string, Record<string, string>][]} */
    const menus = [
      ["shape", "Shape", { inflated: "inflated", pial: "folded", flat: "flat" }],
      ["hemisphere", "Hemisphere", { both: "both", left: "left", right: "right" }],
      ["view", "Seen from", { lateral: "lateral", medial: "medial", ventral: "ventral", dorsal: "dorsal", posterior: "posterior", anterior: "anterior" }],
    ];
    const holder = element("surface-buttons", HTMLElement);
    holder.replaceChildren(
      ...menus.map(([key, label, choices]) => {
        const menu = document.createElement("select");
        menu.setAttribute("aria-label", label);
        for (const [id, text] of Object.entries(choices)) menu.append(new Option(text, id));
        menu.value = this.look[key];
        menu.addEventListener("change", () => {
          this.look[key] = menu.value;
          this.apply();
        });
        return menu;
      }),
    );
  }

  apply() {
    if (!this.surface) return;
    this.surface.setShape(this.look.shape);
    this.surface.setHemisphere(this.look.hemisphere);
    this.surface.setView(this.look.view);
  }

  /** Go to the voxel at a vertex. @param {number} vertex */
  picked(vertex) {
    const flat = this.vertices?.[vertex] ?? -1;
    if (!this.grid || flat < 0) return;
    this.onMove(transformed(this.grid.info.affine, voxelAt(flat, this.grid.info.shape)), true);
  }

  /**
   * Give each vertex the paint of the voxel at it.
   * @param {number} space @param {Grid} grid @param {Look} look @param {Uint8ClampedArray} paints
   */
  async paint(space, grid, look, paints) {
    if (!this.surface) return;
    if (space !== this.space) {
      this.vertices = await this.maps.loadVertices(space);
      this.grid = grid;
      this.space = space;
    }
    if (!this.vertices) return;
    const rgba = new Uint8Array(4 * this.vertices.length);
    this.vertices.forEach((flat, vertex) => {
      const voxel = flat < 0 ? -1 : grid.positions[flat];
      if (voxel >= 0) for (let channel = 0; channel < 4; channel += 1) rgba[4 * vertex + channel] = paints[4 * voxel + channel];
    });
    this.surface.paint(rgba, look.layerColours !== null);
  }

  /** Mark the vertex nearest to the crosshair. @param {number[]} mm */
  mark(mm) {
    if (this.surface) this.surface.mark(this.surface.nearest(mm, NEAR_MM));
  }
}
