// The arena on its canvas.
//
// Owns: the picture. Does not own: where things are (world.js).

const WIDTH = 1600;
const HEIGHT = 1000;
const LEAST_SCALE = 0.42; // on a narrow screen we look at a part, around our disc

export class Arena {
  #canvas;
  #context;
  #colours;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const read = () => {
      const style = getComputedStyle(canvas);
      this.#colours = Object.fromEntries(["paper", "ink", "muted", "line", "light"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    };
    dark.addEventListener("change", read);
    read();
  }

  /** Draw `players` (id → {x, y, size, name, points}) and `dots`; `me` is our id, `stick` where a finger pushes. */
  draw({ players, dots }, me, stick) {
    const { width, height } = this.#fit();
    const c = this.#context;
    const scale = Math.max(Math.min(width / WIDTH, height / HEIGHT), LEAST_SCALE);
    const { x, y } = players.get(me) ?? { x: WIDTH / 2, y: HEIGHT / 2 };
    c.clearRect(0, 0, width, height);
    c.save();
    c.translate(camera(width, WIDTH * scale, x * scale), camera(height, HEIGHT * scale, y * scale));
    c.scale(scale, scale);
    this.#ground();
    c.fillStyle = this.#colours.ink;
    for (const [x, y] of dots) disc(c, x, y, 7);
    for (const [id, player] of players) if (id !== me) this.#player(id, player, false);
    if (players.has(me)) this.#player(me, players.get(me), true);
    c.restore();
    if (stick) this.#stick(stick);
  }

  #ground() {
    const c = this.#context;
    c.fillStyle = this.#colours.paper;
    c.fillRect(0, 0, WIDTH, HEIGHT);
    c.fillStyle = this.#colours.line;
    for (let x = 100; x < WIDTH; x += 100) for (let y = 100; y < HEIGHT; y += 100) disc(c, x, y, 2.5);
  }

  #player(id, { x, y, size, name, points }, mine) {
    const c = this.#context;
    c.fillStyle = `oklch(${this.#colours.light} 0.14 ${hue(id)})`;
    disc(c, x, y, size);
    if (mine) {
      c.strokeStyle = this.#colours.ink;
      c.lineWidth = 4;
      c.beginPath();
      c.arc(x, y, size + 5, 0, 2 * Math.PI);
      c.stroke();
    }
    c.textAlign = "center";
    c.fillStyle = this.#colours.paper;
    c.font = "600 22px sans-serif";
    c.fillText(points, x, y + 8);
    c.fillStyle = mine ? this.#colours.ink : this.#colours.muted;
    c.font = "20px sans-serif";
    c.fillText(name, x, y + size + 30 > HEIGHT ? y - size - 14 : y + size + 26);
  }

  /** Where the finger went down, and where it pulls. */
  #stick({ x, y, dx, dy }) {
    const c = this.#context;
    c.globalAlpha = 0.35;
    c.strokeStyle = c.fillStyle = this.#colours.ink;
    c.lineWidth = 2;
    c.beginPath();
    c.arc(x, y, 44, 0, 2 * Math.PI);
    c.stroke();
    disc(c, x + dx * 44, y + dy * 44, 16);
    c.globalAlpha = 1;
  }

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const ratio = devicePixelRatio;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      this.#canvas.width = Math.round(width * ratio);
      this.#canvas.height = Math.round(height * ratio);
    }
    this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return { width, height };
  }
}

/** A colour of one's own. */
export function hue(id) {
  let hue = 0;
  for (const letter of id) hue = (hue * 31 + letter.charCodeAt(0) * 137) % 360;
  return hue;
}

/** Where the world begins on a screen of `room`: in the middle, or so that `centre` is in sight and nothing beyond it. */
function camera(room, size, centre) {
  return size <= room ? (room - size) / 2 : Math.min(0, Math.max(room - size, room / 2 - centre));
}

function disc(c, x, y, radius) {
  c.beginPath();
  c.arc(x, y, radius, 0, 2 * Math.PI);
  c.fill();
}
