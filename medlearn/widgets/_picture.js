// What the explorers of single slices share: `front_end` in _base.py puts this text before their own. No exports.
// Gray values travel as levels: whole numbers from 0, value = scene.offset + scene.scale * level (see _levels.py).

// ---- data ----------------------------------------------------------------------------------------------------------

async function inflate(view) {
  const stream = new Blob([view]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

// Bytes of the trait `name`, sent as zlib, as a typed array.
async function unpack(model, name, dtype) {
  const Numbers = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array, float32: Float32Array };
  return new Numbers[dtype](await inflate(model.get(name)));
}

const clamp = (value, [low, high]) => Math.min(Math.max(value, low), high);

// A number as a reader wants it: few digits, a real minus sign.
function words(value, digits = 4) {
  if (!Number.isFinite(value)) return "–";
  const plain = Number.isInteger(value) ? value : Number(value.toPrecision(digits));
  return String(plain).replace("-", "−");
}

// ---- the picture ---------------------------------------------------------------------------------------------------
// A picture is an ImageData of rows.length × columns.length pixels; `rows` and `columns` say which row and column of
// the slice lies under each of them. A layer holds one number for each pixel of the picture.

// Index of the voxel under the center of each pixel along one side; `_samples` of _one_slice.py is its twin.
function samples(n, spacing, pixel) {
  const pixels = Math.max(1, Math.floor((n * spacing) / pixel + 0.5));
  return Array.from({ length: pixels }, (_, i) => Math.min(Math.floor(((i + 0.5) * pixel) / spacing), n - 1));
}

// Level to gray 0…255, for the window [low, high] in levels.
function grayTable(n, low, high) {
  const table = new Uint8ClampedArray(n); // clamps, and rounds
  for (let i = 0; i < n; i++) table[i] = (255 * (i - low)) / (high - low);
  return table;
}

// Numbers of a slice, `width` wide, at each pixel of the picture.
function enlarge(slice, width, { rows, columns }) {
  const layer = new slice.constructor(rows.length * columns.length);
  let p = 0;
  for (const row of rows) for (const column of columns) layer[p++] = slice[row * width + column];
  return layer;
}

function grayPicture(layer, table, width) {
  const image = new ImageData(width, layer.length / width);
  const pixels = new Uint32Array(image.data.buffer);
  const colors = Uint32Array.from(table, (gray) => 0xff000000 | (gray * 0x010101)); // opaque, the same in all channels
  for (let p = 0; p < layer.length; p++) pixels[p] = colors[layer[p]];
  return image;
}

// What each channel becomes when a color is laid over it: 3 tables of 256, rounded as a canvas stores it.
const mixture = (color, alpha) =>
  color.map((channel) => Uint8ClampedArray.from({ length: 256 }, (_, old) => old * (1 - alpha) + channel * alpha));

// Lay a mask (a layer of 0 and 1) over the picture in a look: {color, dash, fill, contour}. The contour is where a
// pixel up to `contour` away along a row or a column is outside the mask; the border of the picture makes none.
function paintMask(image, layer, { color, dash, fill, contour }) {
  const { width, height, data } = image;
  const [red, green, blue] = mixture(color, fill);
  const drawn = Uint8Array.from(dash, Number);
  for (let row = 0, p = 0; row < height; row++) {
    const [up, down] = [Math.min(contour, row) * width, Math.min(contour, height - 1 - row) * width];
    for (let column = 0; column < width; column++, p++) {
      if (!layer[p]) continue;
      const q = 4 * p;
      let inner = 1;
      for (let n = p - up; n <= p + down; n += width) inner &= layer[n];
      const last = p + Math.min(contour, width - 1 - column);
      for (let n = p - Math.min(contour, column); n <= last; n++) inner &= layer[n];
      if (!inner && drawn[(2 * row + 3 * column) % drawn.length]) {
        [data[q], data[q + 1], data[q + 2]] = color;
      } else if (fill) {
        data[q] = red[data[q]];
        data[q + 1] = green[data[q + 1]];
        data[q + 2] = blue[data[q + 2]];
      }
    }
  }
}

function show(canvas, image) {
  if (canvas.width !== image.width || canvas.height !== image.height) {
    [canvas.width, canvas.height] = [image.width, image.height];
    canvas.parentElement.style.width = `${image.width}px`;
  }
  plainPen(canvas).putImageData(image, 0, 0);
}

// A pen whose canvas stays in main memory: pictures come from there, and a small chart is drawn faster there as well.
const plainPen = (canvas) => canvas.getContext("2d", { willReadFrequently: true });

// Row and column of the slice under the pointer.
function indexAt(event, canvas, { rows, columns }) {
  const box = canvas.getBoundingClientRect();
  const pick = (list, share) => list[clamp(Math.floor(share * list.length), [0, list.length - 1])];
  return [pick(rows, (event.clientY - box.top) / box.height), pick(columns, (event.clientX - box.left) / box.width)];
}

// Where the middle of a row and a column lies, in pixels of the picture.
function placeOf([row, column], { rows, columns }) {
  const middle = (list, index) => (list.indexOf(index) + list.lastIndexOf(index) + 1) / 2;
  return [middle(columns, column), middle(rows, row)];
}

// A picture's canvas with one for marks on top of it, in one box.
function pictureStage(label, properties = {}) {
  const canvas = element("canvas", { className: "medlearn-picture", tabIndex: 0, "aria-label": label, ...properties });
  const marks = element("canvas", { className: "medlearn-marks", "aria-hidden": "true" });
  return { node: element("div", { className: "medlearn-stage" }, canvas, marks), canvas, marks };
}

// An empty canvas and a pen for it, whose lines and letters stand out on any gray.
function markPen(marks, width, height) {
  const pen = sharpPen(marks, width, height);
  const line = (...points) => {
    for (const [style, thickness] of [["rgba(0,0,0,0.75)", 4], ["white", 1.5]]) {
      Object.assign(pen, { strokeStyle: style, lineWidth: thickness });
      pen.beginPath();
      points.forEach(([x, y], i) => (i % 2 ? pen.lineTo(x, y) : pen.moveTo(x, y)));
      pen.stroke();
    }
  };
  const text = (letters, x, y, textAlign = "left", textBaseline = "bottom") => {
    Object.assign(pen, { font: "13px sans-serif", textAlign, textBaseline, lineJoin: "round", lineWidth: 3 });
    Object.assign(pen, { strokeStyle: "rgba(0,0,0,0.75)", fillStyle: "white" });
    pen.strokeText(letters, x, y);
    pen.fillText(letters, x, y);
  };
  const cross = ([x, y]) =>
    line([x - 14, y], [x - 5, y], [x + 5, y], [x + 14, y], [x, y - 14], [x, y - 5], [x, y + 5], [x, y + 14]);
  const scaleBar = (pixel) => {
    const length = niceLength((width * pixel) / 3);
    const [left, bottom, bar] = [8, height - 8, length / pixel];
    line([left, bottom], [left + bar, bottom], [left, bottom - 4], [left, bottom + 4],
      [left + bar, bottom - 4], [left + bar, bottom + 4]);
    text(`${words(length, 1)} mm`, left, bottom - 5);
  };
  return { pen, line, text, cross, scaleBar };
}

// The canvas emptied, with all the screen's pixels; coordinates of the pen are CSS pixels. To give a canvas a size, even
// the one that it has, makes the browser throw it away and make a new one, which takes longer than to draw on it.
function sharpPen(canvas, width, height) {
  const sharp = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * sharp), Math.round(height * sharp)];
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  const pen = plainPen(canvas);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, wide, high);
  pen.setTransform(sharp, 0, 0, sharp, 0, 0);
  return pen;
}

