// The search page: a picture goes in, the pictures most like it come out.
// Keys, labels and file names come from strangers: they reach the page through textContent only, never as HTML.
// What may change here: the page's behaviour. Its words and order are in index.html, its look in page.css.

const RESULTS = 24;
const SAMPLES = 12;
const SMALL_PX = 96; // pictures up to this size are not blown up to the tile's
const POLL_MS = 1000; // while pictures are being indexed
const RETRY_MS = 3000; // while the service does not answer

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const counted = (n) => `${number.format(n)} ${n === 1 ? "picture" : "pictures"}`;
const itemPath = (id, what) => `v1/items/${encodeURIComponent(id)}/${what}`;

// Uploaded files by number: what a history entry names, so that Back can ask again. A reload forgets them.
const uploads = new Map();
let current = new AbortController(); // of the search under way
let indexed = { size: null };

// --- the key, where the service asks for one ---

const KEY = "crossmatch-key"; // in the tab's own store: never in an address, gone when the tab is closed
let key = sessionStorage.getItem(KEY);
let asking = null; // while the page asks for a key: the promise that one is given

function askForKey(used) {
  if (key !== used) return Promise.resolve(); // another request has been given a new one meanwhile
  key = null;
  sessionStorage.removeItem(KEY);
  asking ??= new Promise((resolve) => {
    document.body.dataset.locked = "";
    $("lock").hidden = false;
    $("lock-problem").textContent = used === null ? "" : "This key is not known here, or no longer valid.";
    $("key").value = "";
    $("key").focus();
    $("lock").onsubmit = (event) => {
      event.preventDefault();
      key = $("key").value.trim();
      sessionStorage.setItem(KEY, key);
      $("key").value = "";
      $("lock").hidden = true;
      delete document.body.dataset.locked;
      asking = null;
      resolve();
    };
  });
  return asking;
}

// An <img> sends no key: where there is one, the picture is fetched with it and shown from memory.
async function loadPicture(image, path) {
  if (key === null) {
    image.src = path;
    return;
  }
  const picture = await call(path).then((response) => response.blob()).catch(() => null);
  if (picture === null) return;
  const address = URL.createObjectURL(picture);
  for (const event of ["load", "error"]) image.addEventListener(event, () => URL.revokeObjectURL(address), { once: true });
  image.src = address;
}

// --- talking to the service ---

class Problem extends Error {
  constructor(message, passing, options) {
    super(message, options);
    this.passing = passing; // whether the same request may succeed later
  }
}

async function call(path, options = {}) {
  const used = key;
  const headers = used === null ? {} : { Authorization: `Bearer ${used}` };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (cause) {
    throw new Problem("The service does not answer. Check that it is running, then try again.", true, { cause });
  }
  if (response.ok) return response;
  if (response.status === 401) {
    await askForKey(used);
    return call(path, options);
  }
  throw new Problem(await describeProblem(response), response.status === 429 || response.status >= 500);
}

// RFC 9457: `detail` is written for the user; a proxy in between may answer with something else.
async function describeProblem(response) {
  const problem = await response.json().catch(() => null);
  const said = [problem?.detail, problem?.title].find((text) => typeof text === "string" && text !== "");
  const wait = response.headers.get("retry-after");
  return `${said ?? `The service answered with status ${response.status}.`}${wait ? ` Try again in ${wait} s.` : ""}`;
}

async function fetchJson(path, options) {
  return (await call(path, options)).json();
}

async function fetchPicture(id, signal) {
  return (await call(itemPath(id, "image"), { signal })).blob();
}

function postPicture(picture, signal) {
  const form = new FormData();
  form.append("image", picture, picture.name ?? "picture");
  return fetchJson(`v1/search?k=${RESULTS}`, { method: "POST", body: form, signal });
}

// --- one search: {file} or {item, name} ---

async function search(query) {
  current.abort();
  current = new AbortController();
  const { signal } = current;
  showAsked(query);
  try {
    const picture = query.file ?? (await fetchPicture(query.item, signal));
    if (signal.aborted) return;
    showPicture(picture, query.item ? itemPath(query.item, "thumbnail") : "");
    const answer = await postPicture(picture, signal);
    if (!signal.aborted) showAnswer(query, answer);
  } catch (error) {
    if (!signal.aborted) showFailure(query, error);
  }
}

function searchFile(file) {
  const upload = uploads.size + 1;
  uploads.set(upload, file);
  history.pushState({ upload }, "", location.pathname);
  search({ file });
}

function searchItem(item) {
  const name = item.label ?? item.key;
  const address = `?item=${encodeURIComponent(item.id)}`;
  if (location.search === address) history.replaceState({ name }, "", address);
  else history.pushState({ name }, "", address);
  search({ item: String(item.id), name });
}

