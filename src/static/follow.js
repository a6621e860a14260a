// Keeps the end of the conversation in view while it grows, until the reader scrolls up; then offers the way back.

const messages = document.getElementById("messages");
const NEAR = 80; // pixels from the end that still count as the end

if (messages) {
  const jump = document.createElement("button");
  jump.type = "button";
  jump.className = "button jump";
  jump.textContent = "Jump to latest";
  jump.hidden = true;
  document.querySelector(".dock").prepend(jump);

  let following = true;
  const root = document.scrollingElement;
  const room = () => root.scrollHeight - root.clientHeight;
  const follow = (on) => {
    following = on;
    jump.hidden = on;
  };
  const toEnd = () => {
    follow(true);
    root.scrollTo({ top: root.scrollHeight, behavior: "instant" });
  };
  const keepUp = () => following && toEnd();

  // Upwards is the reader's doing, unless the page became shorter and was moved for that.
  let top = root.scrollTop;
  let end = room();
  const scrolled = () => {
    if (root.scrollTop < top && room() >= end) follow(false);
    else if (room() - root.scrollTop < NEAR) follow(true);
    [top, end] = [root.scrollTop, room()];
  };
  addEventListener("scroll", scrolled, { passive: true });
  addEventListener("wheel", (event) => event.deltaY < 0 && root.scrollTop > 0 && follow(false), { passive: true });
  new ResizeObserver(keepUp).observe(document.body);
  addEventListener("resize", keepUp);
  jump.addEventListener("click", toEnd);
  document.addEventListener("riverrun:sent", toEnd);
  if (!location.hash) toEnd();
}
