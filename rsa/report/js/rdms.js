"use strict";
// Dissimilarities of the patterns of a sphere, and how similar two RDMs are.

/**
 * Put the responses of some voxels side by side: a row of `members.length` numbers for each condition.
 * @param {ResponseCodes} responses @param {number[]} members Places among the voxels of the codes.
 * @param {number} nConditions
 */
function patternsOf(responses, members, nConditions) {
  const n = members.length;
  const patterns = new Float64Array(nConditions * n);
  members.forEach((voxel, column) => {
    const offset = responses.offsets[voxel];
    const step = responses.steps[voxel];
    for (let c = 0, at = voxel * nConditions; c < nConditions; c += 1, at += 1) {
      patterns[c * n + column] = offset + step * responses.codes[at];
    }
  });
  return patterns;
}

/** Take its mean out of each row. @param {Float64Array} rows @param {number} n */
function centreRows(rows, n) {
  for (let start = 0; start < rows.length; start += n) {
    let sum = 0;
    for (let i = 0; i < n; i += 1) sum += rows[start + i];
    for (let i = 0; i < n; i += 1) rows[start + i] -= sum / n;
  }
}

/**
 * Return the dissimilarities of all pairs of conditions, (0, 1), (0, 2), ..., NaN where they are undefined.
 *
 * Distances between runs cannot be made of one pattern for each condition; the page takes what is most like them.
 * @param {Float64Array} patterns A row for each condition. @param {number} nConditions @param {string} distance
 */
function dissimilarities(patterns, nConditions, distance) {
  const n = patterns.length / nConditions;
  const rows = Float64Array.from(patterns);
  const normalised = distance === "correlation" || distance === "cosine" || distance === "cv_correlation";
  if (distance === "correlation" || distance === "cv_correlation") centreRows(rows, n);
  if (normalised) {
    for (let start = 0; start < rows.length; start += n) {
      let sum = 0;
      let before = 0;
      for (let i = 0; i < n; i += 1) {
        sum += rows[start + i] ** 2;
        before += patterns[start + i] ** 2;
      }
      const isZero = sum <= 1e-13 * before || sum === 0;
      for (let i = 0; i < n; i += 1) rows[start + i] = isZero ? NaN : rows[start + i] / Math.sqrt(sum);
    }
  }
  const found = new Float64Array((nConditions * (nConditions - 1)) / 2);
  let pair = 0;
  for (let a = 0; a < nConditions; a += 1) {
    for (let b = a + 1; b < nConditions; b += 1, pair += 1) {
      let sum = 0;
      const first = a * n;
      const second = b * n;
      if (normalised) {
        for (let i = 0; i < n; i += 1) sum += rows[first + i] * rows[second + i];
        found[pair] = Math.min(Math.max(1 - sum, 0), 2);
      } else {
        for (let i = 0; i < n; i += 1) sum += (rows[first + i] - rows[second + i]) ** 2;
        found[pair] = distance === "euclidean" ? Math.sqrt(sum) : distance === "crossnobis" ? sum / n : sum;
      }
    }
  }
  return found;
}

/** Return the position of a pair in a condensed RDM. @param {number} a @param {number} b @param {number} n */
function pairOf(a, b, n) {
  const [i, j] = a < b ? [a, b] : [b, a];
  return i * n - (i * (i + 1)) / 2 + (j - i - 1);
}

/** Return the mean of several RDMs, pair by pair. @param {Float64Array[]} rdms */
function meanOf(rdms) {
  const mean = new Float64Array(rdms[0].length);
  for (const rdm of rdms) for (let i = 0; i < mean.length; i += 1) mean[i] += rdm[i] / rdms.length;
  return mean;
}

/** @type {WeakMap<ArrayLike<number> & object, Float64Array>} Ranks that were asked for: each RDM is ranked once. */
const knownRanks = new WeakMap();

/** Rank numbers from 1 up, ties by their average rank. @param {ArrayLike<number>} values */
function ranksOf(values) {
  const known = knownRanks.get(values);
  if (known) return known;
  const n = values.length;
  const order = Uint32Array.from({ length: n }, (_, i) => i).sort((a, b) => values[a] - values[b]);
  let largest = 0;
  for (let i = 0; i < n; i += 1) largest = Math.max(largest, Math.abs(values[i]));
  const tie = largest * 2 ** -40;
  const ranks = new Float64Array(n);
  for (let start = 0; start < n; ) {
    let stop = start + 1;
    while (stop < n && values[order[stop]] - values[order[stop - 1]] <= tie) stop += 1;
    for (let i = start; i < stop; i += 1) ranks[order[i]] = (start + stop + 1) / 2;
    start = stop;
  }
  knownRanks.set(values, ranks);
  return ranks;
}

/** Pearson's r, or the cosine, of two rows of numbers. @param {ArrayLike<number>} a @param {ArrayLike<number>} b @param {boolean} centred */
function productOf(a, b, centred) {
  const n = a.length;
  let [meanA, meanB] = [0, 0];
  if (centred) for (let i = 0; i < n; i += 1) [meanA, meanB] = [meanA + a[i] / n, meanB + b[i] / n];
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < n; i += 1) {
    const x = a[i] - meanA;
    const y = b[i] - meanB;
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : NaN;
}

/** Kendall's tau-a: the share of concordant less that of discordant pairs of dissimilarities. @param {ArrayLike<number>} a @param {ArrayLike<number>} b */
function tauA(a, b) {
  const n = a.length;
  let sum = 0;
  for (let i = 0; i < n; i += 1) {
    for (let j = i + 1; j < n; j += 1) sum += Math.sign((a[i] - a[j]) * (b[i] - b[j]));
  }
  return n > 1 ? sum / ((n * (n - 1)) / 2) : NaN;
}

const MOST_PAIRS_OF_PAIRS = 2e7; // more would make a click slow

/** Score two RDMs as the study does; NaN where one has NaN. @param {ArrayLike<number>} a @param {ArrayLike<number>} b @param {string} comparison */
function similarity(a, b, comparison) {
  for (let i = 0; i < a.length; i += 1) if (Number.isNaN(a[i]) || Number.isNaN(b[i])) return NaN;
  if (comparison === "spearman") return productOf(ranksOf(a), ranksOf(b), true);
  if (comparison === "pearson") return productOf(a, b, true);
  if (comparison === "cosine") return productOf(a, b, false);
  const n = a.length;
  if (comparison === "rho_a") {
    const [x, y] = [ranksOf(a), ranksOf(b)];
    let sum = 0;
    for (let i = 0; i < n; i += 1) sum += (x[i] - (n + 1) / 2) * (y[i] - (n + 1) / 2);
    return (12 * sum) / (n ** 3 - n);
  }
  if (comparison === "kendall_tau_a" && (n * (n - 1)) / 2 <= MOST_PAIRS_OF_PAIRS) return tauA(ranksOf(a), ranksOf(b));
  return NaN;
}