// What the address and its history entry say is what the page shows.
function restore() {
  const item = new URLSearchParams(location.search).get("item");
  const file = uploads.get(history.state?.upload);
  if (item) search({ item, name: history.state?.name });
  else if (file) search({ file });
  else showStart();
}

// --- showing ---

function showStart() {
  current.abort();
  document.body.dataset.view = "start";
  document.title = "Crossmatch";
  for (const id of ["answer", "query", "request"]) $(id).hidden = true;
  $("problem").replaceChildren();
  $("grid").replaceChildren();
  $("status").textContent = "";
  showPicture(null);
}

function showAsked(query) {
  const name = query.file ? query.file.name || "Pasted picture" : (query.name ?? `Picture ${query.item}`);
  const refocus = $("grid").contains(document.activeElement) || $("strip").contains(document.activeElement);
  document.body.dataset.view = "results";
  document.title = `${name} · Crossmatch`;
  $("query").hidden = $("request").hidden = $("answer").hidden = false;
  $("query-name").textContent = name;
  $("curl").textContent = curlCommand(query);
  $("problem").replaceChildren();
  $("answer").setAttribute("aria-busy", "true");
  $("summary").textContent = "Searching …";
  $("status").textContent = "Searching";
  showPicture(null);
  if (!$("grid").querySelector(".card")) $("grid").replaceChildren(...Array.from({ length: 12 }, () => make("li", "skeleton")));
  if (refocus) $("answer-title").focus({ preventScroll: true });
  scrollTo({ top: 0 });
}

// `standIn`: what to show where the browser cannot show the picture itself, such as a TIFF.
function showPicture(picture, standIn = "") {
  const image = $("query-image");
  if (image.src) URL.revokeObjectURL(image.src);
  image.dataset.standIn = standIn;
  $("query").classList.remove("blind");
  if (picture) image.src = URL.createObjectURL(picture);
  else image.removeAttribute("src");
}

function showAnswer(query, answer) {
  const found = answer.results;
  const same = found.find((result) => String(result.id) === query.item);
  if (same) $("query-name").textContent = same.label ?? same.key;
  $("answer").setAttribute("aria-busy", "false");
  $("grid").replaceChildren(...found.map((result) => makeResult(result, result === same)));
  const summary = found.length
    ? `${counted(found.length)} in ${readableTime(answer.took_ms)}`
    : "Nothing to find: this index has no pictures yet.";
  $("summary").textContent = summary;
  $("status").textContent = summary;
}

function showFailure(query, error) {
  $("answer").hidden = $("request").hidden = true;
  $("grid").replaceChildren();
  $("status").textContent = "";
  showProblem(error.message);
  if (!error.passing) return;
  const again = make("button", "", "Try again");
  again.type = "button";
  again.addEventListener("click", () => search(query));
  $("problem").append(again);
}

function showProblem(message) {
  $("problem").replaceChildren(make("p", "", message));
  $("problem").scrollIntoView({ block: "nearest" });
}

function readableTime(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return ms >= 10 ? `${Math.round(ms)} ms` : `${ms.toFixed(1)} ms`;
}

function curlCommand(query) {
  const at = (path) => `'${new URL(path, document.baseURI).href.replaceAll("'", "%27")}'`;
  const auth = key === null ? "" : '-H "Authorization: Bearer $CROSSMATCH_KEY" ';
  const from = query.file ? "" : `curl -s ${auth}${at(itemPath(query.item, "image"))} | `;
  return `${from}curl ${auth}-F image=@${query.file ? "picture.jpg" : "-"} ${at(`v1/search?k=${RESULTS}`)}`;
}

// --- building elements ---

function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function makeThumbnail(item) {
  const image = make("img");
  loadPicture(image, itemPath(item.id, "thumbnail"));
  image.alt = "";
  image.loading = "lazy";
  image.decoding = "async";
  image.draggable = false;
  const frame = make("span", "thumb");
  frame.append(image);
  image.addEventListener("load", () => markSmall(image));
  return frame;
}

function markSmall(image) {
  image.parentElement.classList.toggle("small", Math.max(image.naturalWidth, image.naturalHeight) <= SMALL_PX);
}

function makeCard(item) {
  const card = make("button", "card");
  card.type = "button";
  card.title = item.label === null ? item.key : `${item.label}\n${item.key}`;
  card.addEventListener("click", () => searchItem(item));
  card.append(makeThumbnail(item));
  const entry = make("li");
  entry.append(card);
  return { entry, card };
}

function makeSample(item) {
  const { entry, card } = makeCard(item);
  card.setAttribute("aria-label", `Search with ${item.label ?? item.key}`);
  return entry;
}