function niceLength(longest) {
  const power = 10 ** Math.floor(Math.log10(longest));
  return [5, 2, 1].map((digit) => digit * power).find((length) => length <= longest);
}

// ---- charts --------------------------------------------------------------------------------------------------------

// Colors that suit the page, light or dark.
function theme(node) {
  const ink = getComputedStyle(node).color || "rgb(33, 33, 33)";
  const [red, green, blue] = ink.match(/[\d.]+/g).map(Number);
  const dark = red + green + blue > 384; // bright letters stand on a dark page
  return { ink, dark, blue: dark ? "#56b4e9" : "#0072b2", orange: dark ? "#e69f00" : "#b35900" };
}

// Call `redraw` when the page turned dark or light, once its new colors are there; returns what ends that.
function onTheme(redraw) {
  const observer = new MutationObserver(() => requestAnimationFrame(() => redraw()));
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name"] });
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  return () => observer.disconnect();
}

const CHART = { left: 52, right: 12, top: 16, bottom: 34 }; // margins in CSS pixels

// A canvas whose chart is drawn by `draw(canvas)`, again whenever its size changes.
function chartStage(label, height, draw) {
  const canvas = element("canvas", { className: "medlearn-chart", role: "img", "aria-label": label });
  canvas.style.height = `${height}px`;
  const observer = new ResizeObserver(() => draw(canvas));
  observer.observe(canvas);
  return { node: canvas, canvas, stop: () => observer.disconnect() };
}

