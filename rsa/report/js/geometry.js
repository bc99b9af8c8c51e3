"use strict";
// Voxels, millimetres, planes and spheres.

/** @typedef {number[][]} Affine Four rows of four: from voxel indices to mm. */
/** @typedef {{name: string, through: number, across: number, up: number}} View Axes: 0 is x, 1 is y, 2 is z. */
/**
 * What a canvas shows of a plane: the place in its middle, and how many mm a pixel is.
 * @typedef {{width: number, height: number, mmPerPixel: number, across: number, up: number}} Frame
 */

/** @type {View[]} */
const VIEWS = [
  { name: "sagittal", through: 0, across: 1, up: 2 },
  { name: "coronal", through: 1, across: 0, up: 2 },
  { name: "axial", through: 2, across: 0, up: 1 },
];

const SAME_MM = 4e-5; // lengths that differ by less are the same: files store affines in single precision

/** Return the first three rows of the inverse of an affine. @param {Affine} affine @returns {number[][]} */
function inverseOf(affine) {
  const [[a, b, c, x], [d, e, f, y], [g, h, i, z]] = affine;
  const determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  const rows = [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((value) => value / determinant));
  return rows.map((row) => [...row, -(row[0] * x + row[1] * y + row[2] * z)]);
}

/** Apply the rows of an affine, or of an inverse, to a point. @param {number[][]} rows @param {number[]} point */
function transformed(rows, point) {
  return [0, 1, 2].map((i) => rows[i][0] * point[0] + rows[i][1] * point[1] + rows[i][2] * point[2] + rows[i][3]);
}

/** Return the voxel in which a fractional index lies: centres are whole numbers. @param {number[]} index */
function nearestVoxel(index) {
  return index.map((value) => Math.floor(value + 0.5));
}

/** Return the position of a voxel on a grid in C order, -1 outside of it. @param {number[]} voxel @param {number[]} shape */
function flatIndex(voxel, shape) {
  for (let axis = 0; axis < 3; axis += 1) if (voxel[axis] < 0 || voxel[axis] >= shape[axis]) return -1;
  return (voxel[0] * shape[1] + voxel[1]) * shape[2] + voxel[2];
}

/** Return the voxel at a position on a grid in C order. @param {number} flat @param {number[]} shape */
function voxelAt(flat, shape) {
  const k = flat % shape[2];
  const rest = (flat - k) / shape[2];
  const j = rest % shape[1];
  return [(rest - j) / shape[1], j, k];
}

/** Return the millimetres of the centre of a pixel. @param {View} view @param {Frame} frame @param {number[]} mm @param {number} column @param {number} row */
function pixelToMm(view, frame, mm, column, row) {
  const point = [...mm];
  point[view.across] = frame.across + (column + 0.5 - frame.width / 2) * frame.mmPerPixel;
  point[view.up] = frame.up - (row + 0.5 - frame.height / 2) * frame.mmPerPixel;
  return point;
}

/** Return where a point in mm is on a canvas, in pixels from its upper left corner. @param {View} view @param {Frame} frame @param {number[]} mm */
function mmToPixel(view, frame, mm) {
  return [
    (mm[view.across] - frame.across) / frame.mmPerPixel + frame.width / 2,
    frame.height / 2 - (mm[view.up] - frame.up) / frame.mmPerPixel,
  ];
}

/**
 * Return the first pixel's index on a grid, and the steps to the next pixel and to the next row.
 * @param {View} view @param {Frame} frame @param {number[]} mm @param {number[][]} inverse
 */
function sampling(view, frame, mm, inverse) {
  const start = transformed(inverse, pixelToMm(view, frame, mm, 0, 0));
  const right = inverse.map((row) => row[view.across] * frame.mmPerPixel);
  const down = inverse.map((row) => -row[view.up] * frame.mmPerPixel);
  return { start, right, down };
}

/**
 * Find the voxel under each pixel of a plane, -1 where there is none: the nearest, at the centre of the pixel.
 * @param {View} view @param {Frame} frame @param {number[]} mm Through which the plane goes.
 * @param {number[][]} inverse Of the affine of the grid.
 * @param {number[]} shape @param {Int32Array} positions What stands for each voxel of the grid.
 */
