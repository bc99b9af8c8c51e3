// The surface of the cortex, drawn by WebGL: turn it, come nearer, click on it. One global function, `makeSurface`.
//
// Places are in mm: x to the right, y forward, z up. Projection is parallel, so sizes do not depend on depth.

/**
 * @typedef {object} SurfaceMesh
 * @property {Record<string, Float32Array>} shapes  Places of all vertices in mm, x y z after each other, for each of
 *   "pial", "inflated" and "flat"; those of the left hemisphere come first.
 * @property {Uint16Array | Uint32Array} triangles  Three vertices of each triangle, counterclockwise from outside.
 * @property {Uint8Array} inFlat  Of each triangle 1 if the flat shape has it, which is cut open, and 0 if not.
 * @property {Float32Array} sulc  Of each vertex how deep it lies: above 0 in a sulcus, below on a gyrus.
 * @property {number} nLeft  Number of vertices of the left hemisphere.
 */

/**
 * @typedef {object} Surface
 * @property {(rgba: Uint8Array, sharp?: boolean) => void} paint  Give each vertex a colour (red, green, blue, alpha)
 *   over the grey of the folds. Colours pass into each other between vertices, or end sharply half way, as they must
 *   where they stand for names (the best layer).
 * @property {(name: string) => void} setShape  Show "pial", "inflated" or "flat".
 * @property {(name: string) => void} setHemisphere  Show "left", "right" or "both".
 * @property {(name: string) => void} setView  Look from "lateral", "medial", "dorsal", "ventral", "posterior" or
 *   "anterior". Two hemispheres are seen each from its own side when the view is lateral or medial.
 * @property {(vertex: number) => void} mark  Put a ring around a vertex; -1 takes it away.
 * @property {(mm: ArrayLike<number>, within?: number) => number} nearest  The vertex whose place on the pial surface is
 *   nearest to a place in mm, or -1 if none is `within` so many mm.
 * @property {(x: number, y: number) => number} pick  The vertex that is seen at a place of the canvas, in CSS pixels
 *   from its upper left corner; -1 if there is none.
 * @property {(vertex: number) => [number, number] | null} placeOf  Where a vertex is drawn, in CSS pixels; null if its
 *   hemisphere (or, in the flat shape, its triangle) is not.
 * @property {() => void} resize  Draw again at the present size of the canvas.
 * @property {() => void} dispose  Let go of the canvas.
 */

const SURFACE_VIEWS = /** @type {Record<string, [number, number]>} */ ({
  // Where the viewer stands, in degrees: around the vertical axis from behind (towards the right), and up.
  lateral: [90, 0], // of the right hemisphere; of the left one, mirrored
  medial: [-90, 0],
  dorsal: [0, 90],
  ventral: [0, -90],
  posterior: [0, 0],
  anterior: [180, 0],
});

const SURFACE_VERTEX_SHADER = `
attribute vec3 place, normal, corner;
attribute vec4 colourA, colourB, colourC;
attribute float depth;
uniform mat3 turn;
uniform vec3 centre;
uniform vec2 scale, shift;
varying vec3 where_, facing;
varying vec4 a, b, c;
varying float sulc;
void main() {
  vec3 seen = turn * (place - centre);
  gl_Position = vec4(seen.xy * scale + shift, -seen.z / 400.0, 1.0);
  facing = turn * normal;
  where_ = corner;
  a = vec4(colourA.rgb * colourA.a, colourA.a);
  b = vec4(colourB.rgb * colourB.a, colourB.a);
  c = vec4(colourC.rgb * colourC.a, colourC.a);
  sulc = depth;
}`;

