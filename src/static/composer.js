// The composer: Enter sends (an edited message too), a draft survives a reload, and what was said stands on the page before the server answers.

const form = document.getElementById("composer");
const field = form?.elements.content;
const stream = form?.elements.stream;
const problem = document.getElementById("problem");
const draftKey = () => `draft:${form.elements.conversation.value || `new:${form.elements.project.value}`}`;

if (form) {
  restore();
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    if (!target.matches("#content, .message__draft")) return;
    event.preventDefault();
    if (target.value.trim()) target.form.requestSubmit();
  });
  field.addEventListener("input", () => {
    keep(draftKey(), field.value);
    problem.replaceChildren();
  });
  stream.addEventListener("change", () => keep("stream", stream.checked ? "on" : "off"));
  form.addEventListener("submit", () => {
    if (form.ariaBusy) problem.textContent = "Your last message is still being answered. Wait for that, then send this one.";
  });
  form.addEventListener("htmx:before:request", send);
}

function restore() {
  if (field.value === "") field.value = kept(draftKey()) ?? "";
  const streaming = kept("stream");
  if (streaming) stream.checked = streaming === "on";
}

function kept(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function keep(key, value) {
  try {
    if (value) localStorage.setItem(key, value);
    else localStorage.removeItem(key);
  } catch {
    // A full or forbidden store costs the draft, not the message.
  }
}

// On a page of earlier messages the new one would stand in the wrong place.
function isOlderPart() {
  return new URLSearchParams(location.search).has("before");
}

// What is sent while a reply is being written waits above the composer.
function isRunning() {
  return document.querySelector("#composer-acts[data-running]") !== null;
}

function show(said) {
  const shown = document.getElementById("sent").content.cloneNode(true);
  shown.querySelector(".message__text").textContent = said.trim();
  shown.querySelector(".run__progress").hidden = stream.checked;
  const pending = [...shown.children];
  document.getElementById("messages").append(shown);
  return pending;
}

// Shows the message and an empty reply at once; the server's own take their place.
function send(event) {
  if (event.target !== form) return;
  const { ctx } = event.detail;
  const said = field.value;
  const key = draftKey();
  const pending = isRunning() ? [] : show(said);
  problem.replaceChildren();
  field.value = "";
  form.setAttribute("aria-busy", "true");
  document.getElementById("status").textContent = "Sent.";
  document.dispatchEvent(new CustomEvent("riverrun:sent"));

  const isMine = (event) => event.detail.ctx === ctx;
  const clear = () => pending.forEach((message) => message.remove());
  const swapping = (event) => isMine(event) && clear();
  const finished = (event) => {
    if (!isMine(event)) return;
    document.removeEventListener("htmx:before:swap", swapping);
    document.removeEventListener("htmx:finally:request", finished);
    form.removeAttribute("aria-busy");
    clear();
    const answered = ctx.status === "swapped";
    if (answered && ctx.response.status < 400) {
      keep(key, "");
      if (field.value) keep(draftKey(), field.value);
      if (isOlderPart()) location.assign(location.pathname);
      return;
    }
    if (!field.value) field.value = said;
    keep(draftKey(), field.value);
    if (!answered) problem.textContent = "The server cannot be reached. Your message is kept here; send it again in a moment.";
    field.focus();
  };
  document.addEventListener("htmx:before:swap", swapping);
  document.addEventListener("htmx:finally:request", finished);
}
