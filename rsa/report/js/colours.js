"use strict";
// Colours of values: scales that colour-blind readers can tell apart, and how opaque a value is.

/** @typedef {{label: string, signed: boolean, stops: string[], below?: string[]}} Palette */

/** @type {Record<string, Palette>} */
const PALETTES = {
  warm: {
    label: "warm and cold",
    signed: true,
    stops: ["#5a120c", "#a8231a", "#e2571e", "#f9963b", "#fccf6a", "#fff6cf"],
    below: ["#0c2757", "#1a4fa8", "#1e88d8", "#4fb8ee", "#96dff5", "#e4fbff"],
  },
  viridis: {
    label: "viridis",
    signed: false,
    stops: ["#440154", "#482878", "#3e4a89", "#31688e", "#26838f", "#1f9d8a", "#35b779", "#6cce5a", "#b4de2c", "#fde725"],
  },
  cividis: {
    label: "cividis",
    signed: false,
    stops: ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"],
  },
};

const FADED = 0.55; // the most that a value below the threshold covers

/** @param {string} hex @returns {number[]} */
function rgbOf(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

/** Return the colour at a share of a scale, from 0 to 1. @param {string[]} stops @param {number} share @returns {number[]} */
function colourAt(stops, share) {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const i = Math.min(Math.floor(at), stops.length - 2);
  const [a, b] = [rgbOf(stops[i]), rgbOf(stops[i + 1])];
  return a.map((value, channel) => Math.round(value + (b[channel] - value) * (at - i)));
}

/** @typedef {{palette: Palette, from: number, to: number, table: Uint8Array}} Scale */

const SHADES = 256;

/**
 * Make a scale: of a palette with two sides, sizes from `from` to `to` above and below 0; else values from `from` to `to`.
 * @param {string} name @param {number} from @param {number} to @returns {Scale}
 */
function scaleOf(name, from, to) {
  const palette = PALETTES[name] ?? PALETTES.warm;
  const table = new Uint8Array(2 * SHADES * 3);
  for (let i = 0; i < SHADES; i += 1) {
    table.set(colourAt(palette.stops, i / (SHADES - 1)), 3 * i);
    table.set(colourAt(palette.below ?? palette.stops, i / (SHADES - 1)), 3 * (SHADES + i));
  }
  return { palette, from, to, table };
}

/** Return where in the table of a scale the colour of a value begins. @param {Scale} scale @param {number} value */
function shadeOf(scale, value) {
  const size = scale.palette.signed ? Math.abs(value) : value;
  const share = scale.to > scale.from ? (size - scale.from) / (scale.to - scale.from) : size >= scale.to ? 1 : 0;
  const shade = Math.round(Math.min(Math.max(share, 0), 1) * (SHADES - 1));
  return 3 * (scale.palette.signed && value < 0 ? SHADES + shade : shade);
}

/** Return the colour of a value as text. @param {Scale} scale @param {number} value */
function colourText(scale, value) {
  const at = shadeOf(scale, value);
  return `rgb(${scale.table[at]}, ${scale.table[at + 1]}, ${scale.table[at + 2]})`;
}

/**
 * Return how much of the brain below it a value covers, from 0 to 1.
 *
 * Above the threshold all of it; below, the less the smaller it is. Without a threshold, from half of the range on.
 * @param {number} size Of the value, or of the score behind it. @param {number} to Upper end of the colours.
 * @param {boolean} hasThreshold @param {boolean} above
 */
function coverOf(size, to, hasThreshold, above) {
  if (!(size === size)) return 0;
  if (above) return 1;
  const share = to > 0 ? Math.min(size / to, 1) : 0;
  return hasThreshold ? FADED * share : Math.min(2 * share, 1);
}

/** Return colours for things in an order, first to last. @param {number} n @returns {string[]} */
function orderedColours(n) {
  const stops = PALETTES.viridis.stops;
  return Array.from({ length: n }, (_, i) => {
    const [r, g, b] = colourAt(stops, n > 1 ? 0.08 + (0.84 * i) / (n - 1) : 0.5);
    return `rgb(${r}, ${g}, ${b})`;
  });
}
