// The augment explorer in the browser: a slider for each strength, a dial for all of them, a new draw. Python changes
// the slice and draws (augment_explorer.py); what arrives is one byte for each pixel of two panels, and a palette.

const CAPTIONS = {
  strength: "dial: all strengths ×", rotation_deg: "rotation, degrees", translation_mm: "translation, mm",
  scale: "scaling", shear: "shear", elastic_mm: "elastic, mm", contrast: "contrast", brightness: "brightness",
  gamma: "gamma", bias: "coil brightness", noise: "noise", blur_mm: "blur, mm", low_resolution: "coarse pixels",
};

// A step of a slider from 0 to `most`: at least twenty of them, a number with one digit.
const stepOf = (most) => niceLength(most / 20);
const tidy = (value) => Number(value.toPrecision(6));

function palettePicture(bytes, [height, width], palette) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const colors = Uint32Array.from(palette, ([red, green, blue]) => 0xff000000 | (blue << 16) | (green << 8) | red);
  for (let p = 0; p < pixels.length; p++) pixels[p] = colors[bytes[p]];
  return image;
}

function render({ model, el }) {
  const scene = model.get("_scene");
  const numbers = { ...scene.sliders, number: [0, scene.draws - 1] };
  const names = [...Object.keys(numbers), ...Object.keys(scene.options)];
  const { now, set, stop } = bind(model, Object.fromEntries(names.map((name) => [name, numbers[name]])), update);

  const sliders = Object.entries(scene.sliders).map(([name, limits]) => [name,
    slider(CAPTIONS[name], limits, stepOf(limits[1]), (value) => set({ [name]: tidy(value) }))]);
  const number = slider("number of the draw", numbers.number, 1, (value) => set({ number: value }));
  const again = element("button", { type: "button", className: "medlearn-chip" }, "new draw");
  again.addEventListener("click", () => set({ number: (now().number + 1) % scene.draws }));
  const lists = Object.entries(scene.options).map(([name, options]) => [name,
    choice(name.replace("_", " "), options.map((option) => [option, option]), (value) => set({ [name]: value }))]);
  const titles = ["before", "after"];
  const panels = titles.map((title) => picturePanel(title, title, { role: "img", tabIndex: -1 }));
  const told = readOut();
  const note = element("div", { className: "medlearn-note", role: "status" });
  const inputs = [...sliders.map(([, entry]) => entry.input), number.input, again, ...lists.map(([, { select }]) => select)];
  el.append(explorerRoot(
    row(...sliders.map(([, entry]) => entry)), row(number, again, ...lists.map(([, entry]) => entry)), note,
    panelRow(...panels), legend(scene.legend), told,
    help("A strength is the most that can happen; the draw decides how much of it does.",
      "Jacobian determinant: gray is 1, bright more (content shrinks), dark less (content grows).",
      `Slice: ${scene.note}.`)));

  function update() {
    const state = now();
    for (const [name, entry] of sliders) entry.show(state[name], words(state[name], 3));
    number.show(state.number, String(state.number));
    for (const [name, entry] of lists) entry.show(state[name]);
  }

  let waiting = false; // picture and words come in one message: draw once for both
  const onPicture = () => {
    if (!waiting) Promise.resolve().then(draw);
    waiting = true;
  };

  async function draw() {
    waiting = false;
    const sent = model.get("_pixels");
    const bytes = await unpack(model, "_pixels", "uint8");
    if (sent !== model.get("_pixels")) return; // a later one has arrived meanwhile
    const size = bytes.length / 2;
    told.textContent = model.get("_words");
    panels.forEach(({ node, canvas }, k) => {
      const title = k && now().view !== "image" ? `after: ${now().view}` : titles[k];
      show(canvas, palettePicture(bytes.subarray(k * size, (k + 1) * size), scene.shape, scene.palette));
      node.firstChild.textContent = title;
      canvas.setAttribute("aria-label", `${title}. ${told.textContent}`);
    });
  }

  // ---- Python: is it there?

  let kernel = "asked"; // then "there" or "away"
  const tellKernel = () => {
    for (const input of inputs) input.disabled = kernel === "away";
    note.hidden = kernel !== "away";
    note.textContent = "No kernel is running: this is the last picture; to turn anything, run the cell.";
  };
  const stopAsking = askForKernel(model, (answer) => {
    kernel = answer;
    tellKernel();
  });
  model.on("change:_pixels change:_words", onPicture);

  tellKernel();
  update();
  draw();
  return () => {
    stopAsking();
    model.off("change:_pixels change:_words", onPicture);
    stop();
  };
}

export default { render };
