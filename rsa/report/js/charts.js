"use strict";
// Charts of one voxel: scores over layers, over time, and of one RDM against another.

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element of a drawing.
 * @param {string} name @param {Record<string, string | number>} attributes @param {string} [text]
 */
function drawn(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Choose round numbers for an axis. @param {number} low @param {number} high @param {number} n About how many. */
function ticksOf(low, high, n) {
  const rough = (high - low) / Math.max(n, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? power;
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) ticks.push(Number((i * step).toPrecision(12)));
  return ticks;
}

/** Write a number for people. @param {number} value @param {number} [digits] */
function written(value, digits = 3) {
  if (Number.isNaN(value)) return "\u2013";
  if (!Number.isFinite(value)) return value > 0 ? "\u221e" : "\u2212\u221e";
  const text = Math.abs(value) >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(digits)));
  return text.replace("-", "\u2212");
}

/** Write a number with three decimals, without the zero before the point: .707, but 10.234. @param {number} value */
function decimals(value) {
  return Number.isFinite(value) ? value.toFixed(3).replace("-", "\u2212").replace(/^(\u2212?)0\./, "$1.") : written(value);
}

/** Cut what is said beside an axis. @param {string} unit */
function shortUnit(unit) {
  return unit.length > 28 ? `${unit.slice(0, 27)}\u2026` : unit;
}

/** Say whether times are told in ms, as those of M/EEG. @param {number[]} times In s. */
function areShort(times) {
  return times.length > 1 && times[times.length - 1] - times[0] < 3;
}

/** Write a time among others. @param {number} time In s. @param {number[]} times */
function writtenTime(time, times) {
  return areShort(times) ? `${written(1000 * time, 4)} ms` : `${written(time)} s`;
}

/**
 * @typedef {{layer: string, score: number, half: number, subjects: number[], significant: number}} ProfilePoint
 * @typedef {{model: string, colour: string, points: ProfilePoint[]}} ProfileGroup
 */

/**
 * Draw scores over the layers of each model, with intervals, single subjects and the noise ceiling.
 * @param {HTMLElement} holder @param {ProfileGroup[]} groups @param {[number, number] | null} ceiling
 * @param {string} unit @param {{model: string, layer: string}} shown
 * @param {(model: string, layer: string) => void} onChoose
 */
