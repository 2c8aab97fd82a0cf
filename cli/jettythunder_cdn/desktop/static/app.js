// The desktop CDN's page. It asks for the state, shows it, and sends files to this computer's own disk;
// sending them on is the work of the process behind it, which goes on when this page is closed.

const TOKEN = "jettythunder-session";
const SENT_AT_ONCE = 2;
const byId = (id) => document.getElementById(id);

/** A problem that the process answered with. */
class Problem extends Error {
  constructor(status, body) {
    super(body.detail || `The desktop CDN answered with status ${status}.`);
    this.status = status;
    this.body = body;
  }
}

async function call(method, path, body) {
  const headers = { Authorization: `Bearer ${localStorage.getItem(TOKEN) || ""}` };
  const isFile = body instanceof Blob;
  if (body !== undefined) headers["Content-Type"] = isFile ? "application/octet-stream" : "application/json";
  const response = await fetch(path, { method, headers, body: isFile ? body : body && JSON.stringify(body) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, answer);
  return answer;
}

// Showing

function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

function number(value) {
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

function size(bytes) {
  for (const [unit, divisor] of [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (bytes >= divisor) return `${number(bytes / divisor)} ${unit}`;
  }
  return `${Math.round(bytes)} B`;
}

const speed = (bytesPerSecond) => `${number(bytesPerSecond / 1e6)} MB/s`;
const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

function remaining(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 60) return `${Math.ceil(seconds)} s left`;
  return seconds < 3600 ? `${Math.ceil(seconds / 60)} min left` : `${number(seconds / 3600)} h left`;
}

function say(sentence) {
  text(byId("said"), sentence);
}

let shownProblem = "";
function showProblem(sentence) {
  shownProblem = sentence;
  byId("problem").hidden = !sentence;
  text(byId("problem"), sentence);
}

/** Keeps a list's elements by key, so that focus and screen readers stay where they are. */
function keyed(list, items, key, make, update) {
  const known = new Map([...list.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, position) => {
    let child = known.get(String(key(item)));
    if (!child) {
      child = make(item);
      child.dataset.key = key(item);
    }
    known.delete(String(key(item)));
    if (list.children[position] !== child) list.insertBefore(child, list.children[position] || null);
    update(child, item);
  });
  for (const child of known.values()) child.remove();
}

// Uploads

const WORDS = {
  receiving: "Copying to this computer's disk",
  waiting: "Waiting",
  sending: "Uploading",
  paused: "Paused",
  done: "Uploaded",
  failed: "Failed",
};

function makeUpload(upload) {
  const about = upload.name;
  const button = (action, label) =>
    el("button", { type: "button", class: "quiet small", "data-action": action, "aria-label": `${label}: ${about}`,
      onclick: () => act(action, upload.id, about) }, label);
  return el("li", {},
    el("div", { class: "row" },
      el("span", { class: "name" }, upload.name, " ", el("span", { class: "folder" }, upload.folder ? `in ${upload.folder}` : "")),
      el("span", { class: "buttons" }, button("pause", "Pause"), button("resume", "Resume"), button("remove", "Remove"))),
    el("progress", { max: 1, "aria-label": `Progress of ${about}` }),
    el("div", { class: "figures" }, el("span", { class: "why" }), el("span", { class: "how" })),
    el("ul", { class: "lanes", "aria-label": `Edges of ${about}` }));
}

function updateUpload(item, upload) {
  const total = upload.size_bytes || 1;
  const receiving = upload.state === "receiving";
  const sent = upload.state === "paused" || upload.state === "waiting"
    ? Math.max(upload.done_bytes, lastDone.get(upload.id) || 0) : upload.done_bytes;
  if (upload.state === "sending") lastDone.set(upload.id, upload.done_bytes);
  const done = upload.size_bytes === 0 && upload.state === "done" ? 1 : receiving ? upload.received_bytes : sent;
  item.className = upload.state;
  item.querySelector("progress").value = done / total;
  const actions = { pause: ["waiting", "sending"], resume: ["paused", "failed"],
    remove: ["receiving", "waiting", "sending", "paused", "done", "failed"] };
  let left = false;
  for (const button of item.querySelectorAll("button")) {
    const hadFocus = document.activeElement === button;
    button.hidden = !actions[button.dataset.action].includes(upload.state);
    if (hadFocus && button.hidden) left = true;
  }
  // Pausing takes the focus to resuming, and back.
  if (left) item.querySelector("button:not([hidden])")?.focus();
  const interrupted = receiving && !sendingFiles.has(upload.id);
  const word = interrupted ? "Not copied as a whole: drop the file again to go on" : WORDS[upload.state];
  text(item.querySelector(".why"), upload.detail ? `${word}: ${upload.detail}` : word);
  const until = upload.bytes_per_second > 0 ? remaining((upload.size_bytes - sent) / upload.bytes_per_second) : "";
  const how = upload.state === "sending" ? [`${size(sent)} of ${size(upload.size_bytes)}`, speed(upload.bytes_per_second), until]
    : upload.state === "done" ? [size(upload.size_bytes), upload.route === "already_stored" ? "was stored already" : upload.seconds ? `in ${number(upload.seconds)} s` : ""]
    : [`${size(done)} of ${size(upload.size_bytes)}`];
  text(item.querySelector(".how"), how.filter(Boolean).join(" · "));
  const most = Math.max(1, ...upload.edges.map((edge) => edge.goodput));
  const edges = upload.state === "sending" ? [...upload.edges].sort((a, b) => a.edge.localeCompare(b.edge)) : [];
  item.querySelector(".lanes").hidden = !edges.length;
  keyed(item.querySelector(".lanes"), edges, (edge) => edge.edge, makeLane, (lane, edge) => {
    lane.querySelector("progress").value = edge.goodput / most;
    const shown = edge.backing_off ? "backing off" : speed(edge.goodput);
    lane.querySelector(".speed b").className = edge.backing_off ? "off" : "";
    text(lane.querySelector(".speed b"), shown);
    text(lane.querySelector(".connections"), count(edge.in_flight, "connection"));
    text(lane.querySelector(".stored"), size(edge.acknowledged_bytes));
  });
}

const lastDone = new Map();

function makeLane(edge) {
  return el("li", {},
    el("span", { class: "edge" }, edge.edge, " ", el("span", {}, edge.region)),
    el("progress", { max: 1, "aria-label": `Speed of ${edge.edge}, relative to the fastest` }),
    el("span", { class: "speed" }, el("b", {}), el("span", { class: "connections" }), el("span", { class: "stored" })));
}

async function act(action, id, about) {
  try {
    if (action === "remove") await call("DELETE", `/desktop/api/uploads/${id}`);
    else await call("POST", `/desktop/api/uploads/${id}/${action}`);
    say(`${{ pause: "Paused", resume: "Resumed", remove: "Removed" }[action]}: ${about}`);
  } catch (error) {
    showProblem(error.message);
  }
  refresh();
}

// Files of this page on their way to the disk

const waitingFiles = [];
const sendingFiles = new Set();

function add(files) {
  waitingFiles.push(...files);
  if (files.length) say(`${count(files.length, "file")} added`);
  sendFiles();
}

function sendFiles() {
  while (waitingFiles.length && sendingFiles.size < SENT_AT_ONCE) {
    const { file, path } = waitingFiles.shift();
    const mark = Symbol(path);
    sendingFiles.add(mark);
    sendFile(file, path, mark)
      .catch((error) => showProblem(`${path}: ${error.message}`))
      .finally(() => {
        sendingFiles.delete(mark);
        sendFiles();
        refresh();
      });
  }
}

async function sendFile(file, path, mark) {
  const about = { path, size_bytes: file.size, modified_ms: file.lastModified };
  let upload = await call("POST", "/desktop/api/uploads", about);
  sendingFiles.delete(mark);
  sendingFiles.add(upload.id);
  refresh();
  try {
    for (let attempt = 1; upload.state === "receiving"; attempt += 1) {
      try {
        const rest = file.slice(upload.received_bytes);
        upload = await call("PUT", `/desktop/api/uploads/${upload.id}/content?offset=${upload.received_bytes}`, rest);
      } catch (error) {
        if (error.body?.code === "wrong_offset") upload.received_bytes = error.body.received_bytes;
        else if (error instanceof Problem || attempt >= 20) throw error;
        // The process was restarted: it goes on where it was.
        await new Promise((resolve) => setTimeout(resolve, Math.min(5000, 250 * attempt)));
        upload = { ...upload, ...(await call("POST", "/desktop/api/uploads", about).catch(() => ({}))) };
      }
    }
  } finally {
    sendingFiles.delete(upload.id);
  }
}

/** The files of what was dropped, folders gone through. */
async function dropped(items) {
  const found = [];
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const visit = async (entry, path) => {
    if (entry.isFile) {
      found.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path: path + entry.name });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const children = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!children.length) return;
      for (const child of children) await visit(child, `${path}${entry.name}/`);
    }
  };
  for (const entry of entries) await visit(entry, "");
  return found;
}

