// The slice explorer in the browser. Python sends the volume once (slice_explorer.py); everything else happens here,
// so that the explorer also works on a page without a kernel. `paint` is the twin of `SliceExplorer.render`.

const AXES = ["z", "y", "x"];
const STATE = ["axis", "t", "z", "y", "x", "level", "width", "opacity"];

async function loadScene(model) {
  const scene = model.get("_scene");
  const [voxels, labels] = await Promise.all([
    unpack(model, "_voxels", scene.dtype === "uint8" ? "uint8" : "uint16"), unpack(model, "_labels", "uint8"),
  ]);
  return { ...scene, voxels, labels };
}

// ---- the picture ---------------------------------------------------------------------------------------------------

// How a slice across `axis` lies in the volume: the voxel index of each row and column, and the steps between voxels.
function plane(scene, axis) {
  const [, nz, ny, nx] = scene.shape;
  const strides = [ny * nx, nx, 1];
  const across = AXES.indexOf(axis);
  const [down, right] = [0, 1, 2].filter((i) => i !== across);
  const [rows, columns] = [down, right].map((i) => samples(scene.shape[i + 1], scene.spacing[i], scene.pixel));
  if (down === 0) rows.reverse(); // the head, high z, belongs at the top
  return { across, down, right, rows, columns, strides, frame: nz * ny * nx };
}

// Values of one slice: `out[pixel] = map(voxels[...])`.
function cut(voxels, start, { rows, columns, strides, down, right }, out, map) {
  const across = columns.map((column) => column * strides[right]);
  let pixel = 0;
  for (const row of rows) {
    const first = start + row * strides[down];
    for (let i = 0; i < across.length; i++) out[pixel++] = map[voxels[first + across[i]]];
  }
  return out;
}

function grays(scene, level, width) {
  const table = new Uint8ClampedArray(scene.dtype === "uint8" ? 256 : 65536); // clamps, and rounds
  const low = level - width / 2;
  for (let i = 0; i < table.length; i++) table[i] = (255 * (scene.offset + scene.scale * i - low)) / width;
  return table;
}

const IDENTITY = Uint8Array.from({ length: 256 }, (_, i) => i);

function isContour(layer, p, row, column, height, width, reach) {
  const own = layer[p];
  for (let d = 1; d <= reach; d++) {
    if (row >= d && layer[p - d * width] !== own) return true;
    if (row + d < height && layer[p + d * width] !== own) return true;
    if (column >= d && layer[p - d] !== own) return true;
    if (column + d < width && layer[p + d] !== own) return true;
  }
  return false;
}

export function paint(scene, state) {
  const lie = plane(scene, state.axis);
  const [height, width] = [lie.rows.length, lie.columns.length];
  const image = new ImageData(width, height);
  const pixels = image.data;
  const inFrame = state[state.axis] * lie.strides[lie.across];

  const table = grays(scene, state.level, state.width);
  const gray = cut(scene.voxels, state.t * lie.frame + inFrame, lie, new Uint8Array(width * height), table);
  for (let p = 0, q = 0; p < gray.length; p++, q += 4) {
    pixels[q] = pixels[q + 1] = pixels[q + 2] = gray[p];
    pixels[q + 3] = 255;
  }

  const blend = (q, color, alpha) => {
    for (let i = 0; i < 3; i++) pixels[q + i] = pixels[q + i] * (1 - alpha) + color[i] * alpha;
  };
  const [masks, frames] = scene.masks;
  const layers = Array.from({ length: masks }, (_, m) => {
    const start = (m * frames + Math.min(state.t, frames - 1)) * lie.frame + inFrame;
    return cut(scene.labels, start, lie, new Uint8Array(width * height), IDENTITY);
  });
  for (const layer of layers) {
    for (let p = 0; p < layer.length; p++)
      if (layer[p]) blend(4 * p, scene.overlays[layer[p] - 1].color, scene.fill * state.opacity);
  }
  for (const layer of layers) {
    for (let p = 0; p < layer.length; p++) {
      if (!layer[p]) continue;
      const [row, column] = [Math.floor(p / width), p % width];
      const { color, dash } = scene.overlays[layer[p] - 1];
      if (dash[(2 * row + 3 * column) % dash.length] === "1" &&
          isContour(layer, p, row, column, height, width, scene.contour)) blend(4 * p, color, state.opacity);
    }
  }
  return image;
}

