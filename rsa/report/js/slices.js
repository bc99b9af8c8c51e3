"use strict";
// Three planes through the crosshair: the brain, the map on it, and outlines above both.

/** @typedef {{map: ShownMap, scale: Scale, layerColours: number[][] | null, isAbove: (voxel: number) => boolean, hasThreshold: boolean}} Look */

const MASK_SHADE = 46; // of the brain where there is no picture of it

/** Return the colour and cover of a voxel. @param {Look} look @param {number} voxel @returns {[number, number, number, number]} */
function paintOf(look, voxel) {
  const value = look.map.values[voxel];
  const cover = Number.isNaN(value)
    ? 0
    : coverOf(Math.abs(look.map.strength[voxel]), coverTop(look), look.hasThreshold, look.isAbove(voxel));
  if (cover === 0) return [0, 0, 0, 0];
  if (look.layerColours) {
    const [r, g, b] = look.layerColours[Math.min(Math.max(Math.round(value) - 1, 0), look.layerColours.length - 1)];
    return [r, g, b, cover];
  }
  const at = shadeOf(look.scale, value);
  return [look.scale.table[at], look.scale.table[at + 1], look.scale.table[at + 2], cover];
}

/** @param {Look} look */
function coverTop(look) {
  return look.map.strength === look.map.values ? look.scale.to : look.map.top;
}

/** Paint all voxels of a map: red, green, blue and cover of each, 0 to 255. @param {Look} look */
function paintVoxels(look) {
  const n = look.map.values.length;
  const paints = new Uint8ClampedArray(4 * n);
  for (let voxel = 0; voxel < n; voxel += 1) {
    const [r, g, b, cover] = paintOf(look, voxel);
    paints[4 * voxel] = r;
    paints[4 * voxel + 1] = g;
    paints[4 * voxel + 2] = b;
    paints[4 * voxel + 3] = Math.round(255 * cover);
  }
  return paints;
}

/**
 * Lay the paints of voxels over a grey picture.
 * @param {Uint8Array} grey @param {Int32Array} voxels Of each pixel, or -1. @param {Uint8ClampedArray | null} paints
 * @param {Uint8ClampedArray<ArrayBuffer>} pixels
 */
function compose(grey, voxels, paints, pixels) {
  for (let pixel = 0; pixel < grey.length; pixel += 1) {
    const shade = grey[pixel];
    const voxel = voxels[pixel];
    const at = 4 * pixel;
    const cover = paints && voxel >= 0 ? paints[4 * voxel + 3] / 255 : 0;
    for (let channel = 0; channel < 3; channel += 1) {
      const over = paints && voxel >= 0 ? paints[4 * voxel + channel] : 0;
      pixels[at + channel] = Math.round(shade + (over - shade) * cover);
    }
    pixels[at + 3] = 255;
  }
}

/** Collect the edges between pixels that are above the threshold and those that are not. @param {Int32Array} voxels @param {number} width @param {(voxel: number) => boolean} isAbove */
function outlineOf(voxels, width, isAbove) {
  const height = voxels.length / width;
  const path = new Path2D();
  const above = new Uint8Array(voxels.length);
  for (let i = 0; i < voxels.length; i += 1) above[i] = voxels[i] >= 0 && isAbove(voxels[i]) ? 1 : 0;
  for (let row = 0; row <= height; row += 1) {
    for (let column = 0, start = -1; column <= width; column += 1) {
      const at = row * width + column;
      const upper = row > 0 && column < width ? above[at - width] : 0;
      const lower = row < height && column < width ? above[at] : 0;
      if (upper !== lower) start = start < 0 ? column : start;
      else if (start >= 0) {
        path.moveTo(start, row);
        path.lineTo(column, row);
        start = -1;
      }
    }
  }
  for (let column = 0; column <= width; column += 1) {
    for (let row = 0, start = -1; row <= height; row += 1) {
      const at = row * width + column;
      const left = column > 0 && row < height ? above[at - 1] : 0;
      const right = column < width && row < height ? above[at] : 0;
      if (left !== right) start = start < 0 ? row : start;
      else if (start >= 0) {
        path.moveTo(column, start);
        path.lineTo(column, row);
        start = -1;
      }
    }
  }
  return path;
}

