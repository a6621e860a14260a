// What is opened in its place closes by Escape: a conversation's menu, a message that is edited, the choice of a team.

document.addEventListener("keydown", ({ key, target }) => key === "Escape" && (leave(target) || closeMenu(true)));
document.addEventListener("click", ({ target }) => {
  if (target.closest("[data-leave]")) leave(target);
  if (!target.closest(".entry__menu[open]")) closeMenu(false);
});
document.addEventListener("toggle", ({ target }) => target.matches?.(".message__edit[open]") && beginEdit(target), true);

function closeMenu(byKey) {
  const menu = document.querySelector(".entry__menu[open]");
  if (!menu) return;
  menu.open = false;
  if (byKey) menu.querySelector("summary").focus();
}

function beginEdit(edit) {
  const field = edit.querySelector("textarea");
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
}

// Gives back whether there was something to leave.
function leave(target) {
  const opened = target.closest(".message__edit, .retry__with");
  if (opened?.open) {
    opened.open = false;
    opened.querySelector("form").reset();
    opened.querySelector("summary").focus();
  } else if (opened) {
    opened.replaceChildren();
    opened.parentElement.querySelector(".retry__other")?.focus();
  }
  return opened;
}
