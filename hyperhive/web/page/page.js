"use strict";
// The pages work without this file. With it they are live: what happens makes the page be fetched again, and what
// has changed in it is put into the one that is shown. So there is one place that knows how things look: the templates.

const EVENTS = ["mail", "delivered", "done", "requeued", "dead", "woken", "awake", "asleep", "turn", "turn_event",
  "status", "approval", "spawned", "question", "question_answered", "container_crash", "quarantined", "started",
  "recovered", "finished", "stopped", "model", "command", "command_denied", "denial_dismissed", "session", "progress",
  "wild", "egress"];
const REST = 250; // milliseconds between two fetches of the page
const RETRY = 2000; // until a stream that was refused is asked for again
const ANEW = 20000; // how long ago things were is told anew
const LINGER = 10000; // how long the result of an action stays when what it was done to is gone

const one = (query, within = document) => within.querySelector(query);
const all = (query, within = document) => [...within.querySelectorAll(query)];
const visible = (text) => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\u00b7").slice(0, 300);

function element(name, about = {}, text = "") {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(about)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

// ---- what changed

function morph(old, fresh) {
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  if (old.matches("textarea, select, output")) return;
  const stay = new Set([...fresh.children].map((child) => child.id).filter(Boolean));
  for (const child of [...old.childNodes]) if (child.id && !stay.has(child.id)) remove(child, old);
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = first(old.firstChild);
  while (old.grows && at && !stay.has(at.id)) at = first(at.nextSibling); // what turns.js has put before it
  for (const child of [...fresh.childNodes]) {
    const same = child.id ? known.get(child.id) : at && !at.id && at.nodeName === child.nodeName ? at : null;
    if (!same) old.insertBefore(child, at);
    else if (same === at) at = first(at.nextSibling);
    else old.insertBefore(same, at);
    if (same) renew(same, child);
  }
  while (at) {
    const next = first(at.nextSibling);
    remove(at, old);
    at = next;
  }
}

function first(node) {
  while (node && node.gone) node = node.nextSibling;
  return node;
}

function renew(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else if (!old.hasAttribute("data-keep") && !old.isEqualNode(fresh)) morph(old, fresh);
}

function remove(node, list) {
  if (node.gone || list.hasAttribute("data-grows") || list.grows) return;
  const said = node.nodeType === Node.ELEMENT_NODE && all("output", node).find((each) => each.textContent || each.dataset.key);
  const focused = node.contains(document.activeElement);
  if (said) {
    const told = element(list.matches("ul, ol") ? "li" : "div");
    told.append(said);
    told.gone = true;
    node.replaceWith(told);
    setTimeout(() => told.remove(), LINGER);
  } else node.remove();
  if (focused) {
    const section = list.closest("section, main");
    section.tabIndex = -1;
    section.focus({ preventScroll: true });
  }
}

// ---- the page, again

let fetching = false;
let wanted = false;
let signedOut = false;

async function refresh() {
  wanted = true;
  if (fetching) return;
  fetching = true;
  while (wanted) {
    wanted = false;
    await again().catch(() => lost());
    const rest = one("[data-slow]") ? 20 * REST : REST;
    await new Promise((done) => setTimeout(done, document.hidden ? 8 * rest : rest));
  }
  fetching = false;
}

async function again() {
  const answer = await fetch(location.pathname + location.search);
  const back = signedOut && answer.status !== 401; // in another tab
  signedOut = answer.status === 401;
  if (signedOut) return lost("You are signed out.");
  if (!answer.ok) return lost({ 404: "This is no longer there.", 503: AWAY }[answer.status]);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const query of ["#main", "#waits"]) renew(one(query), one(query, fresh));
  document.title = fresh.title;
  one("meta[name=csrf]").content = one("meta[name=csrf]", fresh).content;
  if (back) listen("");
  times();
  hide();
  notify();
  if (streaming()) live("live", false);
}

function times() {
  for (const time of all("time[datetime]")) time.title = new Date(time.dateTime).toLocaleString();
}

// ---- the stream

const AWAY = "The broker is away: what you see may be old. Trying again …";
let stream = null;
let since = "";

const streaming = () => stream && stream.readyState === EventSource.OPEN;

