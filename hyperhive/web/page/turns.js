// Turns that are not on the page yet. It comes after page.js, whose names it uses; without it there are links.

// ---- older turns: fetched when one scrolls to the end of those that are there

let reached = null; // the observer

async function older() {
  const link = one("#older");
  if (!link || link.hasAttribute("aria-busy")) return;
  link.setAttribute("aria-busy", "true");
  try {
    const answer = await fetch(link.href);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const turn of all("#turn-list > li", fresh)) if (!document.getElementById(turn.id)) one("#turn-list").append(turn);
    const next = one("#older", fresh);
    one("#older-at").replaceChildren(...(next ? [next] : []));
    times();
    reached.unobserve(one("#older-at")); // so that it is said again should it still be in sight
    reached.observe(one("#older-at"));
  } catch {
    link.removeAttribute("aria-busy"); // it can be followed by hand
  }
}

// What is shown of a long turn is its end; what was before that is put before it.
async function earlier(event) {
  const link = event.target.closest("a.earlier");
  if (!link) return;
  event.preventDefault();
  const place = link.parentNode;
  const list = place.nextElementSibling;
  try {
    const answer = await fetch(link.href);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = document.importNode(fresh.getElementById(list.id), true);
    list.grows = true;
    list.prepend(...found.children);
    const next = fresh.getElementById(place.id);
    place.replaceChildren(...(next ? next.childNodes : []));
  } catch {
    link.after(" cannot be had now. Try again.");
  }
}

function watchEnd() {
  const seen = (all) => all.some((each) => each.isIntersecting) && older();
  reached = new IntersectionObserver(seen, { root: one("#turns-at"), rootMargin: "200px" });
  reached.observe(one("#older-at"));
  one("#older-at").addEventListener("click", (event) => {
    if (event.target.id !== "older") return;
    event.preventDefault();
    older();
  });
}

document.addEventListener("click", earlier);
if (one("#older")) watchEnd();