const SURFACE_FRAGMENT_SHADER = `
precision mediump float;
varying vec3 where_, facing;
varying vec4 a, b, c;
varying float sulc;
uniform float sharp, flatness;
void main() {
  vec3 weight = where_;
  if (sharp > 0.5) {
    float most = max(weight.x, max(weight.y, weight.z));
    weight = weight.x == most ? vec3(1, 0, 0) : weight.y == most ? vec3(0, 1, 0) : vec3(0, 0, 1);
  }
  vec4 paint = a * weight.x + b * weight.y + c * weight.z;
  vec3 grey = vec3(mix(0.86, 0.62, smoothstep(-0.25, 0.25, sulc)));
  vec3 n = normalize(facing);
  float light = mix(0.30 + 0.55 * max(n.z, 0.0) + 0.22 * max(dot(n, vec3(-0.35, 0.6, 0.72)), 0.0), 1.0, flatness);
  vec3 shaded = grey * light * (1.0 - paint.a) + paint.rgb * mix(1.0, light, 0.55);
  gl_FragColor = vec4(min(shaded, 1.0), 1.0);
}`;

const SURFACE_POINT_SHADERS = [
  `
uniform vec3 at;
uniform mediump float size;
void main() { gl_Position = vec4(at, 1.0); gl_PointSize = size; }`,
  `
precision mediump float;
uniform sampler2D picture;
uniform float size, letter;
void main() {
  if (letter > 0.5) { gl_FragColor = texture2D(picture, vec2((gl_PointCoord.x + letter - 1.0) / 2.0, gl_PointCoord.y)); return; }
  float r = length(gl_PointCoord - 0.5) * size, outer = size / 2.0;
  float dark = smoothstep(outer, outer - 1.0, r) * smoothstep(outer * 0.3, outer * 0.3 + 1.0, r);
  float white = smoothstep(outer * 0.8, outer * 0.8 - 1.0, r) * smoothstep(outer * 0.5 - 1.0, outer * 0.5, r);
  gl_FragColor = vec4(vec3(white), 1.0) * dark;
}`,
];

/**
 * Draw the cortex into a canvas.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {SurfaceMesh} mesh
 * @param {(vertex: number) => void} onPick  Called with the vertex that was clicked or tapped.
 * @returns {Surface | null}  null where the browser has no WebGL.
 */
