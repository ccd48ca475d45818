// Answers that stream. One channel, `talk`: questions, words and ends are messages, told apart by their `event`.
//
// The page keeps nothing: it reads the channel from the earliest message on, and every word has its number. So a reload, a cut
// and a second window are the same thing as coming for the first time.

import { openCorner } from "/web/corner.js";

const IDEAS = ["Why does polling ask in vain?", "What happens when I lose the network?", "What is a cursor?", "Can one word come twice?"];

const $ = (id) => document.getElementById(id);
const corner = openCorner($("corner"), "sse");
const answers = new Map(); // the question's id → Answer

class Answer {
  #words = 0;
  #began = performance.now();
  #text = document.createTextNode("");
  #article = document.createElement("article");
  #about;

  constructor(id, question) {
    const article = this.#article;
    article.className = "writing";
    article.dataset.id = id;
    article.setAttribute("aria-busy", "true");
    article.innerHTML = '<h2 class="question"></h2><div class="answer"></div><p class="about quiet"><span></span><button type="button" class="plain">Stop</button></p>';
    article.querySelector("h2").textContent = question;
    article.querySelector(".answer").append(this.#text);
    article.querySelector("button").addEventListener("click", () => publish({ of: id }, "stop"));
    this.#about = article.querySelector(".about span");
    $("talk").append(article);
    this.stand();
  }

  /** Take the word of this number; one that we have is not taken twice. */
  word(n, text) {
    if (n !== this.#words) return;
    this.#words += 1;
    this.#text.appendData(text);
    this.stand();
  }

  end({ stopped }) {
    this.#close(stopped ? `Stopped after ${this.#words} words.` : `${this.#words} words.`);
  }

  /** The log that it was written to is gone. */
  lose() {
    if (this.writing) this.#close(`The server began anew: this answer ends after ${this.#words} words.`);
  }

  get writing() {
    return this.#article.classList.contains("writing");
  }

  /** Say how it stands. */
  stand() {
    if (!this.writing) return;
    const { name } = corner.state;
    this.#article.classList.toggle("waits", name !== "live");
    const seconds = (performance.now() - this.#began) / 1000;
    this.#about.textContent = name !== "live" ? `${name} after word ${this.#words}; it goes on from there` : this.#words ? `word ${this.#words}` : seconds > 5 ? "nobody answers: is the generator running?" : "thinking";
  }

  #close(text) {
    this.#article.classList.remove("writing", "waits");
    this.#article.removeAttribute("aria-busy");
    this.#about.textContent = text;
  }
}

corner.listen("talk", { after: "earliest" }, {
  message({ id, event, data }) {
    const following = atEnd();
    const { of, n, text } = data ?? {};
    if (event === "question" && typeof text === "string" && !answers.has(id)) {
      answers.set(id, new Answer(id, text.slice(0, 500)));
      $("welcome").hidden = true;
    } else if (event === "token" && typeof text === "string") answers.get(of)?.word(n, text);
    else if (event === "done" && answers.has(of)) {
      answers.get(of).end(data);
      aloud("The answer is complete.");
    } else return;
    if (following) toEnd();
  },
  gap({ reason }) {
    if (reason === "epoch") for (const answer of answers.values()) answer.lose();
  },
});
corner.watch(() => answers.forEach((answer) => answer.stand()));
setInterval(() => answers.forEach((answer) => answer.stand()), 1000);

function atEnd() {
  const { scrollHeight, scrollTop, clientHeight } = $("scroll");
  return scrollHeight - scrollTop - clientHeight < 80;
}

let moving = false;
function toEnd() {
  if (moving) return;
  moving = true;
  requestAnimationFrame(() => {
    moving = false;
    $("scroll").scrollTop = $("scroll").scrollHeight;
  });
}

function aloud(text) {
  $("aloud").textContent = "";
  $("aloud").textContent = text;
}

async function publish(data, event) {
  try {
    await corner.publish("talk", data, { event });
    $("hint").textContent = "";
  } catch (error) {
    $("hint").textContent = `That was not taken: ${error.message}`;
  }
}

function ask(text) {
  if (corner.state.name !== "live") $("hint").textContent = "It is asked as soon as the server can be reached.";
  toEnd();
  publish({ text }, "question");
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("question").value.trim();
  if (!text) return;
  $("question").value = "";
  ask(text);
});
for (const idea of IDEAS) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = idea;
  button.addEventListener("click", () => ask(idea));
  $("ideas").appendChild(document.createElement("li")).append(button);
}
addEventListener("resize", toEnd);
