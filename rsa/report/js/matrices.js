"use strict";
// RDMs as pictures, and what stands behind a square of them.

/** Draw an RDM with viridis over its range; conditions in their order from the upper left. @param {HTMLCanvasElement} canvas @param {ArrayLike<number>} rdm @param {number} n @param {Uint8Array} table Of a scale. */
function drawRdm(canvas, rdm, n, table) {
  canvas.width = canvas.height = n;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return;
  const ranks = ranksOf(rdm); // colours go by rank: each shade has as many pairs
  const image = context.createImageData(n, n);
  let pair = 0;
  for (let a = 0; a < n; a += 1) {
    image.data.set([0, 0, 0, 0], 4 * (a * n + a));
    for (let b = a + 1; b < n; b += 1, pair += 1) {
      const shade = Number.isNaN(rdm[pair]) ? -1 : Math.round(((ranks[pair] - 1) / Math.max(ranks.length - 1, 1)) * (SHADES - 1));
      for (const at of [4 * (a * n + b), 4 * (b * n + a)]) {
        if (shade < 0) continue;
        for (let channel = 0; channel < 3; channel += 1) image.data[at + channel] = table[3 * shade + channel];
        image.data[at + 3] = 255;
      }
    }
  }
  context.putImageData(image, 0, 0);
}

class RdmPair {
  /** @param {StudyInfo} info @param {HTMLElement} holder @param {HTMLElement} caption Where a pair of conditions is told. */
  constructor(info, holder, caption) {
    this.info = info;
    this.caption = caption;
    /** @type {ArrayLike<number>[]} */
    this.rdms = [];
    this.canvases = [...holder.querySelectorAll("canvas.rdm")].filter((one) => one instanceof HTMLCanvasElement);
    this.at = [0, 1];
    for (const canvas of this.canvases) {
      const holding = /** @type {HTMLElement} */ (canvas.parentElement);
      canvas.addEventListener("pointermove", (event) => this.look(canvas, event));
      canvas.addEventListener("pointerdown", (event) => this.look(canvas, event));
      canvas.addEventListener("pointerleave", () => this.forget());
      holding.addEventListener("keydown", (event) => {
        /** @type {Record<string, [number, number]>} */
        const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
        const step = steps[event.key];
        if (!step) return;
        const last = info.conditions.length - 1;
        this.at = this.at.map((value, i) => Math.min(Math.max(value + step[i], 0), last));
        this.tell(this.at[0], this.at[1]);
        event.preventDefault();
      });
      holding.addEventListener("blur", () => this.forget());
    }
  }

  /** Show two RDMs. @param {ArrayLike<number>[]} rdms */
  show(rdms) {
    this.rdms = rdms;
    const table = scaleOf("viridis", 0, 1).table;
    rdms.forEach((rdm, i) => drawRdm(this.canvases[i], rdm, this.info.conditions.length, table));
    this.forget();
  }

  /** @param {HTMLCanvasElement} canvas @param {PointerEvent} event */
  look(canvas, event) {
    const box = canvas.getBoundingClientRect();
    const n = this.info.conditions.length;
    const place = [(event.clientY - box.top) / box.height, (event.clientX - box.left) / box.width];
    const [a, b] = place.map((share) => Math.min(Math.max(Math.floor(share * n), 0), n - 1));
    this.tell(a, b);
  }

  /** Tell of a pair of conditions, with their pictures. @param {number} a @param {number} b */
  tell(a, b) {
    const { conditions, thumbnails, categories } = this.info;
    const parts = [a, b].map((i) => {
      const figure = document.createElement("figure");
      if (thumbnails && thumbnails[i]) {
        const image = document.createElement("img");
        image.src = thumbnails[i];
        image.alt = "";
        figure.append(image);
      }
      const name = document.createElement("figcaption");
      name.textContent = categories ? `${conditions[i]} (${categories[i]})` : conditions[i];
      figure.append(name);
      return figure;
    });
    const text = document.createElement("span");
    const values = this.rdms.map((rdm) => (a === b ? 0 : rdm[pairOf(a, b, conditions.length)]));
    text.textContent = `dissimilarity: sphere ${written(values[0])}${values.length > 1 ? `, model ${written(values[1])}` : ""}`;
    this.caption.replaceChildren(...parts, text);
    for (const canvas of this.canvases) {
      const cross = canvas.parentElement?.querySelector(".cell");
      if (!(cross instanceof HTMLElement)) continue;
      const n = conditions.length;
      cross.hidden = false;
      cross.style.left = `${(100 * b) / n}%`;
      cross.style.top = `${(100 * a) / n}%`;
      cross.style.width = cross.style.height = `${100 / n}%`;
    }
  }

  forget() {
    const text = document.createElement("span");
    text.className = "quiet";
    text.textContent = this.rdms.length ? "Point at a square to see its two conditions." : "";
    this.caption.replaceChildren(text);
    for (const canvas of this.canvases) {
      const cross = canvas.parentElement?.querySelector(".cell");
      if (cross instanceof HTMLElement) cross.hidden = true;
    }
  }
}