function makeSurface(canvas, mesh, onPick) {
  const options = { alpha: true, antialias: true, premultipliedAlpha: true, preserveDrawingBuffer: true };
  const found = /** @type {WebGLRenderingContext | null} */ (
    canvas.getContext("webgl2", options) || canvas.getContext("webgl", options)
  );
  if (!found) return null;
  const gl = found;

  const nVertices = mesh.sulc.length;
  const order = orderOfTriangles(mesh);
  const nCorners = order.corners.length;
  const colours = new Uint32Array(nVertices);
  const halves = [0, 1].map((half) => extentOf(mesh, half, order.vertexInFlat));

  /** @type {{shape: string, hemisphere: string, view: string, yaw: number[], pitch: number, zoom: number, pan: number[],
   *    marked: number, sharp: boolean}} */
  const state = {
    shape: "inflated",
    hemisphere: "both",
    view: "lateral",
    yaw: [0, 0],
    pitch: 0,
    zoom: 1,
    pan: [0, 0],
    marked: -1,
    sharp: false,
  };
  let parts = build();
  let frame = 0;
  let disposed = false;

  /** Make all that lives on the graphics card; anew when the card was lost. */
  function build() {
    const body = linked(gl, SURFACE_VERTEX_SHADER, SURFACE_FRAGMENT_SHADER);
    const points = linked(gl, SURFACE_POINT_SHADERS[0], SURFACE_POINT_SHADERS[1]);
    const names = ["place", "normal", "corner", "depth", "colours"];
    const buffers = Object.fromEntries(names.map((name) => [name, gl.createBuffer()]));
    gl.getExtension("OES_element_index_uint"); // which WebGL 2 has anyway
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, order.corners, gl.STATIC_DRAW);
    return { body, points, buffers, letters: lettersTexture(gl, canvas), drawn: "" };
  }

  /**
   * @param {WebGLBuffer | null} buffer
   * @param {Float32Array | Uint32Array} values
   */
  function fill(buffer, values) {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
  }

  function later() {
    if (!frame && !disposed) frame = requestAnimationFrame(draw);
  }

  /** Whether the hemispheres stand beside each other, each with its own turn. */
  function isApart() {
    return state.shape === "flat" || state.view === "lateral" || state.view === "medial";
  }

  /**
   * How a hemisphere (0: left, 1: right) is brought to the screen; null if it is hidden.
   * @param {number} half
   * @returns {{turn: number[], centre: number[], scale: number[], shift: number[]} | null}
   */
  function placing(half) {
    if (state.hemisphere !== "both" && state.hemisphere !== ["left", "right"][half]) return null;
    const [width, height] = [Math.max(canvas.width, 1), Math.max(canvas.height, 1)];
    const own = halves[half][state.shape];
    const isFlat = state.shape === "flat";
    const isAlone = state.hemisphere !== "both";
    const turn = isFlat ? [1, 0, 0, 0, 1, 0, 0, 0, 1] : turned(state.yaw[half], state.pitch);
    let across = 0;
    let up = 0;
    let beside = 0;
    let centre = own.centre;
    if (isAlone || isApart()) {
      [across, up] = isFlat ? [own.size[0], own.size[1]] : [own.size[1], Math.max(own.size[2], own.size[1] * 0.75)];
      if (!isAlone) {
        beside = (half ? 0.5 : -0.5) * across * 1.04;
        across *= 2.04;
      }
    } else {
      // One body: the two beside each other as they are in the head; inflated ones touch in the middle.
      const aside = state.shape === "inflated" ? (half ? 1 : -1) * (own.size[0] / 2 + 1) : own.centre[0];
      centre = [own.centre[0] - aside, halves[0][state.shape].centre[1], halves[0][state.shape].centre[2]];
      [across, up] = [own.size[1], own.size[1]];
    }
    const perMm = 0.94 * state.zoom * Math.min(width / across, height / up);
    const scale = [(2 * perMm) / width, (2 * perMm) / height];
    return {
      turn,
      centre,
      scale,
      shift: [beside * scale[0] + (2 * state.pan[0]) / width, (-2 * state.pan[1]) / height],
    };
  }

  function draw() {
    frame = 0;
    if (disposed || gl.isContextLost()) return;
    const dots = Math.min(window.devicePixelRatio || 1, 3);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((n) => Math.max(1, Math.round(n * dots)));
    if (canvas.width !== width || canvas.height !== height) {
      const grown = width / Math.max(canvas.width, 1);
      state.pan = state.pan.map((pixels) => pixels * grown);
      canvas.width = width;
      canvas.height = height;
    }
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.enable(gl.DEPTH_TEST);
    gl.disable(gl.BLEND);
    if (parts.drawn !== `${state.shape} ${state.sharp}`) upload();
    gl.useProgram(parts.body);
    attribute("place", parts.buffers.place, 3);
    attribute("normal", parts.buffers.normal, 3);
    attribute("depth", parts.buffers.depth, 1);
    const [step, next] = state.sharp ? [12, 4] : [4, 0];
    ["colourA", "colourB", "colourC"].forEach((name, i) => attribute(name, parts.buffers.colours, 4, step, next * i));
    const corner = gl.getAttribLocation(parts.body, "corner");
    gl.disableVertexAttribArray(corner);
    gl.vertexAttrib3f(corner, 1, 0, 0);
    if (state.sharp) attribute("corner", parts.buffers.corner, 3);
    gl.uniform1f(uniform(parts.body, "sharp"), state.sharp ? 1 : 0);
    gl.uniform1f(uniform(parts.body, "flatness"), state.shape === "flat" ? 1 : 0);
    const ends = [0, 1].map((half) => order.starts[half] + (state.shape === "flat" ? order.nFlat : order.nAll)[half]);
    [0, 1].forEach((half) => {
      const place = placing(half);
      if (!place) return;
      gl.uniformMatrix3fv(uniform(parts.body, "turn"), false, place.turn);
      gl.uniform3fv(uniform(parts.body, "centre"), place.centre);
      gl.uniform2fv(uniform(parts.body, "scale"), place.scale);
      gl.uniform2fv(uniform(parts.body, "shift"), place.shift);
      const [start, n] = [order.starts[half], ends[half] - order.starts[half]];
      if (state.sharp) gl.drawArrays(gl.TRIANGLES, start, n);
      else gl.drawElements(gl.TRIANGLES, n, gl.UNSIGNED_INT, 4 * start);
    });
    drawPoints(dots);
  }

  /**
   * Bring the shape to the graphics card. Vertices are shared by triangles; where colours end sharply each triangle has
   * three of its own, which know the colours of each other and which corner they are.
   */
  function upload() {
    const shape = mesh.shapes[state.shape];
    const normals = normalsOf(shape, mesh.triangles);
    fill(parts.buffers.place, state.sharp ? gathered(shape, 3, order.corners) : shape);
    fill(parts.buffers.normal, state.sharp ? gathered(normals, 3, order.corners) : normals);
    fill(parts.buffers.depth, state.sharp ? gathered(mesh.sulc, 1, order.corners) : mesh.sulc);
    if (state.sharp) {
      const corner = new Float32Array(3 * nCorners);
      for (let i = 0; i < nCorners; i++) corner[3 * i + (i % 3)] = 1;
      fill(parts.buffers.corner, corner);
    }
    uploadColours();
    parts.drawn = `${state.shape} ${state.sharp}`;
  }

  function uploadColours() {
    if (!state.sharp) {
      fill(parts.buffers.colours, colours);
      return;
    }
    const tripled = new Uint32Array(3 * nCorners); // of the three corners of its triangle, for each corner
    for (let i = 0, j = 0; i < nCorners; i += 3) {
      const [a, b, c] = [colours[order.corners[i]], colours[order.corners[i + 1]], colours[order.corners[i + 2]]];
      for (let k = 0; k < 3; k++) {
        tripled[j++] = a;
        tripled[j++] = b;
        tripled[j++] = c;
      }
    }
    fill(parts.buffers.colours, tripled);
  }

  /**
   * Draw the letters of the sides, and the ring around the marked vertex where nothing hides it.
   * @param {number} dots
   */
  function drawPoints(dots) {
    ["place", "normal", "corner", "depth", "colourA", "colourB", "colourC"].forEach((name) => {
      const at = gl.getAttribLocation(parts.body, name);
      if (at >= 0) gl.disableVertexAttribArray(at);
    });
    gl.useProgram(parts.points);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindTexture(gl.TEXTURE_2D, parts.letters);
    const marked = state.marked >= 0 ? projected(state.marked) : null;
    if (marked) {
      point([marked[0], marked[1], marked[2] - 0.012], 15 * dots, 0);
    }
    gl.disable(gl.DEPTH_TEST);
    [0, 1].forEach((half) => {
      const at = letterPlace(half, 18 * dots);
      if (at) point([at[0], at[1], 0], 18 * dots, 1 + half);
    });
  }

  /**
   * @param {number[]} at
   * @param {number} size
   * @param {number} letter
   */
  function point(at, size, letter) {
    gl.uniform3fv(uniform(parts.points, "at"), at);
    gl.uniform1f(uniform(parts.points, "size"), size);
    gl.uniform1f(uniform(parts.points, "letter"), letter);
    gl.drawArrays(gl.POINTS, 0, 1);
  }

  /**
   * Where the letter of a side stands: below its hemisphere, at the outer edge.
   * @param {number} half
   * @param {number} size
   * @returns {number[] | null}
   */
  function letterPlace(half, size) {
    const place = placing(half);
    if (!place) return null;
    const [x] = toScreen(place, halves[half][state.shape].centre);
    const edge = 1 - (1.2 * size) / canvas.width;
    const other = placing(1 - half);
    const isLeft = other ? x <= toScreen(other, halves[1 - half][state.shape].centre)[0] : half === 0;
    return [isLeft ? -edge : edge, -1 + (1.2 * size) / canvas.height];
  }

  /**
   * Bring a place in mm to the screen: -1 to 1 across and up, and depth.
   * @param {{turn: number[], centre: number[], scale: number[], shift: number[]}} place
   * @param {ArrayLike<number>} mm
   * @returns {[number, number, number]}
   */
  function toScreen(place, mm) {
    const [x, y, z] = [mm[0] - place.centre[0], mm[1] - place.centre[1], mm[2] - place.centre[2]];
    const t = place.turn; // columns after each other
    return [
      (t[0] * x + t[3] * y + t[6] * z) * place.scale[0] + place.shift[0],
      (t[1] * x + t[4] * y + t[7] * z) * place.scale[1] + place.shift[1],
      -(t[2] * x + t[5] * y + t[8] * z) / 400,
    ];
  }

  /**
   * @param {number} vertex
   * @returns {[number, number, number] | null}
   */
  function projected(vertex) {
    const place = placing(vertex < mesh.nLeft ? 0 : 1);
    if (!place || (state.shape === "flat" && !order.vertexInFlat[vertex])) return null;
    return toScreen(place, mesh.shapes[state.shape].subarray(3 * vertex, 3 * vertex + 3));
  }

  /** @type {Surface["pick"]} */
  function pick(x, y) {
    const [across, up] = [(2 * x) / canvas.clientWidth - 1, 1 - (2 * y) / canvas.clientHeight];
    const shape = mesh.shapes[state.shape];
    const screen = new Float64Array(3 * nVertices);
    let best = -1;
    let nearest = Infinity;
    [0, 1].forEach((half) => {
      const place = placing(half);
      if (!place) return;
      const [first, last] = half ? [mesh.nLeft, nVertices] : [0, mesh.nLeft];
      const { turn: t, centre, scale, shift } = place;
      for (let i = 3 * first; i < 3 * last; i += 3) {
        const [dx, dy, dz] = [shape[i] - centre[0], shape[i + 1] - centre[1], shape[i + 2] - centre[2]];
        screen[i] = (t[0] * dx + t[3] * dy + t[6] * dz) * scale[0] + shift[0] - across;
        screen[i + 1] = (t[1] * dx + t[4] * dy + t[7] * dz) * scale[1] + shift[1] - up;
        screen[i + 2] = -(t[2] * dx + t[5] * dy + t[8] * dz);
      }
      const end = order.starts[half] + (state.shape === "flat" ? order.nFlat : order.nAll)[half];
      for (let i = order.starts[half]; i < end; i += 3) {
        const [a, b, c] = [3 * order.corners[i], 3 * order.corners[i + 1], 3 * order.corners[i + 2]];
        const ofA = screen[b] * screen[c + 1] - screen[b + 1] * screen[c]; // what each corner weighs at the place
        const ofB = screen[c] * screen[a + 1] - screen[c + 1] * screen[a];
        const ofC = screen[a] * screen[b + 1] - screen[a + 1] * screen[b];
        if (ofA < 0 || ofB < 0 || ofC < 0 || ofA + ofB + ofC <= 0) continue; // outside, or seen from within
        const depth = (ofA * screen[a + 2] + ofB * screen[b + 2] + ofC * screen[c + 2]) / (ofA + ofB + ofC);
        if (depth < nearest) {
          nearest = depth;
          best = (ofA >= ofB && ofA >= ofC ? a : ofB >= ofC ? b : c) / 3;
        }
      }
    });
    return best;
  }

  /**
   * @param {string} name
   * @param {WebGLBuffer | null} buffer
   * @param {number} size
   * @param {number} [stride]
   * @param {number} [offset]
   */
  function attribute(name, buffer, size, stride = 0, offset = 0) {
    const at = gl.getAttribLocation(parts.body, name);
    if (at < 0) return;
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, size, stride ? gl.UNSIGNED_BYTE : gl.FLOAT, Boolean(stride), stride, offset);
  }

  /**
   * @param {WebGLProgram} program
   * @param {string} name
   */
  function uniform(program, name) {
    return gl.getUniformLocation(program, name);
  }

  /** @type {Surface["setView"]} */
  function setView(name) {
    if (!(name in SURFACE_VIEWS)) return;
    const [yaw, pitch] = SURFACE_VIEWS[name];
    state.view = name;
    state.yaw = name === "lateral" || name === "medial" ? [-yaw, yaw] : [yaw, yaw];
    state.pitch = pitch;
    state.zoom = 1;
    state.pan = [0, 0];
    later();
  }

  /** @type {Surface["paint"]} */
  function paint(rgba, sharp = false) {
    new Uint8Array(colours.buffer).set(rgba);
    state.sharp = sharp;
    uploadColours();
    later();
  }

  // ------------------------------------------------------------------------------------------- hands

  /** @type {Map<number, {x: number, y: number}>} */
  const fingers = new Map();
  let moved = 0;

  /**
   * Turn by so many degrees; where hemispheres stand apart, the other one turns as in a mirror.
   * @param {number} right
   * @param {number} down
   * @param {number} half
   */
  function turnBy(right, down, half) {
    const mirrored = isApart() && state.hemisphere === "both";
    state.yaw = state.yaw.map((yaw, i) => yaw - (mirrored && i !== half ? -right : right));
    state.pitch = Math.max(-90, Math.min(90, state.pitch + down));
    later();
  }

  /**
   * Come nearer by a factor, towards a place in CSS pixels from the middle.
   * @param {number} factor
   * @param {number} x
   * @param {number} y
   */
  function zoomBy(factor, x, y) {
    const zoom = Math.max(0.5, Math.min(12, state.zoom * factor));
    const dots = canvas.width / canvas.clientWidth;
    state.pan = state.pan.map((pan, i) => [x, y][i] * dots + (pan - [x, y][i] * dots) * (zoom / state.zoom));
    state.zoom = zoom;
    later();
  }

  /** @param {MouseEvent} event */
  function inCanvas(event) {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  /** @param {PointerEvent} event */
  function onDown(event) {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    if (!fingers.size) moved = 0;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  }

  /** @param {PointerEvent} event */
  function onMove(event) {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.x, event.clientY - before.y];
    const old = spread();
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    moved += Math.abs(dx) + Math.abs(dy);
    const [x, y] = inCanvas(event);
    if (fingers.size > 1) {
      moved = Infinity;
      if (old > 0) zoomBy(spread() / old, x - canvas.clientWidth / 2, y - canvas.clientHeight / 2);
    } else if (state.shape === "flat") {
      const dots = canvas.width / canvas.clientWidth;
      state.pan = [state.pan[0] + dx * dots, state.pan[1] + dy * dots];
      later();
    } else if (moved > 4) {
      turnBy(dx * 0.5, dy * 0.5, x < canvas.clientWidth / 2 ? 0 : 1);
    }
  }

  /** How far two fingers are apart. */
  function spread() {
    const [one, two] = [...fingers.values()];
    return two ? Math.hypot(one.x - two.x, one.y - two.y) : 0;
  }

  /** @param {PointerEvent} event */
  function onUp(event) {
    if (!fingers.delete(event.pointerId) || event.type === "pointercancel" || moved > 4) return;
    const [x, y] = inCanvas(event);
    const vertex = pick(x, y);
    if (vertex >= 0) onPick(vertex);
  }

  /** @param {WheelEvent} event */
  function onWheel(event) {
    event.preventDefault();
    const [x, y] = inCanvas(event);
    const lines = event.deltaMode ? 24 : 1;
    zoomBy(Math.exp(-event.deltaY * lines * 0.0015), x - canvas.clientWidth / 2, y - canvas.clientHeight / 2);
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const turns = /** @type {Record<string, [number, number]>} */ ({
      ArrowLeft: [-10, 0],
      ArrowRight: [10, 0],
      ArrowUp: [0, -10],
      ArrowDown: [0, 10],
    });
    const zooms = /** @type {Record<string, number>} */ ({ "+": 1.2, "=": 1.2, "-": 1 / 1.2 });
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in turns) turnBy(...turns[event.key], 0);
    else if (event.key in zooms) zoomBy(zooms[event.key], 0, 0);
    else if (event.key === "Home" || event.key === "0") setView(state.view);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {Event} event */
  function onLost(event) {
    event.preventDefault();
  }

  function onRestored() {
    parts = build();
    later();
  }

  const handlers = /** @type {[string, (event: any) => void][]} */ ([
    ["pointerdown", onDown],
    ["pointermove", onMove],
    ["pointerup", onUp],
    ["pointercancel", onUp],
    ["wheel", onWheel],
    ["keydown", onKey],
    ["webglcontextlost", onLost],
    ["webglcontextrestored", onRestored],
  ]);
  handlers.forEach(([name, handler]) => canvas.addEventListener(name, handler, { passive: false }));
  canvas.style.touchAction = "pan-y"; // one finger still scrolls the page up and down
  if (!canvas.hasAttribute("tabindex")) canvas.tabIndex = 0;
  const watcher = new ResizeObserver(later);
  watcher.observe(canvas);
  setView("lateral");

  return {
    paint,
    setShape(name) {
      if (!(name in mesh.shapes)) return;
      if ((name === "flat") !== (state.shape === "flat")) [state.zoom, state.pan] = [1, [0, 0]];
      state.shape = name;
      later();
    },
    setHemisphere(name) {
      state.hemisphere = name;
      setView(state.view);
    },
    setView,
    mark(vertex) {
      state.marked = vertex;
      later();
    },
    nearest(mm, within = 8) {
      const shape = mesh.shapes.pial;
      let best = -1;
      let least = within * within;
      for (let i = 0; i < nVertices; i++) {
        const [x, y, z] = [shape[3 * i] - mm[0], shape[3 * i + 1] - mm[1], shape[3 * i + 2] - mm[2]];
        const square = x * x + y * y + z * z;
        if (square <= least) [best, least] = [i, square];
      }
      return best;
    },
    pick,
    placeOf(vertex) {
      const at = projected(vertex);
      return at && [((at[0] + 1) / 2) * canvas.clientWidth, ((1 - at[1]) / 2) * canvas.clientHeight];
    },
    resize: later,
    dispose() {
      disposed = true;
      watcher.disconnect();
      cancelAnimationFrame(frame);
      handlers.forEach(([name, handler]) => canvas.removeEventListener(name, handler));
      Object.values(parts.buffers).forEach((buffer) => gl.deleteBuffer(buffer));
    },
  };
}

