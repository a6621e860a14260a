// Back after an absence: shows what was said here meanwhile, in another tab or on another device.

document.addEventListener("visibilitychange", catchUp);
addEventListener("focus", catchUp);
addEventListener("online", catchUp);
addEventListener("pageshow", (event) => event.persisted && catchUp());

let asking = false;

async function catchUp() {
  const messages = document.getElementById("messages");
  const conversation = document.getElementById("composer-conversation")?.value;
  const last = [...(messages?.querySelectorAll(":scope > .message[id]") ?? [])].at(-1);
  const isOlderPart = new URLSearchParams(location.search).has("before");
  const isSending = document.querySelector("#composer[aria-busy=true]");
  if (document.hidden || asking || !conversation || !last || isOlderPart || isSending) return;
  asking = true;
  const path = `/c/${conversation}/updates?after=${last.id.slice("message-".length)}`;
  await htmx.ajax("GET", path, { source: messages, swap: "none" });
  asking = false;
}
