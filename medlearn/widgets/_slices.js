// What the explorers of chapter 5 share in the browser: slices of exact gray values, a truth that may stay hidden, and
// a slice drawn with a region. The twin of _levels.py.

// Levels and truth of every slice that was sent; sets scene.lie, which voxel lies under each pixel of the picture.
async function unpackSlices(model, scene) {
  const [n, height, width] = scene.shape;
  const [rows, columns] = [height, width].map((length, i) => samples(length, scene.spacing[i], scene.pixel));
  scene.lie = { rows, columns };
  const stack = await unpack(model, "_levels", scene.dtype);
  const bits = await unpack(model, "_truth", "uint8");
  const size = height * width;
  const truth = scene.hasTruth ? new Uint8Array(n * size) : null;
  truth?.forEach((_, i) => (truth[i] = (bits[i >> 3] >> (7 - (i & 7))) & 1));
  const part = (array, z) => array?.subarray((z - scene.first) * size, (z - scene.first + 1) * size) ?? null;
  const areas = Array.from({ length: truth ? n : 0 }, (_, i) => countOnes(part(truth, scene.first + i)));
  return { levels: (z) => part(stack, z), truth: (z) => part(truth, z), truthArea: (z) => areas[z - scene.first] };
}

// The slice in gray, with the region and, where it is not null, the truth.
function drawSlice(canvas, scene, levels, region, truth) {
  const [, , width] = scene.shape;
  scene.grays ??= grayTable(scene.levels, ...scene.window);
  const image = grayPicture(enlarge(levels, width, scene.lie), scene.grays, scene.lie.columns.length);
  paintMask(image, enlarge(region, width, scene.lie), scene.looks.region);
  if (truth) paintMask(image, enlarge(truth, width, scene.lie), scene.looks.truth);
  show(canvas, image);
}

const shownLooks = ({ looks }, revealed) => (revealed ? [looks.region, looks.truth] : [looks.region]);

function countOnes(layer) {
  let count = 0;
  for (let p = 0; p < layer.length; p++) count += layer[p];
  return count;
}

const percent = (share) => (Number.isFinite(share) ? `${(100 * share).toFixed(1)} %` : "–");

function areaWords({ unit, spacing }, pixels) {
  const area = (pixels * spacing[0] * spacing[1]) / 100;
  return `area ${pixels} pixels${unit === "mm" ? ` = ${area.toFixed(area < 10 ? 2 : 1)} cm²` : ""}`;
}

// Call `onPoint` when the pointer goes down on a node, and while it is moved with the button held.
function dragging(node, onPoint) {
  let held = false;
  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    node.setPointerCapture(event.pointerId);
    held = true;
    onPoint(event, true);
  });
  node.addEventListener("pointermove", (event) => held && onPoint(event, false));
  for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => (held = false));
}
