// The mask painter: a photograph and, above it, a canvas of the same size in pixels.
// Pixels of the canvas with alpha above 127 are the hole. The hole travels as `_mask`: one bit a
// pixel, row by row, most significant bit first, as numpy.packbits writes it.

const COLOUR = [213, 94, 0]; // vermilion, which colour-blind readers can tell from most others
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
  canvas.setAttribute("aria-label", "paint the hole here");
  const ring = element("div", stage, { className: "lama-ring" });
  const pen = canvas.getContext("2d", { willReadFrequently: true });

  const tools = element("div", root, { className: "lama-tools" });
  const label = element("label", tools, { textContent: "Brush " });
  const brush = element("input", label, { type: "range", min: 1, max: 128 });
  const eraser = element("button", tools, { textContent: "Eraser", type: "button" });
  const undo = element("button", tools, { textContent: "Undo", type: "button" });
  const clear = element("button", tools, { textContent: "Clear", type: "button" });
  const share = element("output", tools);

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

  // ---- the pointer: mouse, pen or finger
  let last = null; // previous point of the stroke, null between strokes

  function at(event) { // the canvas may be shown at any size
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) * width) / box.width;
    return [x, ((event.clientY - box.top) * height) / box.height];
  }

  function stroke(event) {
    pen.globalCompositeOperation = model.get("erase") ? "destination-out" : "source-over";
    pen.strokeStyle = pen.fillStyle = `rgb(${COLOUR})`;
    pen.lineWidth = model.get("brush");
    pen.lineCap = "round";
    for (const e of event.getCoalescedEvents?.() ?? []) line(at(e));
    line(at(event));
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

  function moveRing(event) {
    const box = canvas.getBoundingClientRect();
    const size = (model.get("brush") * box.width) / width;
    ring.style.width = ring.style.height = `${size}px`;
    ring.style.left = `${event.clientX - box.left - size / 2}px`;
    ring.style.top = `${event.clientY - box.top - size / 2}px`;
  }

  function end() {
    if (last) change(read());
    last = null;
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || last) return;
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
    stroke(event);
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    moveRing(event);
    if (last) stroke(event);
  });
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);

  // ---- the tools
  brush.addEventListener("input", () => {
    model.set("brush", Number(brush.value));
    model.save_changes();
  });
  eraser.addEventListener("click", () => {
    model.set("erase", !model.get("erase"));
    model.save_changes();
  });
  undo.addEventListener("click", () => history.length && send(history.pop()));
  clear.addEventListener("click", () => change(new Uint8Array(current().length)));

  const onBrush = () => { brush.value = model.get("brush"); };
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
