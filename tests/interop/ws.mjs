// The npm package `ws`: writes each frame as a line; lines of standard input are sent.
import { createInterface } from "node:readline"
import WebSocket from "ws"

const say = (what) => console.log(JSON.stringify(what))
const socket = new WebSocket(process.argv[2], "tidings.v1")
socket.on("open", () => say({ open: socket.protocol }))
socket.on("message", (frame) => console.log(frame.toString()))
socket.on("unexpected-response", (request, answer) => say({ refused: answer.statusCode }))
socket.on("close", (code) => {
  say({ closed: code })
  process.exit(0)
})
createInterface({ input: process.stdin }).on("line", (line) => socket.send(line))