class SlicePanel {
  /** @param {View} view @param {HTMLElement} holder @param {(mm: number[], snaps: boolean) => void} onMove */
  constructor(view, holder, onMove) {
    this.view = view;
    this.holder = holder;
    this.onMove = onMove;
    this.picture = document.createElement("canvas");
    this.marks = document.createElement("canvas");
    this.marks.className = "marks";
    this.label = document.createElement("span");
    this.label.className = "slice-place";
    this.label.setAttribute("aria-hidden", "true");
    holder.append(this.picture, this.marks, this.label);
    if (view.across === 0) {
      for (const side of ["L", "R"]) {
        const mark = document.createElement("span");
        mark.className = `side side-${side}`;
        mark.textContent = side;
        mark.setAttribute("aria-hidden", "true");
        holder.append(mark);
      }
    } else {
      const mark = document.createElement("span");
      mark.className = "side side-R";
      mark.textContent = "A";
      mark.setAttribute("aria-hidden", "true");
      holder.append(mark);
    }
    holder.tabIndex = 0;
    holder.setAttribute("role", "application");
    holder.setAttribute("aria-roledescription", "slice of the brain");
    /** @type {Frame} */
    this.frame = { width: 1, height: 1, mmPerPixel: 1, across: 0, up: 0 };
    /** @type {Grid | null} */
    this.grid = null;
    /** @type {Background | null} */
    this.background = null;
    this.mm = [0, 0, 0];
    this.key = "";
    this.grey = new Uint8Array(1);
    this.voxels = new Int32Array(1);
    this.listen();
  }