// Quota and cache

function meter(parent, name, title, value, most, detail) {
  let made = parent.querySelector(`[data-meter="${name}"]`);
  if (!made) {
    made = el("div", { class: "meter", "data-meter": name },
      el("div", { class: "figures" }, el("h3", {}, title), el("span", { class: "percent" })),
      el("progress", { max: 1, "aria-label": title }), el("div", { class: "figures" }, el("span", { class: "detail" })));
    parent.append(made);
  }
  const share = most ? value / most : 0;
  made.classList.toggle("over", share >= 1);
  made.querySelector("progress").value = Math.min(1, share);
  text(made.querySelector("h3"), title);
  made.querySelector("progress").setAttribute("aria-label", title);
  text(made.querySelector(".percent"), `${number(share * 100)} %`);
  text(made.querySelector(".detail"), detail);
}

function showQuota(quota) {
  const place = byId("quota");
  if (!quota) return;
  for (const [name, title] of [["storage", "Storage"], ["bandwidth", "Bandwidth"]]) {
    const found = quota[name];
    const used = found.used_bytes + found.reserved_bytes;
    const reserved = found.reserved_bytes ? `, ${size(found.reserved_bytes)} of it reserved` : "";
    meter(place, name, title, used, found.quota_bytes, `${size(used)} of ${size(found.quota_bytes)} used${reserved}`);
  }
}

