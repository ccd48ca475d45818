// The corner of a demo: which transport carries it, how it stands, and the switch (`?transport=` in the address).
//
// Owns: the client, and that nothing is lost or told twice when the visitor switches. Does not own: what is told.
// An application of your own needs none of this: it calls `connect()` and never thinks of transports.

import { connect } from "/tidings.js";

/** In the order of the story; each with its name, and a shape that goes with its colour. */
export const TRANSPORTS = {
  polling: { name: "Polling", shape: "M8 2a6 6 0 1 0 .01 0z" },
  "long-polling": { name: "Long-polling", shape: "M2.5 2.5h11v11h-11z" },
  sse: { name: "Server-Sent Events", shape: "M8 14 1.5 3h13z" },
  websocket: { name: "WebSocket", shape: "M8 1l7 7-7 7-7-7z" },
};
const BEST_FIRST = ["websocket", "sse", "long-polling", "polling"];

/** Fill `place`; begin with the transport of the address, or with `home` and whatever else gets through. */
export function openCorner(place, home, { share = true } = {}) {
  const wanted = new Map(); // channel → {start, on, seen}
  const watchers = new Set();
  let chosen = new URLSearchParams(location.search).get("transport");
  if (!(chosen in TRANSPORTS)) chosen = null;
  let client = null;
  const face = draw(place, (transport) => {
    chosen = transport;
    const address = new URL(location.href);
    address.searchParams.set("transport", transport);
    history.replaceState(history.state, "", address);
    open();
  });

  function open() {
    if (client) leave();
    const transports = chosen ? [chosen] : [home, ...BEST_FIRST.filter((one) => one !== home)];
    // Tabs of one transport share a connection: a browser has six for a server, for all its tabs.
    client = connect({ transports, share: share && "demo " + transports[0] });
    client.on("state", show);
    show(client.state);
    for (const name of wanted.keys()) join(name);
  }

  /** Close, and note down where each channel is to go on. */
  function leave() {
    const { cursor, began } = client.explain();
    client.close();
    for (const [name, channel] of wanted) {
      if (began.includes(name) && cursor) channel.start = { after: cursor };
      else if (channel.seen) channel.start = { after: channel.seen };
    }
  }

  function join(name) {
    const channel = wanted.get(name);
    const stops = [
      client.channel(name, channel.start).on((message) => {
        channel.seen = message.id;
        channel.on.message(message);
      }),
      client.channel(name).on("gap", (gap) => {
        channel.seen = gap.resumed;
        channel.on.gap?.(gap);
      }),
    ];
    channel.stop = () => stops.forEach((stop) => stop());
  }

  function show({ name, reason, transport = chosen ?? home }) {
    face.show(name, reason, transport);
    for (const then of watchers) then({ name, reason, transport });
  }

  open();
  return {
    /** Hear a channel from `start` on: `on.message(message)`, `on.gap(gap)`. Returns how to stop. */
    listen(name, start, on) {
      wanted.set(name, { start, on, seen: null });
      join(name);
      return () => {
        wanted.get(name).stop();
        wanted.delete(name);
      };
    },
    /** Publish once, even if the transport is switched while it waits. */
    async publish(name, data, options = {}) {
      const idempotencyKey = Date.now().toString(36) + "-" + Math.random().toString(36).slice(2);
      for (;;) {
        const used = client;
        try {
          return await used.channel(name).publish(data, { ...options, idempotencyKey });
        } catch (error) {
          if (error.code !== "closed" || used === client) throw error;
        }
      }
    },
    /** Hear how the connection stands, at each change. */
    watch: (then) => watchers.add(then),
    get state() {
      return client.state;
    },
    get transport() {
      return client.state.transport ?? chosen ?? home;
    },
  };
}

function draw(place, choose) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const shape = svg.appendChild(document.createElementNS(svg.namespaceURI, "path"));
  const state = document.createElement("span");
  state.className = "state";
  state.setAttribute("role", "status");
  const select = document.createElement("select");
  select.setAttribute("aria-label", "Transport");
  for (const [value, { name }] of Object.entries(TRANSPORTS)) select.add(new Option(name, value));
  select.addEventListener("change", () => choose(select.value));
  place.replaceChildren(svg, state, select);
  return {
    show(name, reason, transport) {
      place.className = `corner ${transport}`;
      place.dataset.state = name;
      place.title = reason;
      shape.setAttribute("d", TRANSPORTS[transport].shape);
      select.value = transport;
      state.textContent = name === "live" ? "live by" : name;
    },
  };
}