function drawProfile(holder, groups, ceiling, unit, shown, onChoose) {
  const points = groups.flatMap((group) => group.points);
  const n = points.length;
  const names = groups.flatMap((group) => group.points.map((point) => point.layer || group.model));
  const longest = Math.max(0, ...names.map((name) => name.length));
  const bottom = Math.min(96, 18 + 4.6 * Math.min(longest, 16));
  const left = 46;
  const top = 22;
  const gap = 22;
  const room = holder.clientWidth || 560;
  const step = Math.max(17, Math.min(46, (room - left - 12 - gap * groups.length) / Math.max(n, 1)));
  const width = Math.max(Math.min(room, left + 12 + gap * groups.length + step * n), 220);
  const height = 190 + bottom;
  const all = points.flatMap((point) => [point.score, point.score + point.half, point.score - point.half, ...point.subjects]);
  const finite = [0, ...all, ...(ceiling ?? [])].filter(Number.isFinite);
  const ticks = ticksOf(Math.min(...finite), Math.max(...finite, 0.02), 4);
  const low = Math.min(...finite, ticks[0]);
  const high = Math.max(...finite, ticks[ticks.length - 1]) || 1;
  /** @param {number} value */
  const y = (value) => top + (1 - (value - low) / (high - low)) * (height - top - bottom);
  const svg = drawn("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", class: "chart" });
  for (const tick of ticks) {
    svg.append(
      drawn("line", { x1: left, x2: width - 8, y1: y(tick), y2: y(tick), class: tick === 0 ? "zero" : "grid" }),
      drawn("text", { x: left - 7, y: y(tick) + 4, class: "tick", "text-anchor": "end" }, written(tick)),
    );
  }
  svg.append(
    drawn("text", { x: 12, y: top + (height - top - bottom) / 2, class: "axis", "text-anchor": "middle", transform: `rotate(-90 12 ${top + (height - top - bottom) / 2})` }, shortUnit(unit)),
  );
  if (ceiling && ceiling.every(Number.isFinite)) {
    const [lower, upper] = ceiling;
    svg.append(
      drawn("rect", { x: left, width: width - left - 8, y: y(upper), height: Math.max(1.5, y(lower) - y(upper)), class: "ceiling" }),
      drawn("text", { x: width - 10, y: Math.max(y(upper) - 4, 11), class: "note", "text-anchor": "end" }, "noise ceiling"),
    );
  }
  let x = left + gap / 2;
  for (const group of groups) {
    const start = x;
    /** @type {string[]} */
    const line = [];
    for (const point of group.points) {
      const at = x + step / 2;
      const isShown = group.model === shown.model && point.layer === shown.layer;
      const mark = drawn("g", { class: isShown ? "point shown" : "point" });
      mark.append(drawn("rect", { x, y: top - 4, width: step, height: height - top - bottom + 8, class: "hit" }));
      for (const value of point.subjects) {
        if (Number.isFinite(value)) mark.append(drawn("circle", { cx: at + step * 0.22, cy: y(value), r: 1.7, class: "subject" }));
      }
      if (Number.isFinite(point.score)) {
        if (Number.isFinite(point.half)) {
          mark.append(drawn("line", { x1: at, x2: at, y1: y(point.score - point.half), y2: y(point.score + point.half), class: "interval", style: `stroke: ${group.colour}` }));
        }
        line.push(`${at},${y(point.score)}`);
        mark.append(
          drawn("circle", {
            cx: at,
            cy: y(point.score),
            r: isShown ? 5.5 : 4,
            style: `stroke: ${group.colour}; fill: ${point.significant === 0 ? "var(--panel)" : group.colour}`,
            class: "score",
          }),
        );
      }
      const name = point.layer || group.model;
      const label = drawn("text", { x: at + 3, y: height - bottom + 15, class: isShown ? "tick strong" : "tick", "text-anchor": "end", transform: `rotate(-38 ${at + 3} ${height - bottom + 12})` }, name.length > 16 ? `\u2026${name.slice(-15)}` : name);
      mark.append(label, drawn("title", {}, `${group.model} ${point.layer}: ${decimals(point.score)}${Number.isFinite(point.half) ? ` \u00b1 ${decimals(point.half)}` : ""}`));
      mark.addEventListener("click", () => onChoose(group.model, point.layer));
      svg.append(mark);
      x += step;
    }
    if (line.length > 1) svg.insertBefore(drawn("polyline", { points: line.join(" "), class: "profile-line", style: `stroke: ${group.colour}` }), svg.querySelector(".point"));
    if (group.points.some((point) => point.layer)) {
      const fits = Math.max(3, Math.floor((x - start + gap) / 6.6));
      svg.append(drawn("text", { x: (start + x) / 2, y: 12, class: "group", "text-anchor": "middle", style: `fill: ${group.colour}` }, group.model.length > fits ? `${group.model.slice(0, fits - 1)}\u2026` : group.model));
    }
    x += gap;
  }
  const best = points.reduce((a, b) => (b.score > (Number.isFinite(a.score) ? a.score : -Infinity) ? b : a), points[0]);
  svg.setAttribute("aria-label", `Scores at the crosshair over ${n} layers and references${best ? `; the highest is ${decimals(best.score)}, ${best.layer || "of a reference"}` : ""}`);
  holder.replaceChildren(svg);
}

/**
 * @typedef {{name: string, colour: string, scores: number[], half: number[] | null, significant: number[], isShown: boolean}} Course
 */

/**
 * Draw scores over time, a line for each layer; dots mark significant times of the layer that is shown.
 * @param {HTMLElement} holder @param {number[]} times @param {Course[]} courses @param {number | null} now
 * @param {string} unit @param {(time: number) => void} onChoose
 */