// ---- what is known of a voxel --------------------------------------------------------------------------------------

function describeVoxel(scene, state, at) {
  const [, nz, ny, nx] = scene.shape;
  const index = ((state.t * nz + at[0]) * ny + at[1]) * nx + at[2];
  const stored = scene.voxels[index];
  const value = scene.offset + scene.scale * stored;
  const original = at.map((i, k) => (k ? Math.floor(i * scene.block + (scene.block - 1) / 2) : i));
  const names = scene.patient ? ["z", "y", "x"] : ["y", "x"];
  const parts = [`voxel (${names.join(", ")}) = (${original.slice(-names.length).join(", ")})`];
  const world = scene.affine.slice(0, 3).map((row) => row[0] * at[0] + row[1] * at[1] + row[2] * at[2] + row[3]);
  const mm = world.slice(0, names.length).map((w) => (Math.abs(w) < 0.005 ? 0 : w).toFixed(2).replace("-", "−"));
  parts.push(scene.patient ? `(x, y, z) = (${mm.join(", ")}) mm LPS` : `(x, y) = (${mm.join(", ")}) mm`);
  parts.push(`value ${scene.exact ? words(value, 17) : `≈ ${words(value)}`}`);
  const [masks, frames] = scene.masks;
  const volume = nz * ny * nx;
  for (let m = 0; m < masks; m++) {
    const start = (m * frames + Math.min(state.t, frames - 1)) * volume;
    const label = scene.labels[start + (index % volume)];
    if (label) parts.push(scene.overlays[label - 1].name);
  }
  return parts.join(" · ");
}

// ---- decorations ---------------------------------------------------------------------------------------------------

function decorate(canvas, scene, state, lie) {
  const [height, width] = [lie.rows.length, lie.columns.length];
  const { text, cross, scaleBar } = markPen(canvas, width, height);
  cross(placeOf([state[AXES[lie.down]], state[AXES[lie.right]]], lie));
  scaleBar(scene.pixel);
  if (scene.patient && Math.min(width, height) >= 100) {
    const [begins, ends] = [scene.sides[lie.right], scene.sides[lie.down]];
    const [top, low] = lie.down === 0 ? [ends[1], ends[0]] : ends;
    text(begins[0], 5, height / 2, "left", "middle");
    text(begins[1], width - 5, height / 2, "right", "middle");
    text(top, width / 2, 5, "center", "top");
    text(low, width / 2, height - 5, "center", "bottom");
  }
}

// ---- the page ------------------------------------------------------------------------------------------------------

// A field for a number with its caption before it.
function number(caption, range, onInput) {
  const step = 10 ** Math.floor(Math.log10(range[1] - range[0]) - 2);
  const input = element("input", { type: "number", step: Math.min(step, 1), "aria-label": `window ${caption}` });
  input.addEventListener("change", () => onInput(input.value === "" ? NaN : Number(input.value)));
  const show = (value) => {
    input.value = Number(value.toPrecision(5));
  };
  return { node: element("label", {}, element("span", {}, caption), input), show };
}

