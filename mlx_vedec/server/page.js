"use strict";

const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
let about = { formats: {}, whole: false, lines: true, corrections: false };
// What is shown: the file, the page as the server told it, its lines in one row, Donut's data.
let shown = null;
let reading = null; // the AbortController of what is being read
let key = sessionStorage.getItem("mlx_vedec key") || "";

// Talking to the server

const GONE = "The server does not answer. Is it still running? Your text is still here.";

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (key) headers.Authorization = `Bearer ${key}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(GONE);
  }
  if (answer.ok) return answer;
  if (answer.status === 401 && (await askForKey())) return ask(path, options);
  const said = await answer.json().catch(() => ({}));
  const error = new Error(sentence(said.error?.message || `The server answered ${answer.status}.`));
  error.code = said.error?.code;
  throw error;
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

async function askForKey() {
  const value = byId("key-value");
  value.value = "";
  await closed(byId("key"));
  if (!value.value) return false;
  key = value.value;
  sessionStorage.setItem("mlx_vedec key", key);
  return true;
}

// Shows a dialog; gives the value of the button that closed it.
function closed(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) =>
    dialog.addEventListener("close", () => done(dialog.returnValue), { once: true })
  );
}

// The events of a stream, one after another.
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (true) {
    const { done, value } = await reader.read().catch((error) => {
      throw error.name === "AbortError" ? error : new Error(GONE);
    });
    if (done) throw new Error("The server stopped before the page was read to its end.");
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const said = part.replace(/^data: /, "");
      if (said === "[DONE]") return;
      const event = JSON.parse(said);
      if (event.error) throw new Error(sentence(event.error.message));
      yield event;
    }
  }
}

function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  return { method: "POST", body: data };
}

// Saying things

function say(text) {
  byId("status").textContent = text;
}

function complain(error) {
  byId("problem").textContent = error ? error.message : "";
  byId("problem").hidden = !error;
}

function tell(model = about.model) {
  const speed = shown?.speed ? ` · ${shown.speed} characters a second` : "";
  byId("about").textContent = `${model}${speed} · mlx_vedec ${about.version}`;
}

// Reading

const unsaved = () => shown?.lines.some((line) => line.corrected) && !shown.saved;

async function read(file) {
  if (!file) return;
  if (unsaved()) {
    if (!confirm("Your corrections of this page are not saved. Read another page?")) return;
  }
  reading?.abort();
  const own = (reading = new AbortController());
  complain(null);
  begin(file);
  const started = performance.now();
  const fields = { image: file, stream: "true", boxes: String(!about.whole) };
  if (!about.whole && byId("split").checked) fields.split_lines = "true";
  try {
    const answer = await ask("v1/read", { ...form(fields), signal: own.signal });
    for await (const event of events(answer)) {
      if (own !== reading) return;
      if (event.type === "page") showPage(event);
      else if (event.type === "line" && !about.whole) showLine(event);
      else if (event.type === "done") finish(event, (performance.now() - started) / 1000);
    }
  } catch (error) {
    if (own !== reading) return;
    if (error.name === "AbortError") say("Cancelled. What was read is still here.");
    else {
      complain(error);
      say(shown?.page ? "The page was not read to its end." : "Nothing was read.");
      if (!shown?.page) byId("main").classList.add("empty");
    }
  }
  if (own === reading) end();
}

function begin(file) {
  if (shown) URL.revokeObjectURL(shown.url);
  shown = { file, url: URL.createObjectURL(file), page: null, lines: [], revision: 0, saved: false };
  byId("main").classList.remove("empty");
  byId("text").replaceChildren();
  byId("marks").replaceChildren();
  byId("view").hidden = false;
  byId("view").style.aspectRatio = "";
  byId("image").src = shown.url;
  byId("results").hidden = true;
  byId("cancel").hidden = false;
  byId("progress").hidden = false;
  byId("progress").removeAttribute("value");
  say("Looking for lines…");
}

function end() {
  reading = null;
  byId("cancel").hidden = true;
  byId("progress").hidden = true;
  byId("results").hidden = !shown?.page;
}

function showPage(page) {
  shown.page = page;
  byId("marks").setAttribute("viewBox", `0 0 ${page.width} ${page.height}`);
  byId("marks").setAttribute("preserveAspectRatio", "none");
  byId("view").style.aspectRatio = `${page.width} / ${page.height}`;
  if (about.whole) return say("Reading…");
  const list = document.createElement("ol");
  page.regions.forEach((region, r) =>
    region.lines.forEach((line, l) => {
      const number = shown.lines.length;
      const polygon = mark("polygon", { points: (line.polygon.length ? line.polygon : corners(line.box)).join(" ") });
      const row = document.createElement("li");
      if (l === 0 && r > 0) row.className = "region";
      const part = document.createElement("span");
      part.className = "part";
      part.textContent = "…";
      const input = document.createElement("input");
      Object.assign(input, { type: "text", disabled: true, spellcheck: false });
      input.setAttribute("aria-label", `Line ${number + 1}`);
      row.append(part, input);
      list.append(row);
      byId("marks").append(polygon);
      const words = mark("g", {});
      const shownLine = { number, line, row, part, input, polygon, words, read: null, corrected: false };
      input.addEventListener("input", () => edited(shownLine));
      input.addEventListener("focus", () => current(shownLine));
      input.addEventListener("keydown", (event) => moveLine(event, number));
      shown.lines.push(shownLine);
    })
  );
  byId("marks").append(...shown.lines.map((own) => own.words)); // above all outlines, in the lines' order
  byId("text").replaceChildren(list);
  const count = shown.lines.length;
  byId("progress").max = Math.max(count, 1);
  byId("progress").value = 0;
  say(count ? `${count} ${count === 1 ? "line" : "lines"} found; reading…` : "No lines were found.");
}

const corners = ([left, top, right, bottom]) => [[left, top], [right, top], [right, bottom], [left, bottom]];

function mark(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function showLine(event) {
  const own = shown.lines[event.number];
  Object.assign(own.line, event);
  own.read = event.text;
  own.parts = event.pieces;
  own.input.value = event.text;
  own.input.disabled = false;
  own.polygon.classList.add("read");
  own.part.textContent = percent(event.confidence);
  own.part.classList.add(degree(event.confidence));
  own.input.setAttribute("aria-label", `Line ${event.number + 1}, ${percent(event.confidence)} sure`);
  if (event.error) {
    own.row.classList.add("failed");
    own.part.textContent = "failed";
    own.part.title = event.error;
  }
  own.words.append(...event.words.map((word, index) => wordMark(own, word, index)));
  if (!byId("marks").contains(document.activeElement)) {
    byId("marks").querySelectorAll("rect").forEach((rect, at) => rect.setAttribute("tabindex", at ? -1 : 0));
  }
  byId("progress").value += 1;
}

const percent = (value) => (value === null || value === undefined ? "" : `${Math.round(100 * value)} %`);

function degree(confidence) {
  if (confidence === null || confidence === undefined) return "plain";
  return confidence >= 0.95 ? "sure" : confidence >= 0.8 ? "fair" : "unsure";
}

function wordMark(own, word, index) {
  const [left, top, right, bottom] = word.box;
  const rect = mark("rect", {
    x: left, y: top, width: Math.max(right - left, 1), height: Math.max(bottom - top, 1),
    class: degree(word.confidence), role: "button",
    tabindex: -1,
    "aria-label": `${word.text}, ${percent(word.confidence)} sure, line ${own.number + 1}`,
  });
  const title = mark("title", {});
  title.textContent = `${word.text} · ${percent(word.confidence)}`;
  rect.append(title);
  rect.addEventListener("click", () => showWord(own, index));
  rect.addEventListener("focus", () => current(own));
  rect.addEventListener("keydown", (event) => moveWord(event, rect, own, index));
  return rect;
}

function finish(event, seconds) {
  shown.page = { ...event, regions: about.whole ? event.regions : shown.page.regions };
  shown.data = event.data;
  if (event.data !== undefined) byId("text").replaceChildren(dataForm(event.data));
  else if (about.whole) byId("text").replaceChildren(wholeText(event.text));
  shown.speed = Math.round(event.text.length / Math.max(seconds, 0.001));
  offerFormats();
  tell(event.model || about.model);
  const read = shown.lines.length ? `${shown.lines.length} lines` : "The image was";
  say(event.text || event.data !== undefined
    ? `${read} read in ${seconds.toFixed(1)} s. Correct the text${about.whole ? "" : ", or click a word for other readings"}.`
    : "There is no text on this image.");
  const { complete, naturalWidth } = byId("image");
  if (complete && !naturalWidth) complain(new Error("This browser does not show images of this format; its text is read all the same."));
}

function wholeText(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.setAttribute("aria-label", "The text of the page");
  return area;
}

// Donut's data as fields; what is written in them is what is downloaded.
function dataForm(value, name = "", set = (changed) => (shown.data = changed)) {
  if (value !== null && typeof value === "object") {
    const group = document.createElement("fieldset");
    const legend = document.createElement("legend");
    legend.textContent = name || "What the document says";
    group.append(legend);
    for (const [inner, its] of Object.entries(value)) {
      const label = Array.isArray(value) ? `${name || "item"} ${Number(inner) + 1}` : inner;
      group.append(dataForm(its, label, (changed) => (value[inner] = changed)));
    }
    return group;
  }
  const row = document.createElement("label");
  row.className = "field";
  const said = document.createElement("span");
  said.textContent = name || "text";
  const input = document.createElement("input");
  input.type = "text";
  input.value = value ?? "";
  input.addEventListener("input", () => {
    set(input.value);
    input.classList.add("corrected");
  });
  row.append(said, input);
  return row;
}

// Lines and words

function current(own) {
  for (const other of shown.lines) other.polygon.classList.toggle("current", other === own);
}

function edited(own) {
  own.corrected = own.input.value !== own.read;
  own.row.classList.toggle("corrected", own.corrected);
  shown.saved = false;
}

function moveLine(event, number) {
  const step = { ArrowDown: 1, Enter: 1, ArrowUp: -1 }[event.key];
  const other = step && shown.lines[number + step];
  if (!other || other.input.disabled) return;
  event.preventDefault();
  other.input.focus();
}

function moveWord(event, rect, own, index) {
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    return showWord(own, index);
  }
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const all = [...byId("marks").querySelectorAll("rect")];
  const other = step && all[all.indexOf(rect) + step];
  if (!other) return;
  event.preventDefault();
  rect.setAttribute("tabindex", -1);
  other.setAttribute("tabindex", 0);
  other.focus();
}

async function showWord(own, index) {
  const word = own.line.words[index];
  const opener = document.activeElement;
  byId("word-title").textContent = `${word.text} · ${percent(word.confidence)} sure`;
  const body = byId("word-body");
  body.textContent = "Reading the line again…";
  const dialog = byId("word");
  const done = closed(dialog);
  const stopped = new AbortController();
  done.then(() => {
    stopped.abort();
    opener?.focus();
  });
  try {
    const fields = { image: shown.file, line: JSON.stringify(sentLine(own, own.read)) };
    const answer = await ask("page/look", { ...form(fields), signal: stopped.signal });
    body.replaceChildren(...looks(own, index, (await answer.json()).pieces, dialog));
  } catch (error) {
    if (error.name !== "AbortError") body.textContent = error.message;
  }
}

// The piece of a line that a word is in, where the decoder looked for it, and what else it may be.
function looks(own, index, pieces, dialog) {
  let place = 0;
  let within = index;
  while (place < pieces.length - 1 && within >= pieces[place].words.length) {
    within -= pieces[place].words.length;
    place += 1;
  }
  const piece = pieces[place];
  const word = piece.words[within];
  const shownParts = [paragraph("Where the model looked:")];
  const box = document.createElement("div");
  box.className = "piece";
  box.append(picture(piece.picture, `The line as the model sees it: ${piece.text}`));
  if (word) {
    const looked = picture(word.looked, "");
    looked.className = "looked";
    box.append(looked);
  }
  shownParts.push(box);
  const words = wordsOf(piece.text);
  const others = piece.alternatives.map((other) => other.text);
  const alike = others.map(wordsOf).filter((parts) => parts.length === words.length);
  const instead = [...new Set(alike.map((parts) => parts[within]))].filter((text) => text && text !== words[within]);
  if (instead.length) {
    shownParts.push(paragraph("This word may be:"));
    shownParts.push(choices(instead, (text) => {
      const now = wordsOf(partsOf(own)[place]);
      const [start, end] = [within, within + 1].map((edge) => moved(edge, words, now));
      use(own, place, [...now.slice(0, start), text, ...now.slice(end)].join(" "), dialog);
    }));
  }
  if (others.length) {
    shownParts.push(paragraph("Other readings of this part of the line:"));
    shownParts.push(choices(others, (text) => use(own, place, text, dialog)));
  } else shownParts.push(paragraph("There are no other readings."));
  return shownParts;
}

function paragraph(text) {
  const element = document.createElement("p");
  element.textContent = text;
  return element;
}

function picture(source, alt) {
  const element = document.createElement("img");
  Object.assign(element, { src: source, alt });
  return element;
}

function choices(texts, chosen) {
  const box = document.createElement("div");
  box.className = "choices";
  for (const text of texts) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", () => chosen(text));
    box.append(button);
  }
  return box;
}

function use(own, place, text, dialog) {
  own.parts = partsOf(own).with(place, text);
  own.input.value = own.parts.join(" ");
  edited(own);
  dialog.close();
}

const wordsOf = (text) => text.split(/\s+/).filter(Boolean);

// The parts of a line as a person left them.
function partsOf(own) {
  const before = own.parts.map(wordsOf);
  const now = wordsOf(own.input.value);
  const edges = before.map((_, place) => moved(before.slice(0, place).flat().length, before.flat(), now));
  return edges.map((start, place) => now.slice(start, edges[place + 1]).join(" "));
}

// Where an edge between words is once words were changed, added or taken away: words that are there
// as before keep theirs, the others share what lies between.
function moved(edge, before, now) {
  const pairs = inCommon(before, now);
  const [left, from] = pairs.findLast(([place]) => place < edge)?.map((place) => place + 1) ?? [0, 0];
  const [right, to] = pairs.find(([place]) => place >= edge) ?? [before.length, now.length];
  const share = right > left ? (edge - left) / (right - left) : 0;
  return from + Math.round(share * (to - from));
}

// The most words that two texts have in common in their order, as pairs of their places.
function inCommon(before, now) {
  const most = [...before, ""].map(() => Array(now.length + 1).fill(0));
  for (let i = before.length - 1; i >= 0; i -= 1) {
    for (let j = now.length - 1; j >= 0; j -= 1) {
      const either = Math.max(most[i + 1][j], most[i][j + 1]);
      most[i][j] = before[i] === now[j] ? most[i + 1][j + 1] + 1 : either;
    }
  }
  const pairs = [];
  for (let i = 0, j = 0; i < before.length && j < now.length; ) {
    if (before[i] === now[j]) pairs.push([i++, j++]);
    else if (most[i + 1][j] >= most[i][j + 1]) i += 1;
    else j += 1;
  }
  return pairs;
}

// Taking it away

const textOf = () => {
  const area = byId("text").querySelector("textarea");
  if (area) return area.value;
  if (shown.data !== undefined) return JSON.stringify(shown.data, null, 2);
  const texts = shown.page.regions.map(() => []);
  shown.page.regions.forEach((region, r) => region.lines.forEach((line) => texts[r].push(lineOf(line).input.value)));
  return texts.map((lines) => lines.filter(Boolean).join("\n")).filter(Boolean).join("\n\n");
};

const lineOf = (line) => shown.lines.find((own) => own.line === line);

function sentLine(own, text = own.input.value) {
  const { box, polygon, baseline, words, alternatives, confidence, id, pieces } = own.line;
  return { box, polygon, baseline, words, alternatives, confidence, id, pieces, text, corrected: own.corrected };
}

function sentPage() {
  const { width, height, image, model } = shown.page;
  const regions = shown.page.regions.map((region) => ({
    ...region, lines: region.lines.map((line) => sentLine(lineOf(line))),
  }));
  return { width, height, image: image || shown.file.name || "", model, regions };
}

function offerFormats() {
  const only = !about.whole ? ["text", "json", "page", "alto", "hocr", "tsv"] : ["text", "json"];
  byId("format").replaceChildren(
    ...only.map((name) => {
      const option = document.createElement("option");
      option.value = name;
      option.textContent = { text: "Text", json: "JSON", page: "PAGE", alto: "ALTO", hocr: "hOCR", tsv: "TSV" }[name];
      return option;
    })
  );
}

async function download() {
  complain(null);
  const format = byId("format").value;
  try {
    let content;
    if (!about.whole) {
      const body = JSON.stringify({ page: sentPage(), format });
      const answer = await ask("page/write", { method: "POST", body, headers: { "Content-Type": "application/json" } });
      content = await answer.blob();
    } else {
      const json = shown.data ?? { text: textOf() };
      content = new Blob([format === "json" ? JSON.stringify(json, null, 2) : textOf()]);
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content);
    link.download = (shown.file.name || "page").replace(/\.\w+$/, "") + about.formats[format];
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    say(`Downloaded as ${link.download}.`);
  } catch (error) {
    complain(error);
  }
}

async function copy() {
  try {
    await navigator.clipboard.writeText(textOf());
    say("The text is copied.");
  } catch {
    complain(new Error("The browser does not let this page copy; download the text instead."));
  }
}

async function save(after = shown.revision) {
  const page = shown; // another may be shown when this one is saved
  complain(null);
  const fields = { image: shown.file, page: JSON.stringify(sentPage()), after: JSON.stringify(after) };
  try {
    const found = await (await ask("page/corrections", form(fields))).json();
    page.revision = found.revision;
    page.saved = true;
    say(`Saved: ${found.lines} line images to learn from, ${found.corrected} of them corrected.`);
  } catch (error) {
    if (error.code !== "corrected_before") return complain(error);
    byId("again-body").textContent = error.message;
    if ((await closed(byId("again"))) === "save" && page === shown) return save(null);
    say("Nothing was saved.");
  }
}

// The page itself

function chosen(input) {
  read(input.files[0]);
  input.value = "";
}

byId("file").addEventListener("change", (event) => chosen(event.target));
byId("camera").addEventListener("change", (event) => chosen(event.target));
byId("cancel").addEventListener("click", () => reading?.abort());
byId("copy").addEventListener("click", copy);
byId("download").addEventListener("click", download);
byId("save").addEventListener("click", () => save());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) reading?.abort();
});
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) {
    event.preventDefault();
    read(file);
  }
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  byId("main").classList.add("drop");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) byId("main").classList.remove("drop");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("main").classList.remove("drop");
  read(event.dataTransfer.files[0]);
});
addEventListener("beforeunload", (event) => {
  if (unsaved()) event.preventDefault();
});

(async () => {
  try {
    about = await (await ask("page/about")).json();
    byId("save").hidden = !about.corrections || about.whole;
    byId("split").checked = about.lines;
    byId("split").parentElement.hidden = about.whole;
    if (about.corrections_problem) complain(new Error(`Corrections are not saved: ${about.corrections_problem}.`));
    tell();
  } catch (error) {
    complain(error);
  }
})();
