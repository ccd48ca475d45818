/* Socket.IO: a room for each channel. A message is encoded and framed once for all of a room, then queued for each.
 *
 * A client names its channel in the query that it connects with, so that it need not ask. No compression, no script for
 * browsers, and the first request of a session is not kept (its own advice for memory). With --recovery a client that
 * comes back within two minutes is told what it missed (connection state recovery).
 */
import { Server } from "socket.io";
import { listen, options, publishing } from "./publishing.js";

const { server, publish } = publishing((name, message) => {
  io.to(name).emit("message", JSON.parse(message));
});

const io = new Server(server, {
  transports: ["websocket", "polling"],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
  pingInterval: 25_000,
  ...(options.recovery && { connectionStateRecovery: { maxDisconnectionDuration: 120_000, skipMiddlewares: true } }),
});

io.on("connection", (socket) => {
  const name = socket.handshake.query.channel;
  socket.conn.request = null;
  // A session that was recovered is in its rooms already; to join again is nothing.
  socket.join(name);
  socket.on("publish", (data) => publish(name, JSON.stringify(data)));
});

listen(server);
