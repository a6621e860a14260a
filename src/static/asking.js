// Tells in the title, which other tabs show too, that a reply waits for a person's word.

const MARK = "Waiting for you · ";

document.addEventListener("htmx:after:swap", mark);

function mark() {
  const isAsked = document.querySelector(".approval form") !== null;
  const isMarked = document.title.startsWith(MARK);
  if (isAsked && !isMarked) document.title = MARK + document.title;
  if (!isAsked && isMarked) document.title = document.title.slice(MARK.length);
}
