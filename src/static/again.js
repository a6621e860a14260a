// Editing a message and asking for another reply, in their place: Enter sends, Escape and Cancel leave.

document.addEventListener("toggle", ({ target }) => target.matches?.(".message__edit[open]") && begin(target), true);
document.addEventListener("click", ({ target }) => target.closest("[data-leave]") && leave(target));
document.addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (key === "Escape" && target.closest(".message__edit, .retry__with")) leave(target);
  if (key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  if (!target.matches(".message__draft")) return;
  event.preventDefault();
  if (target.value.trim()) target.form.requestSubmit();
});

function begin(edit) {
  const field = edit.querySelector("textarea");
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
}

function leave(target) {
  const edit = target.closest(".message__edit");
  if (edit) {
    edit.open = false;
    edit.querySelector("form").reset();
    edit.querySelector("summary").focus();
    return;
  }
  const retry = target.closest(".retry");
  retry.querySelector(".retry__with").replaceChildren();
  retry.querySelector(".retry__other").focus();
}
