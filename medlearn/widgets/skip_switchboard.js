// The skip switchboard in the browser. Python runs the network (skip_switchboard.py); what it says with every gain at 0
// or 1 was sent at the beginning, in the order of counting in binary, so that these settings need no kernel.

const captionOf = (name) => name.replace("_", " "); // skip_1: skip 1
const inSteps = (value) => Math.round(20 * value) / 20; // steps of 0.05 without the dust of binary fractions

// Place of a setting among those sent; -1 if a gain is neither 0 nor 1.
const placeOfSwitches = (gains) =>
  gains.every((gain) => gain === 0 || gain === 1) ? gains.reduce((place, gain) => 2 * place + gain, 0) : -1;

function countPixels(region, truth) {
  const count = { region: 0, truth: 0, both: 0 };
  for (let p = 0; p < truth.length; p++) {
    count.region += region[p];
    count.truth += truth[p];
    count.both += region[p] & truth[p];
  }
  return count;
}

async function render({ model, el }) {
  const scene = model.get("_scene");
  const [height, width] = scene.shape;
  const size = height * width;
  const sent = await unpack(model, "_pixels", "uint8");
  const [gray, truth] = [sent.subarray(0, size), sent.subarray(size)];
  const switched = await unpack(model, "_switched", "uint8");
  const identity = Uint8Array.from({ length: 256 }, (_, i) => i);
  const limits = Object.fromEntries(scene.gains.map((name) => [name, [0, 1]]));
  const { now, set, stop } = bind(model, limits, update);
  const gainsNow = () => scene.gains.map((name) => now()[name]);

  const sliders = scene.gains.map((name) =>
    slider(captionOf(name), [0, 1], 0.1, (value) => turn(name, inSteps(value)), 0.05));
  const all = (skip, bottleneck) =>
    Object.fromEntries(scene.gains.map((name) => [name, name === "bottleneck" ? bottleneck : skip]));
  const presets = { "everything on": all(1, 1), "no skips": all(0, 1), "no bottleneck": all(1, 0) };
  const preset = chips("try", Object.keys(presets).map((name) => [name, name]), (name) => set(presets[name]));
  const titles = ["slice", "probability (black 0, white 1)"];
  const panels = titles.map((title) => picturePanel(title, title, { role: "img", tabIndex: -1 }));
  const told = readOut();
  const note = element("div", { className: "medlearn-note", role: "status" });
  const root = explorerRoot(
    preset, ...sliders, note, panelRow(...panels), legend([scene.looks.network, scene.looks.truth]), told,
    help("A gain of 1 is the network as it was trained, 0 cuts the connection.", `Shown: ${scene.note}.`));

  // Without a kernel a slider is a switch.
  function turn(name, value) {
    if (kernel !== "away") return set({ [name]: value });
    const before = now()[name];
    const end = Math.abs(value - before) < 0.5 ? Number(value > before) : Math.round(value);
    const rounded = Object.entries(now()).map(([other, gain]) => [other, Math.round(gain)]);
    set({ ...Object.fromEntries(rounded), [name]: end });
  }

  // The newest probabilities: for a moment, those of the gains before.
  function probabilityOf(gains) {
    const place = placeOfSwitches(gains);
    if (place >= 0) return switched.subarray(place * size, (place + 1) * size);
    const view = model.get("_probability");
    return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  }

  function update() {
    const gains = gainsNow();
    sliders.forEach((entry, k) => entry.show(gains[k], gains[k].toFixed(2)));
    const matches = ([, wanted]) => scene.gains.every((name, k) => wanted[name] === gains[k]);
    preset.show(Object.entries(presets).find(matches)?.[0] ?? null);
    tellKernel(placeOfSwitches(gains) < 0 && model.get("_shown").some((gain, k) => gain !== gains[k]));
    draw(probabilityOf(gains));
  }

  function draw(probability) {
    const region = Uint8Array.from(probability, (value) => Number(value >= scene.half));
    const layer = (slice) => enlarge(slice, width, scene);
    const { network, truth: truthLook } = scene.looks;
    const pictures = [gray, probability].map((slice) => grayPicture(layer(slice), identity, scene.columns.length));
    paintMask(pictures[0], layer(region), network);
    for (const picture of pictures) paintMask(picture, layer(truth), truthLook);
    panels.forEach(({ canvas }, k) => show(canvas, pictures[k]));
    const count = countPixels(region, truth);
    const dice = (2 * count.both) / (count.region + count.truth);
    const area = (pixels) => `${words((pixels * scene.spacing[0] * scene.spacing[1]) / 100, 3)} cm²`;
    told.textContent =
      `Dice of this slice ${dice.toFixed(3)} · network ${area(count.region)} · truth ${area(count.truth)}`;
    panels.forEach(({ canvas }, k) => canvas.setAttribute("aria-label", `${titles[k]}. ${told.textContent}`));
  }

  // ---- Python: is it there, is it at work?

  let kernel = "asked"; // then "there" or "away"

  let patience; // nothing is said of a short wait

  function tellKernel(waiting) {
    clearTimeout(patience);
    note.hidden = kernel !== "away";
    note.textContent = kernel === "away" ? "No kernel is running: each slider is a switch, on or off." : "";
    if (!waiting || kernel === "away") return;
    patience = setTimeout(() => {
      note.hidden = false;
      note.textContent = "Python computes …";
    }, 500);
  }

  const stopAsking = askForKernel(model, (answer) => {
    kernel = answer;
    for (const { input } of sliders) input.step = kernel === "there" ? 0.05 : 1;
    update();
  });
  model.on("change:_shown", update);

  el.append(root);
  update();
  return () => {
    stopAsking();
    clearTimeout(patience);
    model.off("change:_shown", update);
    stop();
  };
}

export default { render };
