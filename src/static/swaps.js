// What a page keeps while htmx changes it.

document.addEventListener("htmx:before:swap", ({ detail }) => {
  const open = [...document.querySelectorAll(".run details[open]:not(.turn--working)")]; // lanes fold when they are done
  const focused = document.activeElement.matches(":focus-visible") && document.activeElement;
  for (const task of detail.tasks) {
    // htmx looks for all targets of a message before it swaps the first, and so misses what that one brings: a target
    // that it has as a selector it looks for when its turn has come.
    task.target = task.swapSpec.target ?? task.target;
    if (["beforeend", "beforebegin"].includes(task.swapSpec.style)) dropKnown(task.fragment);
  }
  queueMicrotask(() => {
    reopen(open);
    keepPlace(focused);
  });
});

// What came by two ways, as an answer and after an absence, is shown once.
function dropKnown(fragment) {
  for (const node of [...fragment.children]) {
    if (node.matches(".message[id]") && document.getElementById(node.id)) node.remove();
  }
}

// A snapshot replaces the steps; those that the reader has opened stay open.
function reopen(steps) {
  for (const step of steps) if (!step.isConnected) document.getElementById(step.id)?.setAttribute("open", "");
}

// Who works by keyboard goes on at the button that took the focused one's place; in the composer when there is none, and
// not at the top of the page.
function keepPlace(focused) {
  if (!focused || focused.closest("#composer") || focused.checkVisibility()) return;
  let place = focused.id && document.getElementById(focused.id);
  if (place?.disabled) place = place.closest(".branches")?.querySelector("button:enabled");
  (place || document.getElementById("content"))?.focus({ preventScroll: true });
}
