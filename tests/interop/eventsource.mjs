// The npm package `eventsource`: writes a line of JSON for each event, until it is ended.
import { EventSource } from "eventsource"

const say = (what) => console.log(JSON.stringify(what))
const source = new EventSource(process.argv[2])
for (const name of ["ready", "message", "price", "gap"])
  source.addEventListener(name, (event) => say({ [name]: JSON.parse(event.data), id: event.lastEventId }))
source.onerror = (event) => say({ failed: event.code ?? null, text: event.message ?? null, state: source.readyState })