/**
 * Return the rotation that puts a viewer behind the head at an angle around it and upwards, in degrees: a 3 x 3 matrix,
 * its columns after each other. Its rows are what is right, up and towards the viewer.
 * @param {number} yaw
 * @param {number} pitch
 */
function turned(yaw, pitch) {
  const [a, p] = [(yaw * Math.PI) / 180, (pitch * Math.PI) / 180];
  const [sa, ca, sp, cp] = [Math.sin(a), Math.cos(a), Math.sin(p), Math.cos(p)];
  const right = [ca, sa, 0];
  const up = [-sp * sa, sp * ca, cp];
  const near = [cp * sa, -cp * ca, sp];
  return [0, 1, 2].flatMap((i) => [right[i], up[i], near[i]]);
}

/**
 * Order triangles so that each part that is drawn is a range: left before right, in each those of the flat shape first.
 * @param {SurfaceMesh} mesh
 */
function orderOfTriangles(mesh) {
  const n = mesh.triangles.length / 3;
  const vertexInFlat = new Uint8Array(mesh.sulc.length);
  /** @type {number[][]} */
  const groups = [[], [], [], []]; // left in the flat shape, left not in it, right in it, right not in it
  for (let i = 0; i < n; i++) {
    const half = mesh.triangles[3 * i] < mesh.nLeft ? 0 : 2;
    groups[half + (mesh.inFlat[i] ? 0 : 1)].push(i);
    if (mesh.inFlat[i]) for (let k = 0; k < 3; k++) vertexInFlat[mesh.triangles[3 * i + k]] = 1;
  }
  const corners = new Uint32Array(3 * n);
  groups.flat().forEach((triangle, i) => {
    corners.set(mesh.triangles.subarray(3 * triangle, 3 * triangle + 3), 3 * i);
  });
  const sizes = groups.map((group) => 3 * group.length);
  return {
    corners,
    starts: [0, sizes[0] + sizes[1]],
    nFlat: [sizes[0], sizes[2]],
    nAll: [sizes[0] + sizes[1], sizes[2] + sizes[3]],
    vertexInFlat,
  };
}

