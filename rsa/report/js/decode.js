"use strict";
// From the text of a page, or of a file beside it, to arrays.

/** Codes of int16: of NaN, and of plus infinity (minus infinity is its negative). */
const MISSING = -32768;
const INFINITE = 32767;

/** @type {Map<string, string>} */
const receivedPieces = new Map();
/** @type {Map<string, Promise<void>>} */
const scriptsAsked = new Map();
/** @type {Promise<void>} */
const pageRead = new Promise((resolve) => {
  if (document.readyState !== "loading") resolve();
  else document.addEventListener("DOMContentLoaded", () => resolve(), { once: true });
});

/** Take a piece from a file beside the page, which calls this. @param {string} name @param {string} text */
function receivePiece(name, text) {
  receivedPieces.set(name, text);
}

/** Load a file beside the page, once. @param {string} name @returns {Promise<void>} */
function loadBeside(name) {
  let asked = scriptsAsked.get(name);
  if (!asked) {
    asked = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `${encodeURIComponent(name)}.js`;
      script.onload = () => resolve();
      script.onerror = () => {
        scriptsAsked.delete(name);
        reject(new Error(`The file ${name}.js beside this page is missing; copy the whole folder.`));
      };
      document.head.append(script);
    });
    scriptsAsked.set(name, asked);
  }
  return asked;
}

/**
 * Return the text of a piece: from the page, or from the file that holds it.
 * @param {string} name @param {string | undefined} file @returns {Promise<string>}
 */
async function pieceText(name, file) {
  if (file !== undefined) {
    await loadBeside(file);
    const text = receivedPieces.get(name) ?? "";
    receivedPieces.delete(name);
    return text;
  }
  if (!document.getElementById(`piece-${name}`)?.nextSibling) await pageRead; // it may not be read to its end yet
  const element = document.getElementById(`piece-${name}`);
  const text = element?.textContent ?? "";
  element?.remove();
  return text;
}

/** Turn base64 into bytes. @param {string} text @returns {Uint8Array<ArrayBuffer>} */
function bytesOf(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i += 1) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

/** Unpack what zlib compressed. @param {Uint8Array<ArrayBuffer>} bytes @returns {Promise<Uint8Array<ArrayBuffer>>} */
async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Put low bytes and high bytes together. @param {Uint8Array} bytes */
function wordsOf(bytes) {
  const n = bytes.length >> 1;
  const words = new Uint16Array(n);
  for (let i = 0; i < n; i += 1) words[i] = bytes[i] | (bytes[n + i] << 8);
  return words;
}

/** Put low bytes and high bytes of signed numbers together. @param {Uint8Array} bytes */
function codesOf(bytes) {
  return new Int16Array(wordsOf(bytes).buffer);
}

/** Return the number that a code stands for. @param {number} code @param {number} offset @param {number} step */
function numberOf(code, offset, step) {
  if (code === MISSING) return NaN;
  if (code === INFINITE) return Infinity;
  if (code === -INFINITE) return -Infinity;
  return offset + step * code;
}

/** Return a row of numbers. @param {Int16Array} codes @param {number} row @param {number} n @param {number} offset @param {number} step */
function rowOf(codes, row, n, offset, step) {
  const values = new Float32Array(n);
  for (let i = 0, at = row * n; i < n; i += 1, at += 1) values[i] = numberOf(codes[at], offset, step);
  return values;
}

/** Return ascending positions from the first, and the differences between them (uint32). @param {Uint8Array<ArrayBuffer>} bytes */
function positionsOf(bytes) {
  const gaps = new Uint32Array(bytes.buffer);
  const found = new Int32Array(gaps.length);
  for (let i = 0, at = 0; i < gaps.length; i += 1) found[i] = at += gaps[i];
  return found;
}

/**
 * Read the patterns of a subject: which voxels are usable, and the responses of each to all conditions.
 * @typedef {{usable: Int32Array, offsets: Float32Array, steps: Float32Array, codes: Int8Array}} ResponseCodes
 * @param {Uint8Array<ArrayBuffer>} bytes @param {number} nVoxels Of the space. @param {number} nUsable
 * @returns {ResponseCodes} `usable` has the place of each voxel of the space among those of the codes, or -1.
 */
function responsesOf(bytes, nVoxels, nUsable) {
  const usable = new Int32Array(nVoxels).fill(-1);
  for (let voxel = 0, n = 0; voxel < nVoxels; voxel += 1) {
    if ((bytes[voxel >> 3] >> (voxel & 7)) & 1) usable[voxel] = n++;
  }
  let at = (nVoxels + 7) >> 3;
  const offsets = new Float32Array(bytes.slice(at, (at += 4 * nUsable)).buffer);
  const steps = new Float32Array(bytes.slice(at, (at += 4 * nUsable)).buffer);
  return { usable, offsets, steps, codes: new Int8Array(bytes.slice(at).buffer) };
}