function sliceOf(view, frame, mm, inverse, shape, positions) {
  const { start, right, down } = sampling(view, frame, mm, inverse);
  const found = new Int32Array(frame.width * frame.height);
  const [ni, nj, nk] = shape;
  let pixel = 0;
  for (let row = 0; row < frame.height; row += 1) {
    for (let column = 0; column < frame.width; column += 1, pixel += 1) {
      const i = Math.floor(start[0] + column * right[0] + row * down[0] + 0.5);
      const j = Math.floor(start[1] + column * right[1] + row * down[1] + 0.5);
      const k = Math.floor(start[2] + column * right[2] + row * down[2] + 0.5);
      const inside = i >= 0 && j >= 0 && k >= 0 && i < ni && j < nj && k < nk;
      found[pixel] = inside ? positions[(i * nj + j) * nk + k] : -1;
    }
  }
  return found;
}

/**
 * Sample an image of bytes along a plane, interpolated between its voxels; 0 outside.
 * @param {View} view @param {Frame} frame @param {number[]} mm @param {number[][]} inverse
 * @param {number[]} shape @param {Uint8Array} data
 */
function imageSlice(view, frame, mm, inverse, shape, data) {
  const { start, right, down } = sampling(view, frame, mm, inverse);
  const found = new Uint8Array(frame.width * frame.height);
  const [ni, nj, nk] = shape;
  let pixel = 0;
  for (let row = 0; row < frame.height; row += 1) {
    for (let column = 0; column < frame.width; column += 1, pixel += 1) {
      const x = start[0] + column * right[0] + row * down[0];
      const y = start[1] + column * right[1] + row * down[1];
      const z = start[2] + column * right[2] + row * down[2];
      if (x <= -0.5 || y <= -0.5 || z <= -0.5 || x >= ni - 0.5 || y >= nj - 0.5 || z >= nk - 0.5) continue;
      const i = Math.min(Math.max(Math.floor(x), 0), Math.max(ni - 2, 0));
      const j = Math.min(Math.max(Math.floor(y), 0), Math.max(nj - 2, 0));
      const k = Math.min(Math.max(Math.floor(z), 0), Math.max(nk - 2, 0));
      const u = ni > 1 ? Math.min(Math.max(x - i, 0), 1) : 0;
      const v = nj > 1 ? Math.min(Math.max(y - j, 0), 1) : 0;
      const w = nk > 1 ? Math.min(Math.max(z - k, 0), 1) : 0;
      const di = ni > 1 ? nj * nk : 0;
      const dj = nj > 1 ? nk : 0;
      const dk = nk > 1 ? 1 : 0;
      const at = (i * nj + j) * nk + k;
      const near = (data[at] * (1 - w) + data[at + dk] * w) * (1 - v) + (data[at + dj] * (1 - w) + data[at + dj + dk] * w) * v;
      const next = at + di;
      const far = (data[next] * (1 - w) + data[next + dk] * w) * (1 - v) + (data[next + dj] * (1 - w) + data[next + dj + dk] * w) * v;
      found[pixel] = near * (1 - u) + far * u + 0.5;
    }
  }
  return found;
}

/**
 * Return the steps (i, j, k) to all voxels within a radius, inclusive, in ascending order.
 * @param {Affine} affine @param {number} radiusMm @param {number[]} shape @returns {number[][]}
 */
function sphereOffsets(affine, radiusMm, shape) {
  const inverse = inverseOf(affine);
  const reach = radiusMm + SAME_MM;
  const most = inverse.map((row, axis) => Math.min(Math.ceil(reach * Math.hypot(row[0], row[1], row[2])), shape[axis] - 1));
  const offsets = [];
  for (let i = -most[0]; i <= most[0]; i += 1) {
    for (let j = -most[1]; j <= most[1]; j += 1) {
      for (let k = -most[2]; k <= most[2]; k += 1) {
        const mm = [0, 1, 2].map((axis) => affine[axis][0] * i + affine[axis][1] * j + affine[axis][2] * k);
        if (Math.hypot(mm[0], mm[1], mm[2]) <= reach) offsets.push([i, j, k]);
      }
    }
  }
  return offsets;
}

/**
 * Return what stands for the voxels of a sphere, ascending, without those that are outside of a mask (-1).
 * @param {number[]} centre @param {number[][]} offsets @param {number[]} shape @param {Int32Array} positions
 */
function sphereMembers(centre, offsets, shape, positions) {
  /** @type {number[]} */
  const members = [];
  for (const offset of offsets) {
    const flat = flatIndex([centre[0] + offset[0], centre[1] + offset[1], centre[2] + offset[2]], shape);
    if (flat >= 0 && positions[flat] >= 0) members.push(positions[flat]);
  }
  return members;
}
