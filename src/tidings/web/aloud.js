// What is said aloud to who does not see the page: politely, and no more often than one can listen.

const SAY_EVERY = 5; // seconds between two things said

let piled = [];
let saying = null;

/** Says `text` within some seconds. What has piled up is said together, the newest last. */
export function say(text) {
  piled = [...piled, text].slice(-4);
  saying ??= setTimeout(() => {
    document.getElementById("said").textContent = piled.join(". ");
    piled = [];
    saying = null;
  }, SAY_EVERY * 1000);
}
