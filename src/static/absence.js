// Back after an absence: shows what was said here meanwhile, in another tab or on another device.

document.addEventListener("visibilitychange", catchUp);
addEventListener("focus", catchUp);
addEventListener("online", catchUp);
addEventListener("pageshow", (event) => event.persisted && catchUp());

// What waits is answered as soon as the reply before it is done, and may have been said elsewhere.
document.addEventListener("htmx:sse:close", catchUp);
document.addEventListener("riverrun:ended", catchUp);
setInterval(() => waiting().length && catchUp(), 1000);

let asking = false;

function waiting() {
  return document.querySelectorAll("#queue > li");
}

async function catchUp() {
  const messages = document.getElementById("messages");
  const conversation = document.getElementById("composer-conversation")?.value ?? messages?.dataset.conversation;
  const last = [...(messages?.querySelectorAll(":scope > .message[id]") ?? [])].at(-1);
  const isOlderPart = new URLSearchParams(location.search).has("before");
  // What is said just now comes by itself, and a conversation that is just being deleted has nothing more to say.
  const isSending = document.querySelector("#composer[aria-busy=true], #conversations .htmx-request");
  if (document.hidden || asking || !conversation || !last || isOlderPart || isSending) return;
  asking = true;
  const path = `/c/${conversation}/updates?after=${last.id.slice("message-".length)}&waiting=${waiting().length}`;
  await htmx.ajax("GET", path, { source: messages, swap: "none" });
  asking = false;
}

// A new conversation has two addresses, before and after its first message. Back and forward between them load the page
// anew, also when they come before htmx listens, and once the browser has arrived: a reload before that gets lost.
document.addEventListener("htmx:before:history:restore", (event) => event.preventDefault());
addEventListener("popstate", () => (window.navigation?.transition?.finished ?? Promise.resolve()).then(fitAddress));
fitAddress();

function fitAddress() {
  const conversation = document.getElementById("composer-conversation")?.value;
  const address = location.pathname.match(/\/(?:c\/([^/]+))?$/);
  if (conversation !== undefined && address && (address[1] ?? "") !== conversation) location.reload();
}
