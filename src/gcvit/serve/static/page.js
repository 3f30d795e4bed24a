// The page: a picture, a point on it, and what the model reads, asks and says there. No library, nothing from elsewhere.

const $ = (id) => document.getElementById(id);
// Magma's stops: even in brightness, and told apart without colour.
const STOPS = [[0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100], [251, 135, 97], [254, 194, 135], [252, 253, 191]];
const FOR = [251, 135, 61], AGAINST = [72, 149, 255];
const AT_POINT = ["window", "image", "readers"], AT_TARGET = ["cam", "values", "queries"];
const SAYS = {
  window: "where this place looks in its own window", image: "what this place's global query finds in the whole picture",
  readers: "the places that look here", cam: "what speaks for the class at this stage",
  values: "the part that came through values", queries: "the part that came through queries",
};

let model, picture, photo, last = {}, named = null;
let view = { stage: null, block: null, head: "mean", map: "image", target: null, cam: "element-wise", x: 0.5, y: 0.5 };

function colour(value) {
  const at = Math.min(Math.max(value, 0), 1) * (STOPS.length - 1), low = Math.min(Math.floor(at), STOPS.length - 2);
  return STOPS[low].map((c, i) => Math.round(c + (STOPS[low + 1][i] - c) * (at - low)));
}

async function ask(address, options) {
  const answer = await fetch(address, options);
  const told = await answer.json().catch(() => ({ error: `the server answers ${answer.status}` }));
  if (!answer.ok) throw new Error(told.error ?? `the server answers ${answer.status}`);
  return told;
}

function say(text, wrong = false) {
  $("said").textContent = text;
  $("said").classList.toggle("wrong", wrong);
}

function options(select, values, chosen) {
  select.replaceChildren(...values.map(([value, text]) => new Option(text, value, false, String(value) === String(chosen))));
  select.disabled = values.length < 2;
}

// What is chosen.

function showChoices() {
  const stages = picture.stages;
  view.stage = Math.min(view.stage ?? picture.usual, stages.length - 1);
  const stage = stages[view.stage];
  if (view.block === null || view.block >= stage.blocks.length) view.block = stage.blocks.length - 1;
  if (view.head !== "mean" && view.head >= stage.heads) view.head = "mean";
  options($("stage-choice"), stages.map((s, i) => [i, `${i}: ${s.map.join("×")}`]), view.stage);
  options($("block"), stage.blocks.map((kind, i) => [i, `${i}, ${kind}`]), view.block);
  $("map").value = view.map;
  $("map").disabled = stage.blocks[view.block] !== "global";
  $("cam-kind").value = view.cam;
  options($("head"), [["mean", "mean of all"], ...Array.from({ length: stage.heads }, (_, i) => [i, i])], view.head);
}

const choices = (id) => [...$(id).options].map((option) => option.value);

function showAnswer() {
  const targets = picture.targets;
  if (!targets.some((t) => t.number === view.target)) view.target = targets.length ? targets[0].number : null;
  options($("target"), targets.map((t) => [t.number, t.label]), view.target);
  $("answer").replaceChildren(...targets.slice(0, 8).map((t) => {
    const item = document.createElement("li"), button = document.createElement("button"), share = document.createElement("span");
    button.type = "button";
    button.append(t.label, share);
    share.textContent = `${(100 * t.share).toFixed(1)}%`;
    button.style.setProperty("--share", `${100 * t.share}%`);
    button.setAttribute("aria-pressed", t.number === view.target);
    button.addEventListener("click", () => change({ target: t.number }));
    item.append(button);
    return item;
  }));
  say(`${picture.name}, ${picture.size.join("×")} px as the model sees it`);
}

function change(part) {
  const block = view.stage;
  view = { ...view, ...part };
  if (view.stage !== block) view.block = null;
  if (!picture) return;
  showChoices();
  showAnswer();
  remember();
  refresh("target" in part || "stage" in part || "cam" in part);
}

// A link that shows the same: the settings, and the picture's name on the server, or the example's, which is always there.