/**
 * Return middle and size, in mm, of a hemisphere (0: left, 1: right) in each shape; of the flat one without what is cut.
 * @param {SurfaceMesh} mesh
 * @param {number} half
 * @param {Uint8Array} inFlat
 */
function extentOf(mesh, half, inFlat) {
  /** @type {Record<string, {centre: number[], size: number[]}>} */
  const found = {};
  for (const [name, shape] of Object.entries(mesh.shapes)) {
    const [low, high] = [[Infinity, Infinity, Infinity], [-Infinity, -Infinity, -Infinity]];
    const [first, last] = half ? [mesh.nLeft, mesh.sulc.length] : [0, mesh.nLeft];
    for (let i = first; i < last; i++) {
      if (name === "flat" && !inFlat[i]) continue;
      for (let k = 0; k < 3; k++) {
        low[k] = Math.min(low[k], shape[3 * i + k]);
        high[k] = Math.max(high[k], shape[3 * i + k]);
      }
    }
    found[name] = { centre: low.map((one, k) => (one + high[k]) / 2), size: low.map((one, k) => high[k] - one) };
  }
  return found;
}

/**
 * Return the direction in which each vertex faces, x y z after each other: the mean of its triangles', by their area.
 * @param {Float32Array} shape
 * @param {Uint16Array | Uint32Array} triangles
 */