function nameOf(content) {
  const encoded = /filename\*=UTF-8''([^;]+)/i.exec(content.disposition);
  if (encoded) {
    try {
      return decodeURIComponent(encoded[1]);
    } catch { /* Not as it should be: the other form is taken. */ }
  }
  return /filename="([^"]+)"/i.exec(content.disposition)?.[1] || content.asset_ids[0] || "Just uploaded";
}

function showCache(cache, contents) {
  const place = byId("cache");
  if (!place.querySelector(".saved")) place.prepend(el("p", { class: "saved" }), el("p", { class: "note" }));
  text(place.querySelector(".saved"), size(cache.saved_bytes));
  text(place.querySelector(".note"), "saved: read from this computer, and not downloaded again");
  const kept = cache.kept;
  meter(place, "kept", count(kept.contents, "asset"), kept.allocated_bytes, kept.budget_bytes,
    `${size(kept.allocated_bytes)} of ${size(kept.budget_bytes)}`);
  const shown = contents.slice(0, 8);
  byId("contents").hidden = !shown.length;
  byId("clear").disabled = !contents.some((content) => !content.pinned);
  keyed(byId("contents"), shown, (content) => content.asset_ids[0] || content.used_at, makeContent, (item, content) => {
    const states = [size(content.size_bytes), content.verified ? "checked" : "", content.pinned ? "pinned" : ""];
    text(item.querySelector(".what b"), nameOf(content));
    text(item.querySelector(".what span"), states.filter(Boolean).join(" · "));
    const button = item.querySelector("button");
    button.hidden = !content.asset_ids[0];
    text(button, content.pinned ? "Unpin" : "Pin");
    button.setAttribute("aria-label", `${content.pinned ? "Unpin" : "Pin"} ${nameOf(content)}`);
    button.dataset.pinned = content.pinned ? "yes" : "";
  });
}

function makeContent(content) {
  const pin = async (event) => {
    const pinned = event.currentTarget.dataset.pinned;
    try {
      await call(pinned ? "DELETE" : "POST", `/v1/pins/${content.asset_ids[0]}`);
      say(pinned ? "Unpinned" : "Pinned");
    } catch (error) {
      showProblem(error.message);
    }
    refresh();
  };
  return el("li", {}, el("div", { class: "what" }, el("b", {}), el("span", {})),
    el("button", { type: "button", class: "quiet small", onclick: pin }));
}