function remember() {
  const said = new URLSearchParams();
  if (picture) said.set("picture", named ?? picture.id);
  for (const [name, value] of Object.entries(view)) if (value !== null) said.set(name, typeof value === "number" ? +value.toFixed(4) : value);
  history.replaceState(null, "", `#${said}`);
}

function recall() {
  const said = new URLSearchParams(location.hash.slice(1)), found = {};
  const words = { head: ["mean"], map: choices("map"), cam: choices("cam-kind") };
  for (const [name, value] of said) if (name in view) found[name] = words[name]?.includes(value) ? value : Number(value);
  for (const name of Object.keys(found)) if (Number.isNaN(found[name])) delete found[name];
  view = { ...view, ...found };
  return said.get("picture");
}

// Pictures.

async function show(promise, link = null) {
  say("computing …");
  try {
    picture = await promise;
    named = link;
    photo = new Image();
    photo.src = `pictures/${picture.id}.png`;
    await photo.decode();
    for (const canvas of document.querySelectorAll("canvas")) {
      const [height, width] = picture.size;
      canvas.width = canvas.id === "picture" ? 2 * width : width;
      canvas.height = canvas.id === "picture" ? 2 * height : height;
    }
    $("picture").setAttribute("aria-label", `${picture.name}: ${picture.line}`);
    showChoices();
    showAnswer();
    remember();
    refresh(true);
  } catch (error) { say(error.message, true); }
}