  listen() {
    let isDown = false;
    /** @param {PointerEvent} event */
    const move = (event) => {
      const box = this.picture.getBoundingClientRect();
      const column = ((event.clientX - box.left) / box.width) * this.frame.width;
      const row = ((event.clientY - box.top) / box.height) * this.frame.height;
      this.onMove(pixelToMm(this.view, this.frame, this.mm, column - 0.5, row - 0.5), true);
    };
    this.holder.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      isDown = true;
      this.holder.setPointerCapture(event.pointerId);
      this.holder.focus({ preventScroll: true });
      move(event);
      event.preventDefault();
    });
    this.holder.addEventListener("pointermove", (event) => {
      if (isDown) move(event);
    });
    for (const name of ["pointerup", "pointercancel"]) this.holder.addEventListener(name, () => (isDown = false));
    this.holder.addEventListener(
      "wheel",
      (event) => {
        if (event.ctrlKey || document.activeElement !== this.holder) return; // a page scrolls until a slice is chosen
        this.step(this.view.through, event.deltaY < 0 ? 1 : -1);
        event.preventDefault();
      },
      { passive: false },
    );
    this.holder.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      /** @type {Record<string, [number, number]>} */
      const steps = {
        ArrowLeft: [this.view.across, -1],
        ArrowRight: [this.view.across, 1],
        ArrowUp: [this.view.up, 1],
        ArrowDown: [this.view.up, -1],
        PageUp: [this.view.through, 1],
        PageDown: [this.view.through, -1],
      };
      const step = steps[event.key];
      if (!step) return;
      this.step(step[0], step[1] * (event.shiftKey ? 5 : 1));
      event.preventDefault();
    });
  }

  /** Move the crosshair along an axis by sizes of a voxel. @param {number} axis @param {number} n */
  step(axis, n) {
    if (!this.grid) return;
    const size = Math.max(...this.grid.info.affine[axis].slice(0, 3).map(Math.abs));
    const mm = [...this.mm];
    mm[axis] += n * size;
    this.onMove(mm, false);
  }

  /** Fit the canvases to their place. @param {Grid} grid @param {Background | null} background */
  resize(grid, background) {
    this.grid = grid;
    this.background = background;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(1, Math.round(this.holder.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.holder.clientHeight * ratio));
    for (const canvas of [this.picture, this.marks]) {
      if (canvas.width !== width || canvas.height !== height) {
        canvas.width = width;
        canvas.height = height;
      }
    }
    const box = grid.info.box;
    const spans = box.map(([from, to]) => to - from);
    const widest = Math.max(spans[0], spans[1]);
    const tallest = Math.max(spans[1], spans[2]);
    this.frame = {
      width,
      height,
      mmPerPixel: Math.max(widest / width, tallest / height) * 1.04,
      across: (box[this.view.across][0] + box[this.view.across][1]) / 2,
      up: (box[this.view.up][0] + box[this.view.up][1]) / 2,
    };
    this.key = "";
  }

  /** Find the brain and the voxels under the pixels, unless they are known. @param {number[]} mm */
  cut(mm) {
    this.mm = mm;
    if (!this.grid) return;
    const key = `${this.grid.info.voxels} ${mm[this.view.through]} ${this.frame.width} ${this.frame.height}`;
    if (key === this.key) return;
    this.key = key;
    const { background } = this;
    const { info, inverse, positions } = this.grid;
    this.voxels = sliceOf(this.view, this.frame, mm, inverse, info.shape, positions);
    if (background) this.grey = imageSlice(this.view, this.frame, mm, background.inverse, background.shape, background.data);
    else this.grey = Uint8Array.from(this.voxels, (voxel) => (voxel >= 0 ? MASK_SHADE : 0));
  }

  /** Draw the plane through a place. @param {number[]} mm @param {Look | null} look @param {Uint8ClampedArray | null} paints */
  draw(mm, look, paints) {
    this.cut(mm);
    const context = this.picture.getContext("2d", { willReadFrequently: true });
    if (!context) return;
    const image = context.createImageData(this.frame.width, this.frame.height);
    compose(this.grey, this.voxels, paints, image.data);
    context.putImageData(image, 0, 0);
    this.drawMarks(mm, look);
  }

  /** Draw the outlines and the crosshair. @param {number[]} mm @param {Look | null} look */
  drawMarks(mm, look) {
    const context = this.marks.getContext("2d", { willReadFrequently: true });
    if (!context) return;
    const { width, height } = this.frame;
    const line = Math.max(1, Math.round(Math.min(window.devicePixelRatio || 1, 2)));
    context.clearRect(0, 0, width, height);
    if (look?.hasThreshold) {
      context.lineWidth = 1.25 * line;
      context.strokeStyle = "#ffffff";
      context.stroke(outlineOf(this.voxels, width, look.isAbove));
    }
    const [x, y] = mmToPixel(this.view, this.frame, mm);
    const gap = 7 * line;
    for (const [colour, size] of /** @type {[string, number][]} */ ([["rgba(0, 0, 0, 0.55)", 3 * line], ["#4fe0d0", line]])) {
      context.strokeStyle = colour;
      context.lineWidth = size;
      context.beginPath();
      for (const [a, b, c, d] of [
        [0, y, x - gap, y],
        [x + gap, y, width, y],
        [x, 0, x, y - gap],
        [x, y + gap, x, height],
      ]) {
        context.moveTo(a, b);
        context.lineTo(c, d);
      }
      context.stroke();
    }
    const axis = "xyz"[this.view.through];
    const at = mm[this.view.through];
    this.label.textContent = `${axis} = ${signed(at)} mm`;
    this.holder.setAttribute(
      "aria-label",
      `${this.view.name} slice at ${axis} = ${signed(at)} mm, crosshair at ${mm.map(signed).join(", ")} mm; arrow keys move it`,
    );
  }
}

/** Write a number of mm with a true minus sign. @param {number} value */
function signed(value) {
  return String(Number(value.toFixed(1))).replace("-", "\u2212");
}
