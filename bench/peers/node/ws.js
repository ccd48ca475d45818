/* ws: a set of sockets for each channel, and a loop of `send`, as its own documentation broadcasts.
 *
 * A message is made a Buffer once for all, so that only the frame's head is made anew. Dead connections are found by a ping
 * every 25 seconds. With bufferutil, which unmasks what clients send.
 */
import { WebSocketServer } from "ws";
import { Channels, listen, publishing } from "./publishing.js";

const PING_MS = 25_000;
const TEXT = { binary: false };
const channels = new Channels();

const { server, publish } = publishing((name, message) => {
  const payload = Buffer.from(`{"message":${message}}`);
  for (const socket of channels.of(name)) socket.send(payload, TEXT);
});

const sockets = new WebSocketServer({ server, perMessageDeflate: false, maxPayload: 65_536 });

function pong() {
  this.alive = true;
}

sockets.on("connection", (socket, request) => {
  const name = request.url.slice("/channels/".length);
  channels.join(name, socket);
  socket.alive = true;
  socket.on("pong", pong);
  socket.on("message", (data) => publish(name, data.toString()));
  socket.on("close", () => channels.leave(name, socket));
  socket.on("error", () => socket.terminate());
});

setInterval(() => {
  for (const socket of sockets.clients) {
    if (!socket.alive) {
      socket.terminate();
      continue;
    }
    socket.alive = false;
    socket.ping();
  }
}, PING_MS);

listen(server);
