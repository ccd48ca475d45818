// The box: a POST to a channel is all that publishing is.

/** Publishes what `form` holds to `address`, and says in `status` how that went. */
export function publishFrom(form, address, status) {
  const box = form.elements.namedItem("note");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const note = box.value.trim();
    if (!note) return;
    try {
      const response = await fetch(address, {
        method: "POST",
        // The same key if the browser sends it twice: published once.
        headers: { "Content-Type": "text/plain", "Idempotency-Key": `${Date.now()}-${Math.random()}` },
        body: note,
      });
      const answer = await response.json();
      if (!response.ok) throw new Error(answer.detail ?? answer.title);
      status.textContent = `Published as ${answer.id}.`;
      box.value = "";
    } catch (error) {
      const reason = error instanceof TypeError ? "nobody answers; is the server running?" : error.message;
      status.textContent = `Not published: ${reason} Your text is still here.`;
    }
    box.focus();
  });
}
