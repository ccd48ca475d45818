// A chat. Channels: `rooms` (which there are), `room.NAME` (what is said), `typing.NAME` (who types, worth nothing later).
//
// A room is its channel's log: entering it is reading from the earliest message on, and so is coming back after a
// restart of the server. An edit is one more message, of the event `edit`, that names the one it is for.

import { openCorner } from "/web/corner.js";
import { Room } from "./room.js";
import { View, element, face } from "./view.js";

const MOST_ROOMS = 50;
const TYPING_EVERY_MS = 2000;
const TYPING_LASTS_MS = 5000;
const COLOURS = ["Amber", "Indigo", "Olive", "Coral", "Silver", "Teal"];
const BIRDS = ["Heron", "Wren", "Plover", "Swift", "Avocet", "Lark"];

const $ = (id) => document.getElementById(id);
const pick = (list) => list[Math.floor(Math.random() * list.length)];
const remembered = (key, make) => {
  const value = localStorage.getItem(key) ?? make();
  localStorage.setItem(key, value);
  return value;
};

const me = remembered("chat who", () => Math.random().toString(36).slice(2, 12));
let name = remembered("chat name", () => `${pick(COLOURS)} ${pick(BIRDS)}`);

const rooms = new Map(); // name → Room, in the order of the list
let here = null; // the room that is open
let editing = null; // the entry that is being mended
let stopTyping = () => {};
let typedAt = 0;
const typists = new Map(); // who → {name, timer}

const corner = openCorner($("corner"), "websocket");
const view = new View({ list: $("messages"), waiting: $("waiting"), scroll: $("scroll"), jump: $("jump"), me, edit });

// Rooms

function addRoom(name) {
  if (rooms.has(name) || rooms.size >= MOST_ROOMS || !/^[a-z0-9-]{1,30}$/.test(name)) return rooms.get(name);
  const room = new Room(name);
  rooms.set(name, room);
  corner.listen(`room.${name}`, { after: "earliest" }, {
    message(message) {
      const entry = room.take(message);
      if (!entry) return;
      arrived(entry);
      if (room === here) show(entry);
      mark();
    },
    gap(gap) {
      const entry = room.gap(gap);
      if (room === here) view.add(entry);
    },
  });
  mark();
  return room;
}

function enter(name) {
  const room = addRoom(name) ?? rooms.get("lobby");
  if (room === here) return;
  cancelEdit();
  stopTyping();
  typists.clear();
  here = room;
  $("room-name").textContent = `# ${room.name}`;
  view.show(room.entries, room.unread(me)[0]);
  for (const entry of waiting.values()) if (entry.room === room) view.wait(entry);
  stopTyping = corner.listen(`typing.${room.name}`, {}, { message: heardTyping });
  showTyping();
  mark();
}

/** Bring the list of rooms and the title up to date. */
function mark() {
  if (!document.hidden) here?.read();
  let all = 0;
  const rows = [...rooms.values()].map((room) => {
    const count = room.unread(me).length;
    all += count;
    const row = element("li", "");
    const link = row.appendChild(element("a", count ? "unread" : "", `# ${room.name}`));
    link.href = `#${room.name}`;
    if (room === here) link.setAttribute("aria-current", "page");
    if (count) link.append(" ", badge(count));
    return row;
  });
  const focused = document.activeElement?.closest("#rooms a")?.hash;
  $("rooms").replaceChildren(...rows);
  if (focused) [...$("rooms").querySelectorAll("a")].find(({ hash }) => hash === focused)?.focus();
  document.title = `${all ? `(${all}) ` : ""}${here ? `# ${here.name}` : "Chat"}`;
}

function badge(count) {
  const made = element("span", "badge", String(count));
  made.setAttribute("aria-label", `${count} new`);
  return made;
}

// Saying and mending

const waiting = new Map(); // nonce → the entry that was not answered yet

/** Our own message is here: what stood for it goes. */
function arrived({ who, nonce }) {
  if (who !== me || !waiting.has(nonce)) return;
  view.remove(waiting.get(nonce));
  waiting.delete(nonce);
}

function show(entry) {
  heardFrom(entry.who);
  view.add(entry);
}

