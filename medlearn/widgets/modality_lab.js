// The modality lab in the browser: a slider or a list for each dial; Python answers with panels (modality_lab.py), which
// are drawn here: pictures on canvases, curves as charts.

const DASHES = [[], [6, 4], [2, 3]];

// The picture of one panel, at the resolution of the array; the page stretches it to its size.
function panelImage({ shape: [height, width, channels], colors }, bytes) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const opaque = (red, green, blue) => 0xff000000 | (blue << 16) | (green << 8) | red;
  if (channels) {
    for (let p = 0, q = 0; p < pixels.length; p++, q += 3) pixels[p] = opaque(bytes[q], bytes[q + 1], bytes[q + 2]);
  } else {
    const table = Uint32Array.from({ length: 256 }, (_, i) => opaque(...(colors.length ? colors[i] : [i, i, i])));
    for (let p = 0; p < pixels.length; p++) pixels[p] = table[bytes[p]];
  }
  return image;
}

// A panel on the page; `draw(panel, bytes)` fills it.
function picturePlace(first) {
  const stage = picturePanel("", first.title, { role: "img", tabIndex: -1 });
  const scale = element("div", { className: "medlearn-help" });
  stage.node.append(scale);
  const draw = (panel, bytes) => {
    show(stage.canvas, panelImage(panel, bytes));
    const [width, height] = panel.size;
    stage.canvas.style.aspectRatio = `${width} / ${height}`;
    stage.canvas.parentElement.style.width = `${width}px`;
    stage.canvas.setAttribute("aria-label", `${panel.title}, ${panel.scale}`);
    stage.node.firstChild.textContent = panel.title;
    scale.textContent = panel.scale;
  };
  return { node: stage.node, draw, redraw() {}, stop() {} };
}

function curvesPlace(first) {
  let now = first;
  const title = element("div");
  const chart = chartStage(first.title, 260, () => redraw());
  chart.canvas.style.width = "320px";
  const key = element("div", { className: "medlearn-help" });
  const redraw = () => {
    const { ink, blue, orange } = theme(chart.canvas);
    const inks = [blue, orange, ink];
    const [low, high] = now.y_limits;
    const curves = now.lines.map(({ y }, i) => ({
      points: now.x.map((x, k) => [x, clamp(y[k], [low, high])]), color: inks[i], dash: DASHES[i],
    }));
    const x = [now.x[0], now.x[now.x.length - 1]];
    drawChart(chart.canvas, { x, y: [low, high], xLabel: now.x_label, yLabel: now.y_label, curves });
  };
  const draw = (panel) => {
    now = panel;
    title.textContent = panel.title;
    const names = ["solid", "dashed", "dotted"];
    key.textContent = panel.lines.length > 1
      ? panel.lines.map(({ name }, i) => `${names[i]}: ${name}`).join(" · ") : "";
    requestAnimationFrame(redraw); // pictures first
  };
  const node = element("div", { className: "medlearn-panel" }, title, chart.node, key);
  return { node, draw, redraw, stop: chart.stop };
}

function render({ model, el }) {
  const { title, body, dials } = model.get("_scene");
  const turn = (name, value) => {
    model.set("settings", { ...model.get("settings"), [name]: value });
    showDials();
    model.save_changes();
  };
  const knobs = dials.map(({ name, label, stops, options }) => {
    if (options) {
      const list = choice(label, stops.map((stop) => [stop, stop]), (value) => turn(name, value));
      return { node: list.node, input: list.select, show: (value) => list.show(value) };
    }
    const nearest = (value) => {
      let best = 0;
      stops.forEach((stop, i) => { if (Math.abs(stop - value) < Math.abs(stops[best] - value)) best = i; });
      return best;
    };
    const knob = slider(label, [0, stops.length - 1], 1, (place) => turn(name, stops[place]));
    return { node: knob.node, input: knob.input, show: (value) => knob.show(nearest(value), words(value, 3)) };
  });
  const showDials = () => {
    const settings = model.get("settings");
    knobs.forEach((knob, i) => knob.show(settings[dials[i].name]));
  };

  const places = model.get("_answer").panels.map((panel) =>
    (panel.kind === "picture" ? picturePlace : curvesPlace)(panel));
  const told = readOut();
  const note = element("div", { className: "medlearn-note", role: "status" });
  const keys = "Arrow keys, PageUp, PageDown, Home and End turn the dial that has the focus.";
  el.append(explorerRoot(element("strong", {}, title), row(...knobs), note, panelRow(...places), told,
    help(`In the machine: ${body}.`, keys)));

  let waiting = false; // an answer has two traits, which come in one message: draw once for both
  const onAnswer = () => {
    if (!waiting) Promise.resolve().then(drawAnswer);
    waiting = true;
  };

  function drawAnswer() {
    waiting = false;
    const answer = model.get("_answer");
    const { buffer, byteOffset, byteLength } = model.get("_pixels"); // a DataView
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    let begin = 0;
    answer.panels.forEach((panel, i) => {
      const size = panel.kind === "picture" ? panel.shape.reduce((a, b) => a * b) : 0;
      places[i].draw(panel, bytes.subarray(begin, begin + size));
      begin += size;
    });
    told.textContent = answer.words;
  }

  // ---- Python: is it there?

  let kernel = "asked"; // then "there" or "away"
  const tellKernel = () => {
    for (const { input } of knobs) input.disabled = kernel === "away";
    note.hidden = kernel !== "away";
    note.textContent = "No kernel is running: this is the last picture; to turn the dials, run the cell.";
  };
  const stopAsking = askForKernel(model, (answer) => {
    kernel = answer;
    tellKernel();
  });
  model.on("change:_pixels change:_answer", onAnswer);
  model.on("change:settings", showDials);

  tellKernel();
  showDials();
  drawAnswer();
  const endTheme = onTheme(() => places.forEach((place) => place.redraw()));
  return () => {
    stopAsking();
    model.off("change:_pixels change:_answer", onAnswer);
    model.off("change:settings", showDials);
    [endTheme, ...places.map((place) => place.stop)].forEach((end) => end());
  };
}

export default { render };
