// Pictures side by side, each with its title above: what the explorers of contrast and noise share beside _picture.js.

function picturePanel(title, label, properties) {
  const stage = pictureStage(label, properties);
  return { ...stage, node: element("div", { className: "medlearn-panel" }, element("div", {}, title), stage.node) };
}

const panelRow = (...parts) => element("div", { className: "medlearn-panels" }, ...parts.map((part) => part.node));