function live(text, bad) {
  const shown = one("#live");
  if (shown.dataset.text === text) return;
  shown.dataset.text = shown.textContent = text;
  shown.classList.toggle("lost", bad);
  // in a tab of its own, so that what was typed here stays
  if (signedOut) shown.append(" ", element("a", { href: "/sign-in", target: "_blank" }, "Sign in"));
}

function lost(why = "") {
  since ||= new Date().toLocaleTimeString();
  live(why || `connection lost at ${since}: what you see may be old. Trying again …`, true);
}

function listen(last) {
  stream = new EventSource(`/api/stream?last=${encodeURIComponent(last)}`);
  stream.onopen = () => {
    if (since) refresh();
    else live("live", false);
    since = "";
  };
  stream.onerror = () => {
    lost();
    refresh(); // which says so if it is because we are signed out
    if (stream.readyState === EventSource.CLOSED) setTimeout(anew, RETRY);
  };
  stream.addEventListener("reload", refresh);
  stream.addEventListener("away", () => lost(AWAY));
  for (const kind of EVENTS) stream.addEventListener(kind, (event) => happened(kind, JSON.parse(event.data)));
}

// It was refused: the page says whether that is because we are signed out.
async function anew() {
  await again().catch(() => lost());
  if (!signedOut && stream.readyState === EventSource.CLOSED) listen("");
}

function happened(kind, event) {
  const of = document.body.dataset.agent;
  if (kind === "progress") {
    for (const shown of all(`[data-doing="${CSS.escape(event.agent)}"]`)) shown.textContent = visible(event.text);
    if (!one(`[data-state="${CSS.escape(event.agent)}"][data-word="working"]`)) refresh();
  } else if (kind === "turn_event" && event.agent !== of) return;
  else refresh();
  if (kind !== "progress") document.dispatchEvent(new Event("hive")); // for charts.js
  if (kind !== "approval") return;
  for (const said of all(`output[data-request="${event.id}"]`)) {
    if (said.textContent) said.textContent = `Request ${event.id}: ${event.kind} of ${event.agent} is ${event.state}.`;
    said.classList.toggle("wrong", event.state === "failed");
  }
}

// ---- actions, with their result in place

async function act(path, fields, said) {
  fields.set("key", said.dataset.key ||= [...crypto.getRandomValues(new Uint8Array(16))].join("-"));
  fields.delete("next");
  const slow = setTimeout(() => tell(said, "Waiting for the hive …", "waits"), 200);
  try {
    const headers = { Accept: "application/json", "X-CSRF": one("meta[name=csrf]").content };
    const answer = await fetch(path, { method: "POST", body: new URLSearchParams(fields), headers });
    const about = await answer.json();
    delete said.dataset.key; // what was answered is done, or left nothing behind
    clearTimeout(slow);
    const hint = about.hint ? ` (${about.hint})` : "";
    if (answer.status === 401) refresh();
    tell(said, answer.ok ? about.said : `${about.message}${hint}`, !answer.ok ? "wrong" : answer.status === 202 ? "waits" : "");
    return answer.ok ? about : null;
  } catch {
    clearTimeout(slow);
    tell(said, "The hive did not answer. Try again: nothing is done twice.", "wrong");
    return null;
  }
}

function tell(said, text, look) {
  said.className = look;
  said.setAttribute("role", "status");
  said.textContent = text;
}

async function submitted(event) {
  const form = event.target;
  if (form.method !== "post" || form.hasAttribute("data-plain") || event.defaultPrevented) return;
  event.preventDefault();
  const pressed = event.submitter || one("button", form);
  if (pressed.disabled) return;
  const fields = new FormData(form, event.submitter);
  pressed.disabled = true;
  const done = await act(form.getAttribute("action"), fields, one("output", form));
  pressed.disabled = false;
  if (!done) return pressed.focus();
  for (const typed of all("textarea, input:not([type=hidden], [type=checkbox])", form)) typed.value = typed.defaultValue;
  if (form.dataset.read) act("/api/read", new URLSearchParams({ ids: form.dataset.read }), element("output"));
  refresh();
}

