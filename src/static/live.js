// Watches over the live connection: where no stream gets through, the page polls the same run, and says so quietly.

const PATIENCE = 4000; // ms in which a stream has to open
const POLL = 1000; // ms
const RETRY = 15000; // ms after which a page that polls tries to return to the stream
const GONE = [400, 403, 404, 410];
const POLLING = "Live updates are off; checking every second.";
const UNREACHABLE = "No connection to the server; trying again every second.";

const watched = new WeakMap(); // stream elements: { alarm, patience, connection }

on("htmx:before:request", (stream) => arm(stream, PATIENCE));
on("htmx:sse:before:connection", (stream, { connection }) => {
  arm(stream, PATIENCE);
  watched.get(stream).connection = connection;
});
// The first message tells how many seconds may pass between two.
on("htmx:sse:before:message", (stream, { message }) => {
  arm(stream, message.event === "open" ? PATIENCE + 2000 * message.data : watched.get(stream).patience);
});
// A connection that breaks is opened again at once; one that cannot be opened is given up.
on("htmx:sse:error", (stream, { connection, status }) => (status || connection?.attempt > 0) && poll(stream));
on("htmx:response:error", poll);
on("htmx:error", poll);

// htmx may have begun before its extension for streams was there, and then has passed over those of this page.
setTimeout(() => document.querySelectorAll(".stream:not([data-htmx-powered])").forEach((stream) => htmx.process(stream)));

function on(event, then) {
  document.addEventListener(event, ({ target, detail }) => target.matches?.(".stream") && then(target, detail));
}

function arm(stream, patience) {
  const watch = watched.get(stream) ?? {};
  clearTimeout(watch.alarm);
  // A hidden page has let go of its stream, and nobody waits.
  const alarm = setTimeout(() => (document.hidden ? arm(stream, patience) : poll(stream)), patience);
  watched.set(stream, { ...watch, patience, alarm });
}

async function poll(stream) {
  if (!stream.isConnected || stream.matches(".stream--polled")) return;
  const { alarm, connection } = watched.get(stream) ?? {};
  clearTimeout(alarm);
  htmx.trigger(stream, "htmx:abort");
  const place = stream.cloneNode(); // with the same id, so that the last snapshot takes it away
  place.removeAttribute("hx-sse:connect");
  place.setAttribute("role", "status");
  place.classList.add("stream--polled");
  stream.replaceWith(place);
  connection?.abortController.abort();

  const path = `/runs/${place.dataset.run}`;
  let cursor = Number(connection?.lastEventId ?? 0);
  let retryAt = Date.now() + RETRY;
  const soon = () => (retryAt = 0);
  addEventListener("online", soon);
  document.addEventListener("visibilitychange", soon);
  for (; place.isConnected; await new Promise((resolve) => setTimeout(resolve, POLL))) {
    if (document.hidden) continue;
    const reached = await check(path, cursor, place);
    const isBack = reached !== undefined && place.textContent === UNREACHABLE;
    place.textContent = reached === undefined ? UNREACHABLE : POLLING;
    if (isBack) soon();
    cursor = reached ?? cursor;
    if (Date.now() < retryAt) continue;
    retryAt = Date.now() + RETRY;
    const address = `${path}/stream?after=${cursor}`;
    if (await flows(address)) comeBack(place, address);
  }
  document.dispatchEvent(new CustomEvent("riverrun:ended"));
  removeEventListener("online", soon);
  document.removeEventListener("visibilitychange", soon);
}

// Asks once for what is new, and gives back the cursor; nothing when there is no answer.
async function check(path, cursor, place) {
  try {
    const response = await ask(`${path}/snapshot?after=${cursor}`, 10_000);
    if (GONE.includes(response.status)) place.remove();
    if (response.status === 401) location.reload(); // signed out meanwhile: what is here is for nobody's eyes
    if (response.status === 204) return cursor;
    if (!response.ok) return undefined;
    const text = await response.text();
    if (place.isConnected) await htmx.swap({ text, sourceElement: place, target: place, swap: "none" });
    return Number(response.headers.get("Last-Event-ID"));
  } catch {
    return undefined;
  }
}

async function flows(address) {
  try {
    const response = await ask(address, PATIENCE);
    if (!response.ok || !response.headers.get("Content-Type").startsWith("text/event-stream")) return false;
    const reader = response.body.getReader();
    const { value } = await reader.read();
    reader.cancel();
    return Boolean(value);
  } catch {
    return false;
  }
}

function ask(address, patience) {
  return fetch(address, { headers: { "HX-Request": "true" }, signal: AbortSignal.timeout(patience) });
}

function comeBack(place, address) {
  const stream = place.cloneNode();
  stream.classList.remove("stream--polled");
  stream.removeAttribute("role");
  stream.setAttribute("hx-sse:connect", address);
  place.replaceWith(stream);
  htmx.process(stream);
}
