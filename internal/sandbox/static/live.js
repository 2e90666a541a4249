// Keeps an issue page fresh: asks for the thread every two seconds and, when
// it has changed, puts the new one in its place and marks what was added. The
// server has escaped everything; the page's policy allows no other script.
"use strict";
(() => {
  let last = "";
  const look = async () => {
    if (document.hidden) return;
    const old = document.getElementById("thread");
    const answer = await fetch(old.dataset.live);
    if (!answer.ok) return;
    const text = await answer.text();
    const before = last;
    last = text;
    if (before === "" || before === text) return;
    const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("thread");
    for (const remark of fresh.querySelectorAll(".remark")) {
      if (!document.getElementById(remark.id)) remark.classList.add("new");
    }
    old.replaceWith(fresh);
  };
  const again = () => look().catch(() => {}).finally(() => setTimeout(again, 2000));
  again();
})();
