// The curl lines, with this page's own origin filled in.

const LINES = [
  ["polling", "circle", "Polling", (at) => `curl -s '${at}/channels/notes?rewind=3'`],
  ["long-polling", "square", "Long-polling", (at) => `curl -s '${at}/channels/notes?wait=25'`],
  ["sse", "triangle", "Server-Sent Events", (at) => `curl -sN -H 'Accept: text/event-stream' '${at}/channels/machine,notes'`],
  // A frame's head shows as two or four odd bytes before its JSON; the key is any 16 bytes in base64 (RFC 6455 §4.1).
  ["websocket", "diamond", "WebSocket", (at) => `curl -sN --http1.1 -o - -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGlkaW5ncyBleGFtcGxlIQ==' '${at}/channels/machine,notes'`],
  ["publish", null, "Publish", (at) => `curl -s -H 'Content-Type: text/plain' -d 'hello' '${at}/channels/notes'`],
];

/** Fills `list` with one line for each way, each with a button that copies it. */
export function fillLines(list, root) {
  const origin = root.replace(/\/$/, "");
  for (const [id, shape, name, line] of LINES) {
    const row = document.createElement("li");
    row.className = id;
    const label = document.createElement("span");
    label.className = "name";
    if (shape) label.append(drawn(shape));
    label.append(name);
    const code = document.createElement("code");
    code.textContent = line(origin);
    code.tabIndex = 0; // a long line scrolls in itself, and so by the keyboard too
    code.setAttribute("aria-label", `${name}: ${code.textContent}`);
    row.append(label, code, copier(code.textContent, name));
    list.append(row);
  }
}

function copier(text, name) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy the line for ${name}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed"; // a page that is neither local nor on HTTPS may not write there
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  return button;
}

function drawn(shape) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "shape");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#${shape}`);
  svg.append(use);
  return svg;
}
