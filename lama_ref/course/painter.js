// The mask painter: a photograph and, above it, a canvas of the same size in pixels.
// Pixels of the canvas with alpha above 127 are the hole. The hole travels as `_mask`: one bit a
// pixel, row by row, most significant bit first, as numpy.packbits writes it.

const COLOUR = [255, 89, 89]; // the course's coral, in which figures paint holes too
const LARGEST = 128; // diameter of the brush, in pixels; keys change it by a step
const STEP = 4;
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const HELP = "Keys: [ ] brush size, E eraser, Z undo. On the picture: arrows move the brush, "
  + "Shift + arrows paint, Space sets a dot.";
const HISTORY = 50;

const toBytes = (v) => new Uint8Array(v.buffer, v.byteOffset, v.byteLength);

function element(tag, parent, properties = {}) {
  const node = Object.assign(document.createElement(tag), properties);
  parent.appendChild(node);
  return node;
}

function render({ model, el }) {
  const [height, width] = model.get("_size");
  const root = element("div", el, { className: "lama-painter" });
  root.style.setProperty("--wide", `${model.get("_display")}px`);

  const stage = element("div", root, { className: "lama-stage" });
  stage.style.aspectRatio = `${width} / ${height}`;
  const url = URL.createObjectURL(new Blob([toBytes(model.get("_photo"))], { type: "image/png" }));
  element("img", stage, { src: url, alt: "photograph to paint on", draggable: false });
  const canvas = element("canvas", stage, { width, height });
  canvas.setAttribute("aria-label", `Paint the hole here. ${HELP}`);
  canvas.setAttribute("role", "application"); // screen readers pass it the arrow keys
  canvas.tabIndex = 0;
  const ring = element("div", stage, { className: "lama-ring" });
  const pen = canvas.getContext("2d", { willReadFrequently: true });

  const tools = element("div", root, { className: "lama-tools" });
  const label = element("label", tools, { textContent: "Brush " });
  const brush = element("input", label, { type: "range", min: 1, max: LARGEST });
  const size = element("span", label, { className: "lama-size" });
  const eraser = element("button", tools, { textContent: "Eraser", type: "button" });
  const undo = element("button", tools, { textContent: "Undo", type: "button" });
  const clear = element("button", tools, { textContent: "Clear", type: "button" });
  const share = element("output", tools);
  for (const node of [canvas, brush, eraser, undo, clear]) // where "x" is typed, JupyterLab asks
    node.dataset.lmSuppressShortcuts = "true"; // this, or it would cut the cell
  element("div", root, { className: "lama-help", textContent: HELP });

  // ---- the hole: from the canvas to bits, and back
  let sent = null; // what this view wrote last; its own change needs no redrawing
  const history = [];
  const current = () => toBytes(model.get("_mask"));

  function read() {
    const pixels = pen.getImageData(0, 0, width, height).data;
    const bits = new Uint8Array(Math.ceil((width * height) / 8));
    for (let i = 0; i < width * height; i++)
      if (pixels[4 * i + 3] > 127) bits[i >> 3] |= 128 >> (i & 7);
    return bits;
  }

  function show(bits) {
    const picture = pen.createImageData(width, height);
    let count = 0;
    for (let i = 0; i < width * height; i++)
      if (bits[i >> 3] & (128 >> (i & 7))) {
        picture.data.set([...COLOUR, 255], 4 * i);
        count++;
      }
    pen.putImageData(picture, 0, 0);
    share.textContent = `hole ${((100 * count) / (width * height)).toFixed(1)} %`;
    undo.disabled = !history.length;
  }

  function send(bits) {
    sent = new DataView(bits.buffer);
    model.set("_mask", sent);
    model.save_changes();
    show(bits); // hard edges: what is seen is what Python gets
  }

  function change(bits) {
    history.push(current());
    if (history.length > HISTORY) history.shift();
    send(bits);
  }

  // ---- the brush, moved by a pointer (mouse, pen or finger) or by keys
  let last = null; // previous point of the stroke, null between strokes
  let here = [width / 2, height / 2]; // where the brush is, in pixels of the picture

  function at(event) { // the canvas may be shown at any size
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) * width) / box.width;
    return [x, ((event.clientY - box.top) * height) / box.height];
  }

  function stroke(points) {
    pen.globalCompositeOperation = model.get("erase") ? "destination-out" : "source-over";
    pen.strokeStyle = pen.fillStyle = `rgb(${COLOUR})`;
    pen.lineWidth = model.get("brush");
    pen.lineCap = "round";
    points.forEach(line);
    pen.globalCompositeOperation = "source-over";
  }

  function line(point) {
    pen.beginPath();
    pen.moveTo(...last);
    pen.lineTo(...point);
    pen.stroke();
    pen.beginPath(); // of a tap: some browsers draw nothing for a line without length
    pen.arc(...point, pen.lineWidth / 2, 0, 2 * Math.PI);
    pen.fill();
    last = point;
  }

  function move(point) { // the ring shows the brush
    here = point;
    const diameter = model.get("brush");
    ring.style.width = `${(100 * diameter) / width}%`;
    ring.style.left = `${(100 * (here[0] - diameter / 2)) / width}%`;
    ring.style.top = `${(100 * (here[1] - diameter / 2)) / height}%`;
  }

  function end() {
    if (last) change(read());
    last = null;
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || last) return;
    canvas.setPointerCapture(event.pointerId);
    move((last = at(event)));
    stroke([last]);
    canvas.focus({ preventScroll: true }); // for the keys
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    move(at(event));
    if (last && event.buttons) stroke([...(event.getCoalescedEvents?.() ?? []), event].map(at));
  });
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);

  // ---- keys
  const KEYS = {
    "[": () => resize(STEP * Math.ceil(model.get("brush") / STEP - 1)),
    "]": () => resize(STEP * Math.floor(model.get("brush") / STEP + 1)),
    e: () => eraser.click(),
    z: () => undo.click(),
  };

  function onKey(event) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const bracket = key === "[" || key === "]"; // on some keyboards with AltGr, thus Ctrl + Alt
    const plain = bracket || (!event.altKey && ((!event.ctrlKey && !event.metaKey) || key === "z"));
    if (!plain) return;
    if (KEYS[key]) KEYS[key]();
    else if (event.target !== canvas) return; // the slider and the buttons have keys of their own
    else if (key === " ") {
      last ??= here;
      stroke([here]);
      end();
    } else if (MOVES[key]) {
      const far = Math.max(1, model.get("brush") / 4);
      const [x, y] = here.map((v, i) => v + far * MOVES[key][i]);
      if (event.shiftKey) last ??= here;
      move([Math.min(width, Math.max(0, x)), Math.min(height, Math.max(0, y))]);
      if (event.shiftKey) stroke([here]);
    } else return;
    event.preventDefault();
  }

  root.addEventListener("keydown", onKey);
  canvas.addEventListener("keyup", (event) => event.key === "Shift" && end()); // one step of undo
  canvas.addEventListener("blur", end);

  // ---- the tools
  function resize(diameter) {
    model.set("brush", Math.min(LARGEST, Math.max(1, diameter)));
    model.save_changes();
  }

  brush.addEventListener("input", () => resize(Number(brush.value)));
  eraser.addEventListener("click", () => {
    model.set("erase", !model.get("erase"));
    model.save_changes();
  });
  undo.addEventListener("click", () => history.length && send(history.pop()));
  clear.addEventListener("click", () => change(new Uint8Array(current().length)));

  const onBrush = () => {
    brush.value = model.get("brush");
    size.textContent = `${model.get("brush")} px`;
    brush.setAttribute("aria-valuetext", size.textContent);
    move(here);
  };
  const onErase = () => eraser.setAttribute("aria-pressed", model.get("erase"));
  const onMask = () => { if (model.get("_mask") !== sent) show(current()); };
  model.on("change:brush", onBrush);
  model.on("change:erase", onErase);
  model.on("change:_mask", onMask);
  onBrush();
  onErase();
  show(current());

  return () => {
    model.off("change:brush", onBrush);
    model.off("change:erase", onErase);
    model.off("change:_mask", onMask);
    URL.revokeObjectURL(url);
  };
}

export default { render };