// The state, again and again

let timer;
let shows = "";

function showSection(name) {
  if (shows === name) return;
  const first = shows === "";
  shows = name;
  byId("sign-in").hidden = name !== "sign-in";
  byId("signed-in").hidden = name !== "signed-in";
  byId("account").hidden = name !== "signed-in";
  if (name === "sign-in") byId("api-key").focus();
  else if (!first) byId("main").focus();
}

async function refresh() {
  clearTimeout(timer);
  let state;
  try {
    state = await call("GET", "/desktop/api/state");
  } catch (error) {
    showProblem(error instanceof Problem ? error.message : "The desktop CDN does not run. Start it with: jettythunder cdn start");
    timer = setTimeout(refresh, 2000);
    return;
  }
  if (shownProblem.startsWith("The desktop CDN does not run")) showProblem("");
  if (!state.signed_in) {
    byId("badge").hidden = true;
    byId("api-url-field").hidden = state.has_account;
    if (!byId("api-url").value) byId("api-url").value = state.api_url;
    text(byId("sign-in-hint"), state.has_account
      ? "This computer is signed in already. Run jettythunder cdn open, or give the same account's key and secret."
      : "Give your account's key and secret once.");
    showSection("sign-in");
    return;
  }
  showSection("signed-in");
  if (state.problem) showProblem(state.problem);
  else if (shownProblem && shownProblem === lastProblem) showProblem("");
  lastProblem = state.problem;
  const quota = state.quota;
  byId("badge").hidden = !quota?.jetty_speed_enabled;
  text(byId("account-name"), quota ? `${state.account?.api_key} · ${quota.tier}` : state.account?.api_key || "");
  showQuota(quota);
  showCache(state.cache, state.contents);
  byId("no-uploads").hidden = state.uploads.length > 0;
  keyed(byId("uploads"), [...state.uploads].reverse(), (upload) => upload.id, makeUpload, updateUpload);
  const busy = state.uploads.some((upload) => ["receiving", "waiting", "sending"].includes(upload.state));
  timer = setTimeout(refresh, document.hidden ? 5000 : busy ? 400 : 2500);
}

let lastProblem = "";

async function signIn(body) {
  const answer = await call("POST", "/desktop/api/session", body);
  localStorage.setItem(TOKEN, answer.token);
  showProblem("");
}

byId("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("sign-in-button").disabled = true;
  try {
    await signIn(Object.fromEntries(new FormData(event.target)));
    event.target.reset();
    say("Signed in");
  } catch (error) {
    showProblem(error.message);
  }
  byId("sign-in-button").disabled = false;
  refresh();
});

byId("sign-out").addEventListener("click", async () => {
  if (!confirm("Sign out on this computer? Uploads are paused, and the account's key is removed from it.")) return;
  try {
    await call("DELETE", "/desktop/api/session");
  } catch (error) {
    showProblem(error.message);
  }
  localStorage.removeItem(TOKEN);
  refresh();
});

byId("clear").addEventListener("click", async () => {
  if (!confirm("Remove everything that is not pinned from this computer's cache?")) return;
  try {
    say(`Freed ${size((await call("POST", "/v1/clear")).freed_bytes)}`);
  } catch (error) {
    showProblem(error.message);
  }
  refresh();
});

byId("choose-files").addEventListener("click", () => byId("files").click());
byId("choose-folder").addEventListener("click", () => byId("folder").click());
for (const id of ["files", "folder"]) {
  byId(id).addEventListener("change", (event) => {
    add([...event.target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
    event.target.value = "";
  });
}

const drop = byId("drop");
for (const name of ["dragenter", "dragover"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", shows === "signed-in");
  });
}
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
addEventListener("drop", async (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (shows === "signed-in") add(await dropped(event.dataTransfer.items));
});
document.addEventListener("visibilitychange", () => document.hidden || refresh());

const code = /^#code=([\w-]+)$/.exec(location.hash);
if (code) {
  history.replaceState(null, "", "/");
  await signIn({ code: code[1] }).catch((error) => showProblem(error.message));
}
refresh();