async function say(text) {
  const room = here;
  const nonce = Math.random().toString(36).slice(2);
  const entry = { text, room };
  waiting.set(nonce, entry);
  view.wait(entry);
  try {
    await corner.publish(`room.${room.name}`, { who: me, name, text, nonce });
  } catch (error) {
    entry.failed = `not sent: ${error.message}`;
    if (room === here) view.wait(entry);
  }
}

function edit(entry) {
  editing = entry;
  $("text").value = entry.text;
  $("text").focus();
  $("say").classList.add("editing");
  $("hint").textContent = "You are mending a message: Enter saves, Escape leaves it as it was.";
  grow();
}

function cancelEdit() {
  if (!editing) return;
  editing = null;
  $("text").value = "";
  $("say").classList.remove("editing");
  $("hint").textContent = "Enter sends; arrow up mends your last.";
  grow();
}

function send() {
  const text = $("text").value.trim();
  if (!text) return;
  if (editing) {
    const { id: of } = editing;
    cancelEdit();
    corner.publish(`room.${here.name}`, { of, who: me, text }, { event: "edit" }).catch((error) => {
      $("hint").textContent = `Your change was not saved: ${error.message}`;
    });
    return;
  }
  $("text").value = "";
  typedAt = 0;
  grow();
  say(text);
}

/** The field is as high as its text. */
function grow() {
  const field = $("text");
  field.style.height = "auto";
  field.style.height = `${Math.min(field.scrollHeight + 2, 160)}px`;
}

// Typing

function type() {
  grow();
  if (editing || !$("text").value || Date.now() - typedAt < TYPING_EVERY_MS) return;
  typedAt = Date.now();
  // Nobody misses one that is lost.
  corner.publish(`typing.${here.name}`, { who: me, name }, { key: me }).catch(() => {});
}

function heardTyping({ time, data }) {
  const { who, name } = data ?? {};
  // After a cut we are told who typed meanwhile: that is over.
  if (typeof who !== "string" || who === me || Date.now() - time > TYPING_LASTS_MS) return;
  heardFrom(who);
  if (typists.size < 20) typists.set(who, { name: String(name || "somebody").slice(0, 30), timer: setTimeout(heardFrom, TYPING_LASTS_MS, who) });
  showTyping();
}

function heardFrom(who) {
  clearTimeout(typists.get(who)?.timer);
  typists.delete(who);
  showTyping();
}

function showTyping() {
  const names = [...typists.values()].map(({ name }) => name);
  $("typing").textContent = names.length > 3 ? "Several are typing …" : names.length ? `${names.join(", ")} ${names.length > 1 ? "are" : "is"} typing …` : "";
}

// The page

$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("text").addEventListener("input", type);
$("text").addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    send();
  } else if (event.key === "Escape") cancelEdit();
  else if (event.key === "ArrowUp" && !$("text").value) {
    // While one is on its way, the last is not known yet.
    const last = [...waiting.values()].some(({ failed }) => !failed) ? null : here.lastOf(me);
    if (!last) return;
    event.preventDefault();
    edit(last);
  }
});
$("new-room").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = event.target.elements.room;
  const wanted = field.value.trim().toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 30);
  if (!wanted) return;
  field.value = "";
  if (!rooms.has(wanted)) corner.publish("rooms", { name: wanted }, { key: wanted }).catch(() => {});
  location.hash = wanted;
  $("text").focus();
});
function rename() {
  name = $("my-name").value.trim() || name;
  $("my-name").value = name;
  localStorage.setItem("chat name", name);
  face($("my-face"), me, name);
}
$("me").addEventListener("submit", (event) => {
  event.preventDefault();
  $("text").focus();
});
$("my-name").value = name;
$("my-name").addEventListener("change", rename);
rename();

for (const room of ["lobby", "kitchen", "workshop"]) addRoom(room);
corner.listen("rooms", { after: "earliest" }, { message: ({ data }) => typeof data?.name === "string" && addRoom(data.name) });
addEventListener("hashchange", () => enter(location.hash.slice(1)));
document.addEventListener("visibilitychange", mark);
enter(location.hash.slice(1) || "lobby");