// a link whose target is shown in place: a request's diff, the form for a reply
async function inline(event) {
  const link = event.target.closest("a[data-inline]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const place = one("[data-keep]", link.closest("li"));
  link.setAttribute("aria-expanded", String(!place.firstChild));
  if (place.firstChild) return place.replaceChildren();
  try {
    const answer = await fetch(link.getAttribute("href"));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = one(`#${link.dataset.inline}`, page);
    place.replaceChildren(...(found ? [...found.children].slice(1) : [element("p", { class: "bad" }, "It cannot be shown.")]));
    one("textarea", place)?.focus();
  } catch {
    place.replaceChildren(element("p", { class: "bad" }, "The hive did not answer. Try again."));
  }
}

// ---- mail: the filter, which is in the address, and so in what is fetched again

const PAUSE = 150; // milliseconds in which no key was pressed
let typing = 0;

function filter() {
  const form = one("#filter");
  const address = new URL(location.href);
  for (const [name, value] of new FormData(form)) {
    if (value.trim()) address.searchParams.set(name, value);
    else address.searchParams.delete(name);
  }
  address.searchParams.delete("older");
  if (address.href === location.href) return;
  history.replaceState(null, "", address);
  refresh();
}

function watchFilter(form) {
  form.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(filter, PAUSE); });
  form.addEventListener("submit", (event) => { event.preventDefault(); filter(); });
}

// ---- notifications

const told = new Set();

function notify() {
  const news = JSON.parse(one("#waits").dataset.waits).filter(([id]) => !told.has(id));
  for (const [id] of news) told.add(id);
  if (!notify.began || Notification.permission !== "granted" || !document.hidden) return;
  for (const [tag, text] of news) new Notification("hyperhive", { body: visible(text), tag });
}

function ask() {
  const button = one("#notify");
  if (!("Notification" in window)) return;
  notify();
  notify.began = true;
  button.hidden = Notification.permission !== "default";
  button.addEventListener("click", async () => {
    const said = await Notification.requestPermission();
    button.hidden = said === "granted";
    if (said === "denied") button.replaceWith(element("span", { class: "small" }, "The browser refuses notifications."));
  });
}

// ---- the composer

const COMMANDS = {
  "/help": "what can be typed here",
  "/model": "NAME [TIME]: its model from the next turn on, until 2h from now, or 18:00; alone: which one it is",
  "/compact": "compact its session",
  "/cancel": "stop the turn that runs",
  "/new-session": "begin a new session",
  "/clear": "clear the turns on this page",
};
// What cannot be taken back is asked once: the same command again means yes.
const ASKS = {
  "/cancel": "This stops the turn that runs; its mail is not delivered again, and who sent it is told.",
  "/new-session": "It forgets what was said so far; its files and notes stay.",
  "/clear": "This hides the turns on this page; nothing is deleted.",
};
// A time of day is the reader's, whatever clock the hive has.
function moment(text) {
  const [, hours, minutes] = /^(\d{1,2}):(\d\d)$/.exec(text) || [];
  if (!hours) return text;
  const at = new Date();
  at.setHours(hours, minutes, 0, 0);
  if (at <= Date.now()) at.setDate(at.getDate() + 1);
  return at.toISOString();
}

const DONE_BY = { "/compact": "compact", "/cancel": "cancel-turn", "/new-session": "new-session" };

const cleared = new Set();

function hide() {
  for (const id of cleared) document.getElementById(id)?.setAttribute("hidden", "");
}

async function command(form, line) {
  const said = one("output", form);
  const [word, ...rest] = line.split(/\s+/);
  if (ASKS[word] && form.dataset.asked !== word) {
    form.dataset.asked = word;
    one("textarea", form).value = word;
    return tell(said, `${ASKS[word]} Send it again to do it.`, "waits");
  }
  delete form.dataset.asked;
  const fields = new URLSearchParams({ agent: form.dataset.composer });
  if (word === "/help") return tell(said, Object.entries(COMMANDS).map((each) => each.join("  ")).join("\n"), "body");
  if (word === "/clear") {
    for (const each of all(".turn:not([data-runs]), .turn[data-runs] .events > li")) cleared.add(each.id);
    hide();
    return tell(said, "Cleared here. Nothing was deleted: load the page again to see it.", "");
  }
  if (word === "/model" && !rest.length) return tell(said, one("#model").innerText.replace(/\s+/g, " "), "");
  if (word === "/model") {
    fields.set("model", rest[0]);
    if (rest[1]) fields.set("until", moment(rest.slice(1).join(" ")));
  }
  const action = word === "/model" ? "model" : DONE_BY[word];
  if (!action) return tell(said, `There is no command ${visible(word)}. See /help`, "wrong");
  if (await act(`/api/${action}`, fields, said)) refresh();
}