function normalsOf(shape, triangles) {
  const normals = new Float32Array(shape.length);
  for (let i = 0; i < triangles.length; i += 3) {
    const [a, b, c] = [3 * triangles[i], 3 * triangles[i + 1], 3 * triangles[i + 2]];
    const [ux, uy, uz] = [shape[b] - shape[a], shape[b + 1] - shape[a + 1], shape[b + 2] - shape[a + 2]];
    const [vx, vy, vz] = [shape[c] - shape[a], shape[c + 1] - shape[a + 1], shape[c + 2] - shape[a + 2]];
    const normal = [uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx];
    for (const corner of [a, b, c]) for (let k = 0; k < 3; k++) normals[corner + k] += normal[k];
  }
  return normals;
}

/**
 * Return the values of corners, `size` each, of those of vertices.
 * @param {Float32Array} values
 * @param {number} size
 * @param {Uint32Array} corners
 */
function gathered(values, size, corners) {
  const found = new Float32Array(size * corners.length);
  for (let i = 0; i < corners.length; i++) {
    for (let k = 0; k < size; k++) found[size * i + k] = values[size * corners[i] + k];
  }
  return found;
}

/**
 * @param {WebGLRenderingContext} gl
 * @param {string} vertexSource
 * @param {string} fragmentSource
 */