function makeResult(result, isQuery) {
  const { entry, card } = makeCard(result);
  if (isQuery) {
    card.setAttribute("aria-current", "true");
    card.firstChild.append(make("span", "same", "Same picture"));
  }
  const score = make("span", "score", result.score.toFixed(2));
  const gauge = make("span", "gauge");
  gauge.append(make("span"));
  gauge.style.setProperty("--score", Math.min(1, Math.max(0, result.score)));
  const title = makeBreakable("title", result.label ?? result.key);
  const key = make("span", "key", result.label === null ? "" : shortKey(result));
  title.dir = key.dir = "auto";
  const words = make("span", "words");
  const smallPrint = make("span", "small-print");
  smallPrint.append(key);
  if (typeof result.probability === "number") smallPrint.append(makeProbability(result.probability));
  words.append(title, score, gauge, smallPrint);
  card.append(words);
  return entry;
}

// Only where the model is calibrated: how likely the result is of the query's class.
function makeProbability(probability) {
  const likely = make("span", "likely", `${Math.round(100 * probability)}% likely`);
  likely.title = "How likely it is of the same class, as the model's calibration has it";
  return likely;
}

// Lets a long path break after its separators first, and inside a word only where nothing else fits.
function makeBreakable(className, text) {
  const element = make("span", className);
  for (const part of text.split(/(?<=[/_-])/)) element.append(part, make("wbr"));
  return element;
}

// A folder's label is the start of its pictures' keys; saying it twice would push the file's name out of sight.
function shortKey({ key, label }) {
  return key.startsWith(`${label}/`) ? key.slice(label.length + 1) : key;
}

// --- the index: its size, its progress, its samples ---

async function watchIndex() {
  let info;
  try {
    info = await fetchJson("v1/index");
  } catch {
    $("size").textContent = "The service does not answer";
    setTimeout(watchIndex, RETRY_MS);
    return;
  }
  showIndex(info);
  if (info.building) setTimeout(watchIndex, POLL_MS);
  if (info.size !== indexed.size && $("strip").childElementCount < SAMPLES) await showSamples();
  indexed = info;
}

function showIndex({ size, building, attribution, generation, model, recall }) {
  $("size").textContent = counted(size);
  $("empty").hidden = size > 0 || building !== null;
  $("building").hidden = building === null;
  if (building) {
    const { done, total } = building;
    $("building-text").textContent = `Indexing ${number.format(done)} of ${counted(total)}. Those that are done can be searched.`;
    $("building-bar").max = Math.max(1, total);
    $("building-bar").value = done;
  }
  $("attribution").hidden = !attribution;
  $("attribution").textContent = attribution ?? "";
  $("facts").hidden = false;
  $("generation").textContent = generation ?? "none";
  $("model").textContent = String(model ?? "none").slice(0, 12);
  $("model").title = model ?? "";
  $("recall").textContent = typeof recall === "number" ? recall.toFixed(3) : "not measured";
}

async function showSamples() {
  const { items } = await fetchJson(`v1/examples?n=${SAMPLES}`).catch(() => ({ items: [] }));
  $("strip").replaceChildren(...items.map(makeSample));
  $("samples").hidden = items.length === 0;
}

// --- ways in: pick, drop, paste, history ---

function pictureIn(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.find((file) => file.type.startsWith("image/")) ?? files[0];
}

function take(event, transfer, otherwise) {
  const file = pictureIn(transfer);
  event.preventDefault();
  if (file) searchFile(file);
  else showProblem(otherwise);
}

function setDragging(on) {
  document.documentElement.classList.toggle("dragging", on);
}

$("file").addEventListener("change", ({ target }) => {
  if (target.files.length) searchFile(target.files[0]);
  target.value = ""; // so that the same file can be chosen again
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  setDragging(true);
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) setDragging(false); // it left the window, not only one element
});
document.addEventListener("drop", (event) => {
  setDragging(false);
  take(event, event.dataTransfer, "What was dropped is not a file. Save the picture first, then drop the file.");
});
document.addEventListener("paste", (event) => {
  if (event.target === $("key")) return;
  take(event, event.clipboardData, "The clipboard holds no picture. Copy the picture itself, then paste again.");
});
$("query-image").addEventListener("load", ({ target }) => markSmall(target));
$("query-image").addEventListener("error", ({ target }) => {
  const { standIn } = target.dataset;
  target.dataset.standIn = "";
  if (standIn) loadPicture(target, standIn);
  else $("query").classList.add("blind");
});
$("home").addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab or window
  event.preventDefault();
  history.pushState(null, "", location.pathname);
  showStart();
});
addEventListener("popstate", restore);

restore();
watchIndex();