function drawCourse(holder, times, courses, now, unit, onChoose) {
  const width = Math.max(220, Math.min(holder.clientWidth || 420, 640));
  const height = 230;
  const [left, right, top, bottom] = [46, 12, 12, 40];
  const finite = [0, ...courses.flatMap((course) => course.scores.flatMap((score, i) => (course.half && course.isShown ? [score - course.half[i], score + course.half[i]] : [score])))].filter(Number.isFinite);
  const ticks = ticksOf(Math.min(...finite), Math.max(...finite, 0.02), 4);
  const low = Math.min(...finite, ticks[0]);
  const high = Math.max(...finite, ticks[ticks.length - 1]);
  const inMs = areShort(times);
  /** @param {number} time */
  const x = (time) => left + ((time - times[0]) / (times[times.length - 1] - times[0])) * (width - left - right);
  /** @param {number} value */
  const y = (value) => top + (1 - (value - low) / (high - low || 1)) * (height - top - bottom);
  const svg = drawn("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", class: "chart course" });
  for (const tick of ticks) {
    svg.append(
      drawn("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: tick === 0 ? "zero" : "grid" }),
      drawn("text", { x: left - 7, y: y(tick) + 4, class: "tick", "text-anchor": "end" }, written(tick)),
    );
  }
  for (const tick of ticksOf(times[0], times[times.length - 1], Math.floor(width / 80))) {
    svg.append(drawn("text", { x: x(tick), y: height - bottom + 17, class: "tick", "text-anchor": "middle" }, inMs ? written(1000 * tick, 4) : written(tick)));
  }
  svg.append(
    drawn("text", { x: left + (width - left - right) / 2, y: height - 5, class: "axis", "text-anchor": "middle" }, inMs ? "time after onset (ms)" : "time after onset (s)"),
    drawn("text", { x: 12, y: top + (height - top - bottom) / 2, class: "axis", "text-anchor": "middle", transform: `rotate(-90 12 ${top + (height - top - bottom) / 2})` }, shortUnit(unit)),
  );
  for (const course of [...courses].sort((a, b) => Number(a.isShown) - Number(b.isShown))) {
    const there = times.map((_, i) => i).filter((i) => Number.isFinite(course.scores[i]));
    if (course.isShown && course.half) {
      const half = course.half;
      const upper = there.map((i) => `${x(times[i])},${y(course.scores[i] + half[i])}`);
      const lower = there.map((i) => `${x(times[i])},${y(course.scores[i] - half[i])}`).reverse();
      svg.append(drawn("polygon", { points: [...upper, ...lower].join(" "), class: "band", style: `fill: ${course.colour}` }));
    }
    const line = drawn("polyline", { points: there.map((i) => `${x(times[i])},${y(course.scores[i])}`).join(" "), class: course.isShown ? "line shown" : "line", style: `stroke: ${course.colour}` });
    line.append(drawn("title", {}, course.name));
    svg.append(line);
    if (course.isShown) {
      for (const i of there) {
        if (course.significant[i] === 1) svg.append(drawn("circle", { cx: x(times[i]), cy: height - bottom - 4, r: 2.2, style: `fill: ${course.colour}` }));
      }
    }
  }
  if (now !== null) svg.append(drawn("line", { x1: x(now), x2: x(now), y1: top, y2: height - bottom, class: "now" }));
  const shown = courses.find((course) => course.isShown) ?? courses[0];
  const peak = shown.scores.reduce((best, score, i) => (score > (shown.scores[best] ?? -Infinity) || Number.isNaN(shown.scores[best]) ? i : best), 0);
  svg.setAttribute("aria-label", `Scores of ${shown.name} over time at the crosshair; the highest is ${decimals(shown.scores[peak])} at ${written(times[peak])} s`);
  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    const share = (((event.clientX - box.left) / box.width) * width - left) / (width - left - right);
    onChoose(times[0] + Math.min(Math.max(share, 0), 1) * (times[times.length - 1] - times[0]));
  });
  holder.replaceChildren(svg);
}

/**
 * Draw the dissimilarities of one RDM against those of another: a dot for each pair of conditions.
 * @param {HTMLCanvasElement} canvas @param {ArrayLike<number>} a Across. @param {ArrayLike<number>} b Up.
 * @param {string} ink
 */
function drawScatter(canvas, a, b, ink) {
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  const size = canvas.clientWidth || 200;
  canvas.width = canvas.height = Math.round(size * ratio);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return;
  const ends = [a, b].map((values) => {
    let [low, high] = [Infinity, -Infinity];
    for (let i = 0; i < values.length; i += 1) [low, high] = [Math.min(low, values[i]), Math.max(high, values[i])];
    return [low, high > low ? high : low + 1];
  });
  const room = canvas.width - 8 * ratio;
  context.fillStyle = ink;
  context.globalAlpha = Math.min(0.75, Math.max(0.12, 260 / a.length));
  const dot = (a.length > 2000 ? 1.5 : 2.2) * ratio;
  for (let i = 0; i < a.length; i += 1) {
    const x = ((a[i] - ends[0][0]) / (ends[0][1] - ends[0][0])) * room + 4 * ratio;
    const y = canvas.height - ((b[i] - ends[1][0]) / (ends[1][1] - ends[1][0])) * room - 4 * ratio;
    if (x === x && y === y) context.fillRect(x - dot / 2, y - dot / 2, dot, dot);
  }
}