function linked(gl, vertexSource, fragmentSource) {
  const program = /** @type {WebGLProgram} */ (gl.createProgram());
  for (const [kind, source] of /** @type {[number, string][]} */ ([
    [gl.VERTEX_SHADER, vertexSource],
    [gl.FRAGMENT_SHADER, fragmentSource],
  ])) {
    const shader = /** @type {WebGLShader} */ (gl.createShader(kind));
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.bindAttribLocation(program, 0, "place"); // which is never without values
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(`A shader of the surface is not taken by this browser: ${gl.getProgramInfoLog(program)}`);
  }
  return program;
}

/**
 * Return a picture of the letters L and R beside each other, in the colour of the text around the canvas.
 * @param {WebGLRenderingContext} gl
 * @param {HTMLCanvasElement} canvas
 */
function lettersTexture(gl, canvas) {
  const picture = document.createElement("canvas");
  [picture.width, picture.height] = [128, 64];
  const pen = /** @type {CanvasRenderingContext2D} */ (picture.getContext("2d"));
  const style = getComputedStyle(canvas);
  pen.font = `600 46px ${style.fontFamily || "sans-serif"}`;
  pen.fillStyle = style.color;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText("L", 32, 34);
  pen.fillText("R", 96, 34);
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, true);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
  return texture;
}