function compose() {
  const form = one("#composer");
  const text = one("textarea", form);
  const place = one(".choices-at", form);
  let chosen = 0;
  one(".scripted", form).hidden = false;

  // what it may become, each with what there is to say of it
  function found() {
    const model = /^\/model +(\S*)$/.exec(text.value);
    if (model) return JSON.parse(form.dataset.models).filter(([name]) => name.startsWith(model[1])).map(([name, says]) => [`/model ${name}`, name, says]);
    if (!/^\/[a-z-]*$/.test(text.value)) return [];
    return Object.keys(COMMANDS).filter((each) => each.startsWith(text.value)).map((each) => [each, each, COMMANDS[each]]);
  }
  const open = () => place.firstChild !== null;
  const close = () => { place.replaceChildren(); text.removeAttribute("aria-activedescendant"); text.removeAttribute("aria-controls"); };
  const forget = () => {
    if (form.dataset.asked) text.value = "", tell(one("output", form), "Not done.", "");
    delete form.dataset.asked;
    close();
  };
  const take = (line) => {
    text.value = line === "/model" ? "/model " : line;
    text.focus();
    if (line === "/model") look();
    else close();
  };
  // of models none is chosen before one has begun to choose: "/model" alone is a command, too
  const look = () => { chosen = /\s$/.test(text.value) ? -1 : 0; show(); };

  function show() {
    const lines = found();
    if (!lines.length) return close();
    const list = element("ul", { class: "choices", id: "choices", role: "listbox", "aria-label": "What it may become" });
    for (const [n, [line, name, says]] of lines.entries()) {
      const choice = element("li", { role: "option", id: `choice-${n}`, "aria-selected": String(n === chosen) }, `${visible(name)}  ${visible(says)}`);
      choice.addEventListener("mousedown", (event) => { event.preventDefault(); take(line); });
      list.append(choice);
    }
    place.replaceChildren(list);
    text.setAttribute("aria-controls", "choices");
    if (chosen < 0) text.removeAttribute("aria-activedescendant");
    else text.setAttribute("aria-activedescendant", `choice-${chosen}`);
  }

  text.setAttribute("aria-autocomplete", "list");
  text.addEventListener("input", () => { delete form.dataset.asked; look(); });
  text.addEventListener("blur", close);
  // else the list would close under the finger, and the button be elsewhere when it is let go
  one("button", form).addEventListener("mousedown", (event) => event.preventDefault());
  text.addEventListener("keydown", (event) => {
    const lines = found();
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const [line] = lines[event.key === "Tab" && chosen < 0 ? 0 : chosen] || [];
    if (open() && move) chosen = chosen < 0 && move < 0 ? lines.length - 1 : (chosen + move + lines.length) % lines.length, show();
    else if (event.key === "Escape" && (open() || form.dataset.asked)) forget();
    else if (open() && (event.key === "Tab" || event.key === "Enter") && line && line !== text.value) take(line);
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey || text.value.startsWith("/"))) form.requestSubmit();
    else return;
    event.preventDefault();
  });
  form.addEventListener("submit", (event) => {
    if (!text.value.startsWith("/")) return;
    event.preventDefault();
    const line = text.value.trim();
    text.value = "";
    close();
    command(form, line);
  });
}

// ---- begin

document.addEventListener("submit", submitted);
document.addEventListener("click", inline);
if (document.body.dataset.last) {
  if (one("#composer")) compose();
  if (one("#filter")) watchFilter(one("#filter"));
  requestIdleCallback(ask); // what is permitted is another process's to say, for which this one would stand still
  times();
  listen(document.body.dataset.last);
  setInterval(() => document.hidden || refresh(), ANEW);
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
}
