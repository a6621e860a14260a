// Which of a reply's activity is shown: by agent and by kind.

const sifted = new WeakMap(); // log: how many lines it had
const choices = new Map(); // what was chosen, which a snapshot of the reply would forget

document.addEventListener("toggle", ({ target }) => target.matches?.(".activity") && target.open && refresh(target), true);
document.addEventListener("change", ({ target }) => target.matches?.("[data-filter]") && choose(target));
document.addEventListener("htmx:after:swap", () => document.querySelectorAll(".activity[open]").forEach(refresh));

function choose(select) {
  choices.set(nameOf(select), select.value);
  sift(select.closest(".activity"));
}

function nameOf(select) {
  return `${select.closest(".activity").id} ${select.dataset.filter}`;
}

// Words come many times a second, lines seldom.
function refresh(activity) {
  const log = activity.querySelector(".activity__log");
  if (sifted.get(log) === log.childElementCount) return;
  sifted.set(log, log.childElementCount);
  offer(activity);
  sift(activity);
}

function offer(activity) {
  const lines = [...activity.querySelectorAll(".entry-line")];
  for (const select of activity.querySelectorAll("[data-filter]")) {
    const values = new Set(lines.map((line) => line.dataset[select.dataset.filter]).filter(Boolean));
    const known = new Set([...select.options].map((option) => option.value));
    if (!known.has("")) select.add(new Option("All", ""));
    for (const value of values) if (!known.has(value)) select.add(new Option(value, value));
    select.value = choices.get(nameOf(select)) ?? "";
  }
  activity.querySelector(".activity__filters").hidden = false;
}

function sift(activity) {
  const chosen = [...activity.querySelectorAll("[data-filter]")].filter((select) => select.value);
  for (const line of activity.querySelectorAll(".entry-line")) {
    line.hidden = chosen.some((select) => line.dataset[select.dataset.filter] !== select.value);
  }
}