async function render({ model, el }) {
  const scene = await loadScene(model);
  const limits = scene.allowed;
  const { now, set, stop } = bind(model, Object.fromEntries(STATE.map((name) => [name, limits[name]])), () => update());
  const move = (value) => set({ [now().axis]: Math.round(value) });

  const { node: stage, canvas, marks } = pictureStage(
    "Slice. Arrow keys, PageUp, PageDown, Home and End change it.", { role: "slider" });
  const line = readOut();

  const names = scene.patient ? { z: "z", y: "y", x: "x" } : {};
  const axis = choice("slices across", Object.entries(names), (value) => set({ axis: value }));
  const slice = slider("slice", [0, 1], 1, move);
  const time = slider("time", limits.t, 1, (value) => set({ t: value }));
  const opacity = slider("overlay", [0, 100], 5, (value) => set({ opacity: value / 100 }));
  const level = number("level", limits.level, (value) => set({ level: value }));
  const width = number("width", limits.width, (value) => set({ width: value }));
  const preset = choice("window", [...Object.keys(scene.presets).map((name) => [name, name]), ["", "by hand"]], (name) => {
    if (name) set({ level: scene.presets[name][0], width: scene.presets[name][1] });
  });

  const root = explorerRoot();
  if (scene.patient) root.append(row(axis, slice));
  if (scene.shape[0] > 1) root.append(row(time));
  root.append(stage, line, row(preset, level, width));
  if (scene.overlays.length) root.append(row(opacity), legend(scene.overlays));
  const hint = "Drag: window. Click: cursor. Arrow keys and wheel (once the picture has the focus): slices.";
  root.append(help([hint, scene.note].filter(Boolean).join(" — ")));

  function update() {
    const state = now();
    const lie = plane(scene, state.axis);
    show(canvas, paint(scene, state));
    decorate(marks, scene, state, lie);
    const at = state[state.axis];
    const [first, last] = limits[state.axis];
    const text = `${state.axis} = ${at} of ${first}–${last}`;
    canvas.setAttribute("aria-valuemin", first);
    canvas.setAttribute("aria-valuemax", last);
    canvas.setAttribute("aria-valuenow", at);
    canvas.setAttribute("aria-valuetext", text);
    axis.show(state.axis);
    slice.limit(first, last);
    slice.show(at, text);
    time.show(state.t, `t = ${state.t} of 0–${limits.t[1]}`);
    opacity.show(Math.round(100 * state.opacity), `${Math.round(100 * state.opacity)} %`);
    level.show(state.level);
    width.show(state.width);
    const isShown = ([l, w]) => l === state.level && w === state.width;
    preset.show(Object.keys(scene.presets).find((name) => isShown(scene.presets[name])) ?? "");
    showCursor();
  }

  function showCursor() {
    const state = now();
    line.textContent = describeVoxel(scene, state, AXES.map((name) => state[name]));
  }

  // Index (z, y, x) of the voxel under the pointer.
  function voxelAt(event) {
    const state = now();
    const lie = plane(scene, state.axis);
    const at = AXES.map((name) => state[name]);
    [at[lie.down], at[lie.right]] = indexAt(event, canvas, lie);
    return at;
  }

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    const { level, width } = now();
    drag = { x: event.clientX, y: event.clientY, level, width, moved: false };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) {
      line.textContent = describeVoxel(scene, now(), voxelAt(event));
      return;
    }
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    drag.moved ||= Math.hypot(dx, dy) > 3;
    if (drag.moved) set({ width: drag.width * 2 ** (dx / 150), level: drag.level + (dy / 300) * drag.width });
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) {
      const [z, y, x] = voxelAt(event);
      set({ z, y, x });
    }
    drag = null;
  });
  canvas.addEventListener("pointercancel", () => (drag = null));
  canvas.addEventListener("pointerleave", () => showCursor());
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas) return; // whoever scrolls the page past the picture goes on scrolling
    event.preventDefault();
    const state = now();
    move(state[state.axis] - Math.sign(event.deltaY));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (isShortcut(event)) return;
    const state = now();
    const next = stepOfKey(event.key, state[state.axis], limits[state.axis]);
    if (next === null) return;
    event.preventDefault();
    move(next);
  });
  update();
  el.append(root);
  return stop;
}

export default { render };