const example = (name) => show(ask(`examples/${name}`, { method: "POST" }), `example-${name}`);
const send = (file) => show(ask(`pictures?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file, headers: { "content-type": "application/octet-stream" } }));

// Maps. Only the newest question counts; one is under way at a time.

let asking = { point: false, target: false }, again = { point: false, target: false };

function refresh(target) {
  drawPicture();
  if (picture) { fetchMaps("point"); if (target) fetchMaps("target"); }
}

async function fetchMaps(kind) {
  if (asking[kind]) { again[kind] = true; return; }
  asking[kind] = true;
  const { stage, block, head, map, x, y, target, cam } = view, names = kind === "point" ? AT_POINT : AT_TARGET;
  const where = kind === "point" ? { stage, block, head, map, x, y } : { stage, target, cam };
  try {
    const none = kind === "target" && target === null;
    const maps = none ? {} : await ask(`pictures/${picture.id}/${kind}?${new URLSearchParams(where)}`);
    last = { ...last, ...Object.fromEntries(names.map((name) => [name, maps[name] ?? null])) };
    names.forEach(drawMap);
  } catch (error) { say(error.message, true); }
  asking[kind] = false;
  if (again[kind]) { again[kind] = false; fetchMaps(kind); }
}

function drawMap(name) {
  const canvas = $(name), context = canvas.getContext("2d"), map = last[name];
  canvas.closest("figure").classList.toggle("none", !map);
  canvas.setAttribute("aria-label", map ? `${SAYS[name]}; strongest ${place(map)}` : `${SAYS[name]}: nothing at this block`);
  context.filter = "grayscale(1)";
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
  context.filter = "none";
  if (!map) return;
  const small = new OffscreenCanvas(map.columns, map.rows), pixels = new ImageData(map.columns, map.rows);
  const signed = name === "values" || name === "queries", largest = Math.max(...map.values.map(Math.abs), 1e-12);
  map.values.forEach((value, i) => {
    const share = value / largest;
    pixels.data.set(signed ? [...(share < 0 ? AGAINST : FOR), 230 * Math.abs(share)] : [...colour(share), 40 + 190 * share], 4 * i);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  if (AT_POINT.includes(name)) mark(context, canvas);
}

function place(map) {
  const at = map.values.indexOf(Math.max(...map.values));
  const row = Math.floor(at / map.columns) / map.rows, column = (at % map.columns) / map.columns;
  return `${["at the top", "in the middle", "at the bottom"][Math.floor(3 * row)]}, ${["left", "centre", "right"][Math.floor(3 * column)]}`;
}

function drawPicture() {
  const canvas = $("picture"), context = canvas.getContext("2d");
  if (!photo) return;
  context.drawImage(photo, 0, 0, canvas.width, canvas.height);
  mark(context, canvas);
}

function mark(context, canvas) {
  const x = view.x * canvas.width, y = view.y * canvas.height, size = canvas.width / 40;
  for (const [width, style] of [[size / 2.2, "#000"], [size / 5, "#fff"]]) {
    context.lineWidth = width; context.strokeStyle = style;
    context.beginPath(); context.arc(x, y, size, 0, 2 * Math.PI); context.stroke();
  }
}

function point(x, y) {
  view.x = Math.min(Math.max(x, 0), 0.9999); view.y = Math.min(Math.max(y, 0), 0.9999);
  $("x").value = view.x; $("y").value = view.y;
  remember();
  refresh(false);
}

async function download() {
  const canvases = ["picture", ...AT_POINT, ...AT_TARGET].map($), [height, width] = picture.size, line = 22;
  const sheet = new OffscreenCanvas(4 * width, 2 * (height + line)), context = sheet.getContext("2d");
  context.fillStyle = "#fff"; context.fillRect(0, 0, sheet.width, sheet.height);
  context.fillStyle = "#000"; context.font = "13px sans-serif";
  canvases.forEach((canvas, i) => {
    const left = (i % 4) * width, top = Math.floor(i / 4) * (height + line);
    context.drawImage(canvas, left, top, width, height);
    context.fillText(canvas.id === "picture" ? picture.line : canvas.id, left + 4, top + height + 16, width - 8);
  });
  const saved = document.createElement("a");
  saved.href = URL.createObjectURL(await sheet.convertToBlob());
  saved.download = "gcvit-view.png";
  saved.click();
  URL.revokeObjectURL(saved.href);
}

// Start.

function listen() {
  const canvas = $("picture"), drop = $("stage");
  const moved = (event) => { const box = canvas.getBoundingClientRect(); if (picture) point((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height); };
  canvas.addEventListener("pointermove", moved);
  canvas.addEventListener("pointerdown", moved);
  for (const name of ["x", "y"]) $(name).addEventListener("input", () => point(+$("x").value, +$("y").value));
  $("stage-choice").addEventListener("change", (e) => change({ stage: +e.target.value }));
  $("block").addEventListener("change", (e) => change({ block: +e.target.value }));
  $("head").addEventListener("change", (e) => change({ head: e.target.value === "mean" ? "mean" : +e.target.value }));
  $("target").addEventListener("change", (e) => change({ target: +e.target.value }));
  $("map").addEventListener("change", (e) => change({ map: e.target.value }));
  $("cam-kind").addEventListener("change", (e) => change({ cam: e.target.value }));
  $("file").addEventListener("change", (e) => e.target.files.length && send(e.target.files[0]));
  for (const kind of ["dragover", "dragleave", "drop"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.toggle("over", kind === "dragover"); });
  drop.addEventListener("drop", (event) => event.dataTransfer.files.length && send(event.dataTransfer.files[0]));
  document.addEventListener("paste", (event) => event.clipboardData.files.length && send(event.clipboardData.files[0]));
  $("download").addEventListener("click", () => picture && download());
  $("link").addEventListener("click", () => navigator.clipboard.writeText(location.href).then(() => say("the link is copied"), () => say(location.href)));
  $("scale").style.background = `linear-gradient(90deg, ${STOPS.map((c) => `rgb(${c})`)})`;
}

async function start() {
  listen();
  model = await ask("model");
  $("model").textContent = model.described;
  $("examples").append(...model.examples.map((name) => {
    const button = document.createElement("button"), image = document.createElement("img");
    button.type = "button"; image.src = `examples/${name}.png`; image.alt = `example ${name}`;
    button.append(image);
    button.addEventListener("click", () => example(name));
    return button;
  }));
  const wanted = recall();
  if (wanted?.startsWith("example-")) await example(wanted.slice(8));
  else if (wanted) await show(ask(`pictures/${wanted}`));
  else if (model.examples.length) await example(model.examples[0]);
}

start().catch((error) => say(error.message, true));
