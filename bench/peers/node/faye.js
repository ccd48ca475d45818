/* Faye: Bayeux channels over its in-memory engine; /NAME is the channel NAME.
 *
 * A message is copied, queued and made JSON for each subscriber. Published by its own in-process client. Connects are held
 * for 45 seconds, as its documentation does.
 */
import faye from "faye";
import { listen, publishing } from "./publishing.js";

const bayeux = new faye.NodeAdapter({ mount: "/bayeux", timeout: 45 });
const client = bayeux.getClient();

const { server } = publishing((name, message) => client.publish(`/${name}`, JSON.parse(message)));

bayeux.attach(server);
listen(server);
