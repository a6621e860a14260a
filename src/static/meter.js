// Elapsed time and, roughly, tokens a second while a reply is written. The server tells both exactly when it is done.

const CHARACTERS_A_TOKEN = 4;
const skew = Date.now() - Date.parse(document.querySelector('meta[name="server-time"]')?.content);
const begun = new Map(); // reply: when and at how many characters this page began to count

setInterval(() => document.querySelectorAll(".meter").forEach(measure), 1000);
document.addEventListener("htmx:after:swap", () => document.querySelectorAll(".meter:empty").forEach(measure));

function measure(meter) {
  const elapsed = Math.max(0, (Date.now() - skew - Date.parse(meter.dataset.startedAt)) / 1000);
  const told = elapsed < 60 ? `${Math.round(elapsed)} s` : `${Math.floor(elapsed / 60)} min ${Math.round(elapsed % 60)} s`;
  if (!meter.dataset.of) return void (meter.textContent = told); // a lane's
  const texts = document.querySelectorAll(`#turns-${meter.dataset.of} .turn__text`); // and not what tools have said
  const length = [...texts].reduce((sum, text) => sum + text.textContent.length, 0);
  const start = begun.get(meter.dataset.of);
  if (!start) begun.set(meter.dataset.of, { at: performance.now(), length });
  const rate = start && (length - start.length) / CHARACTERS_A_TOKEN / ((performance.now() - start.at) / 1000);
  meter.textContent = rate > 0 ? `${told} · about ${Math.round(rate)} tokens/s` : told;
}
