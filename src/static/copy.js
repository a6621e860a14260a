// Copies a code block, or a whole reply with its formatting.

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-message]");
  if (!button) return;
  const id = button.dataset.copyMessage;
  const source = id
    ? document.querySelector(`#turns-${CSS.escape(id)} > .turn--answer:last-of-type > .turn__text`)
    : button.closest("figure").querySelector("code");
  const done = await copy(source, Boolean(id));
  button.textContent = done ? "Copied" : "Not copied";
  document.getElementById("status").textContent = button.textContent;
  setTimeout(() => (button.textContent = "Copy"), 1500);
});

async function copy(source, formatted) {
  const text = source.innerText;
  try {
    if (!formatted) await navigator.clipboard.writeText(text);
    else await navigator.clipboard.write([new ClipboardItem({ "text/plain": text, "text/html": source.innerHTML })]);
    return true;
  } catch {
    return copySelected(source);
  }
}

// Without https there is no clipboard but the selection's.
function copySelected(source) {
  const selection = getSelection();
  selection.selectAllChildren(source);
  const done = document.execCommand("copy");
  selection.removeAllRanges();
  return done;
}