// Draw bars, curves and upright lines over one pair of axes; returns value ↔ place, or null while it has no size.
//   x, y: [low, high]; xLabel, yLabel: words; ticks: false for no numbers along y; root: true for a square-root scale
//   bars: {heights, color(value)}: bins of equal width from x[0] to x[1]
//   curves: [{points: [[x, y] …], color, dash, steps, share}]: with `share`, y goes from 0, the bottom, to 1, the top
//   lines: [{x, label, color, dash}]; dots: [[x, y, color] …]
function drawChart(canvas, settings) {
  const { x, y, xLabel, yLabel, bars, curves = [], lines = [], dots = [], ticks = true, root = false } = settings;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (width < 100 || height < 50) return null;
  const pen = sharpPen(canvas, width, height);
  const { ink } = theme(canvas);
  const { left, right, top, bottom } = CHART;
  const span = [Math.max(x[1] - x[0], 1e-12), Math.max(y[1] - y[0], 1e-12)];
  const toX = (value) => left + ((value - x[0]) / span[0]) * (width - left - right);
  const rise = (share) => height - bottom - share * (height - top - bottom);
  const toY = (value) => rise(root ? Math.sqrt((value - y[0]) / span[1]) : (value - y[0]) / span[1]);
  const toValue = (place) => clamp(x[0] + ((place - left) / (width - left - right)) * span[0], x);

  if (bars) {
    const n = bars.heights.length;
    for (let i = 0; i < n; i++) {
      const [from, to] = [x[0] + (i / n) * span[0], x[0] + ((i + 1) / n) * span[0]];
      pen.fillStyle = bars.color((from + to) / 2, ink);
      const level = toY(Math.min(bars.heights[i], y[1]));
      pen.fillRect(toX(from), level, Math.max(toX(to) - toX(from), 1), toY(y[0]) - level);
    }
  }
  Object.assign(pen, { strokeStyle: ink, fillStyle: ink, lineWidth: 1, font: "12px sans-serif" });
  pen.globalAlpha = 0.6;
  pen.strokeRect(left, top, width - left - right, height - top - bottom);
  pen.globalAlpha = 1;
  Object.assign(pen, { textAlign: "center", textBaseline: "top" });
  for (const tick of niceTicks(x, 6)) pen.fillText(words(tick), toX(tick), height - bottom + 4);
  pen.fillText(xLabel, (left + width - right) / 2, height - 14);
  if (ticks) {
    Object.assign(pen, { textAlign: "right", textBaseline: "middle" });
    const numbers = root ? [0, ...[20, 4, 1].map((part) => niceLength(y[1] / part))] : niceTicks(y, 3);
    for (const tick of numbers) pen.fillText(words(tick), left - 4, toY(tick));
  }
  pen.save();
  pen.translate(11, (top + height - bottom) / 2);
  pen.rotate(-Math.PI / 2);
  Object.assign(pen, { textAlign: "center", textBaseline: "middle" });
  pen.fillText(yLabel, 0, 0);
  pen.restore();

  for (const { points, color, dash = [], steps = false, share = false } of curves) {
    const place = share ? rise : toY;
    Object.assign(pen, { strokeStyle: color, lineWidth: 2 });
    pen.setLineDash(dash);
    pen.beginPath();
    points.forEach(([a, b], i) => {
      if (steps && i) pen.lineTo(toX(a), place(points[i - 1][1]));
      pen.lineTo(toX(a), place(b));
    });
    pen.stroke();
  }
  for (const { x: at, label, color, dash = [] } of lines) {
    Object.assign(pen, { strokeStyle: color, fillStyle: color, lineWidth: 2, textBaseline: "bottom" });
    pen.setLineDash(dash);
    pen.beginPath();
    pen.moveTo(toX(at), top);
    pen.lineTo(toX(at), height - bottom);
    pen.stroke();
    pen.textAlign = toX(at) < left + 30 ? "left" : toX(at) > width - right - 30 ? "right" : "center";
    pen.fillText(label, toX(at), top - 2);
  }
  pen.setLineDash([]);
  for (const [a, b, color] of dots) {
    Object.assign(pen, { fillStyle: color, strokeStyle: ink, lineWidth: 1 });
    pen.beginPath();
    pen.arc(toX(a), toY(b), 5, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
  }
  return { toX, toY, toValue };
}

function niceTicks([low, high], most) {
  const least = niceLength((high - low) / most || 1);
  const step = [1, 2, 5, 10].map((factor) => factor * least).find((length) => (high - low) / length <= most);
  const first = Math.ceil(low / step - 1e-9);
  const n = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: n }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// ---- the page ------------------------------------------------------------------------------------------------------

function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

const row = (...parts) => element("div", { className: "medlearn-row" }, ...parts.map((part) => part.node ?? part));

// Arrows, PageUp, PageDown, Home and End as on a slider; null for every other key.
function stepOfKey(key, value, [first, last], step = 1) {
  const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
  if (key === "Home") return first;
  if (key === "End") return last;
  return key in steps ? clamp(value + steps[key] * step, [first, last]) : null;
}

const isShortcut = (event) => event.ctrlKey || event.metaKey || event.altKey;

// A labeled slider; the pointer reaches every value, a key moves by `step`.
function slider(caption, limits, step, onInput, resolution = step) {
  let [range, now] = [limits, limits[0]];
  const [min, max] = range;
  const properties = { type: "range", className: "medlearn-slider", "aria-label": caption };
  const input = element("input", { ...properties, min, max, step: resolution });
  const output = element("output");
  input.addEventListener("input", () => onInput(Number(input.value)));
  input.addEventListener("keydown", (event) => {
    const next = isShortcut(event) ? null : stepOfKey(event.key, now, range, step);
    if (next === null) return;
    event.preventDefault();
    onInput(next);
  });
  const set = (value, text) => {
    now = value;
    input.value = value;
    output.textContent = text;
    input.setAttribute("aria-valuetext", `${caption} ${text}`);
  };
  const limit = (low, high) => {
    range = [low, high];
    [input.min, input.max] = range;
  };
  return { node: element("label", {}, element("span", {}, caption), input, output), input, show: set, limit };
}

// A list to choose one of: entries are [value, words].
function choice(caption, entries, onInput) {
  const options = entries.map(([value, text]) => element("option", { value }, text));
  const select = element("select", { "aria-label": caption }, ...options);
  select.addEventListener("change", () => onInput(select.value));
  const node = element("label", {}, element("span", {}, caption), select);
  return { node, select, show: (value) => (select.value = value) };
}

// Buttons side by side; the pressed one is framed, bold and said to be pressed. `show(null)` presses none.
function chips(caption, entries, onPick) {
  const buttons = entries.map(([value, text]) => {
    const button = element("button", { type: "button", className: "medlearn-chip", "aria-pressed": "false" }, text);
    button.addEventListener("click", () => onPick(value));
    return [value, button];
  });
  const group = element("span", { className: "medlearn-entry", role: "group", "aria-label": caption },
    element("span", {}, caption), ...buttons.map(([, button]) => button));
  const show = (value) => {
    for (const [own, button] of buttons) button.setAttribute("aria-pressed", String(own === value));
  };
  return { node: group, show, buttons: Object.fromEntries(buttons) };
}

// A button that is pressed or not.
function toggle(text, onInput) {
  const button = element("button", { type: "button", className: "medlearn-chip", "aria-pressed": "false" }, text);
  button.addEventListener("click", () => onInput(button.getAttribute("aria-pressed") !== "true"));
  return { node: button, show: (on) => button.setAttribute("aria-pressed", String(on)) };
}

// Ask Python whether it is there. `tell` hears "there", or "away" after a second and a half; it returns how to stop.
function askForKernel(model, tell) {
  const patience = setTimeout(() => tell("away"), 1500);
  const onMessage = (message) => {
    if (message !== "there is a kernel") return;
    clearTimeout(patience);
    tell("there");
  };
  model.on("msg:custom", onMessage);
  model.send("is there a kernel?");
  return () => {
    clearTimeout(patience);
    model.off("msg:custom", onMessage);
  };
}

const STROKES = { solid: "", dashed: "7 4", dotted: "2 3", dashdot: "9 3 2 3" };

// What each line in the picture means: overlays are {name, color, style}.
function legend(overlays) {
  const entries = overlays.map(({ name, color, style }) => {
    const swatch = element("span", { className: "medlearn-swatch" });
    swatch.innerHTML = `<svg width="30" height="10" aria-hidden="true"><rect width="30" height="10" fill="#333"/>
      <line x1="1" x2="29" y1="5" y2="5" stroke="rgb(${color})" stroke-width="3" stroke-dasharray="${STROKES[style]}"/>
      </svg>`;
    return element("span", { className: "medlearn-entry" }, swatch, `${name} (${style} line)`);
  });
  return element("div", { className: "medlearn-row" }, ...entries);
}

const readOut = () => element("div", { className: "medlearn-read-out", "aria-live": "off" });
const help = (...parts) => element("div", { className: "medlearn-help" }, parts.filter(Boolean).join(" "));

// The explorer's box. JupyterLab's command mode would take the keys that are pressed in it for itself.
function explorerRoot(...parts) {
  const root = element("div", { className: "medlearn-explorer" }, ...parts.map((part) => part.node ?? part));
  root.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
  });
  return root;
}

// Read and set the traits named in `limits` (name to [low, high], or to a list of options), and call `update` once
// after every change, whether it came from a hand or from Python. With `stop` it ends.
function bind(model, limits, update) {
  let busy = false;
  const names = Object.keys(limits);
  const now = () => Object.fromEntries(names.map((name) => [name, model.get(name)]));
  const set = (changes) => {
    busy = true;
    for (const [name, value] of Object.entries(changes)) {
      if (typeof value !== "number") model.set(name, value);
      else if (!Number.isNaN(value)) model.set(name, clamp(value, limits[name]));
    }
    busy = false;
    update();
    model.save_changes();
  };
  const onChange = () => busy || update();
  for (const name of names) model.on(`change:${name}`, onChange);
  return { now, set, stop: () => names.forEach((name) => model.off(`change:${name}`, onChange)) };
}
