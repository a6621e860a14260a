// A conversation's menu closes by Escape, and when something else is clicked.

document.addEventListener("keydown", (event) => event.key === "Escape" && close(true));
document.addEventListener("click", ({ target }) => target.closest(".entry__menu[open]") || close(false));

function close(byKey) {
  const menu = document.querySelector(".entry__menu[open]");
  if (!menu) return;
  menu.open = false;
  if (byKey) menu.querySelector("summary").focus();
}
