// Plays a run again, and goes to another moment of it without a new page. The server renders and keeps the time.

const panel = document.getElementById("replay");
if (panel) begin(panel.dataset);

function begin({ address, message, plays }) {
  const seek = document.getElementById("seek");
  const play = document.getElementById("play");
  const speed = document.getElementById("speed");
  const moment = () => document.getElementById("moment");
  const stream = () => document.getElementById(`stream-${message}`);
  let wanted;
  let asking = false;

  for (const control of panel.querySelectorAll(".replay__play, .replay__speed, .replay__hint")) control.hidden = false;
  seek.addEventListener("input", () => show(seek.value));
  play?.addEventListener("click", () => (play.textContent === "Pause" ? show(moment().dataset.at) : start()));
  speed?.addEventListener("change", async () => {
    if (!stream()) return;
    await show(moment().dataset.at);
    start();
  });
  document.addEventListener("click", follow);
  document.addEventListener("htmx:after:swap", fit);
  for (const failure of ["htmx:response:error", "htmx:error"]) document.addEventListener(failure, fail);
  fit();
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (plays !== undefined && !still) setTimeout(start); // after htmx has looked through the page, or it would connect twice

  // From the end it begins anew.
  async function start() {
    if (moment().dataset.at === seek.max) await show(1);
    const place = document.createElement("div");
    place.id = `stream-${message}`;
    place.setAttribute("hx-sse:connect", `${address}/stream?after=${moment().dataset.at}&speed=${speed.value}`);
    place.setAttribute("hx-sse:close", "done");
    place.setAttribute("hx-swap", "none");
    panel.append(place);
    htmx.process(place);
    fit();
  }

  // One request at a time: of the moments that a hand on the slider passes, the last one counts.
  async function show(at) {
    wanted = at;
    if (asking) return;
    asking = true;
    while (wanted !== undefined) {
      const next = wanted;
      wanted = undefined;
      await htmx.ajax("GET", `${address}?at=${next}`, { source: panel, swap: "none" });
    }
    asking = false;
  }

  function follow(event) {
    const link = event.target.closest(`a[href^="${address}?at="]`);
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    show(new URL(link.href).searchParams.get("at"));
  }

  // What follows from the moment that is shown.
  function fit() {
    const { at } = moment().dataset;
    const playing = Boolean(stream());
    if (wanted === undefined && !seek.matches(":active")) seek.value = at;
    seek.ariaValueText = moment().textContent;
    for (const steps of panel.querySelectorAll(".replay__steps")) steps.inert = playing;
    if (play) play.textContent = playing ? "Pause" : "Play";
    if (!playing) history.replaceState(history.state, "", `${address}?at=${at}`);
  }

  function fail() {
    stream()?.remove();
    document.getElementById("problem").textContent = "The server cannot be reached. Try again in a moment.";
    fit();
  }
}
