/* SockJS: a set of connections for each channel, and a loop of `write`; each one's message is quoted anew.
 *
 * The channel is in the path, /sockjs/NAME. Streams are never ended for their length, as no browser of today needs it;
 * heartbeats every 25 seconds are its own.
 */
import sockjs from "sockjs";
import { Channels, listen, publishing } from "./publishing.js";

const channels = new Channels();

const { server, publish } = publishing((name, message) => {
  const payload = `{"message":${message}}`;
  for (const connection of channels.of(name)) connection.write(payload);
});

const service = sockjs.createServer({ prefix: "/sockjs/[^/.]+", response_limit: 2 ** 40, heartbeat_delay: 25_000, log: () => {} });

service.on("connection", (connection) => {
  const name = connection.pathname.split("/")[2];
  channels.join(name, connection);
  connection.on("data", (data) => publish(name, data));
  connection.on("close", () => channels.leave(name, connection));
});

service.installHandlers(server);
listen(server);
