// Live pages: the server says by an event that something changed, and htmx
// fetches the part again. Events carry no content, only a number or an id.
//
//   event: inbox    data: {"pending": 3}
//   event: action   data: {"id": "act_…"}
"use strict";
(() => {
  // A part is fetched again for every event, one request at a time. What comes
  // while one is under way is fetched after it: htmx would queue it on the very
  // element that the answer replaces, and lose it.
  const under = new Map(), again = new Set();
  const refresh = (name) => {
    if (!document.querySelector('[hx-trigger~="' + name + '"]')) return;
    if (Date.now() - (under.get(name) || 0) < 20000) { again.add(name); return; }
    under.set(name, Date.now());
    htmx.trigger(document.body, name);
  };
  const done = (event) => {
    const part = (event.detail.requestConfig && event.detail.requestConfig.elt) || event.detail.elt;
    const name = (part.getAttribute("hx-trigger") || "").split(" ")[0];
    if (under.delete(name) && again.delete(name)) refresh(name);
  };
  // "No change" ends a request, too.
  document.body.addEventListener("htmx:afterRequest", (event) => { if (event.detail.xhr.status === 204) done(event); });
  // What somebody has unfolded stays so when its part is swapped.
  const unfolded = new Set();
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    unfolded.clear();
    for (const fold of event.detail.target.querySelectorAll("details[id][open]")) unfolded.add(fold.id);
  });
  document.body.addEventListener("htmx:afterSwap", () => {
    for (const id of unfolded) { const fold = document.getElementById(id); if (fold) fold.open = true; }
    unfolded.clear();
  });
  for (const end of ["htmx:afterSettle", "htmx:responseError", "htmx:sendError", "htmx:timeout"]) document.body.addEventListener(end, done);

  const url = document.body.dataset.events;
  if (url) {
    const title = document.title.replace(/^\(\d+\) /, "");
    const tally = (n) => {
      for (const el of document.querySelectorAll("[data-pending]")) { el.textContent = n; el.hidden = n === 0; }
      document.title = (n ? "(" + n + ") " : "") + title;
    };
    // The part of a page that is about one action.
    const action = () => {
      const part = document.querySelector("[data-action]");
      if (part) refresh("valetkey:" + part.dataset.action);
    };
    const source = new EventSource(url);
    source.addEventListener("inbox", (event) => {
      tally(JSON.parse(event.data).pending);
      refresh("valetkey:inbox");
      action(); // a freeze, say, is told to the inbox, and changes what an action's page offers
    });
    source.addEventListener("action", (event) => {
      refresh("valetkey:" + JSON.parse(event.data).id);
    });
    // What happened between the page and this connection is looked up once.
    source.addEventListener("open", action);
    // A session that has ended answers neither the feed nor a part: the page
    // is loaded again, which leads to the login and back here.
    source.addEventListener("error", async () => {
      if (source.readyState !== EventSource.CLOSED) return;
      try { if ((await fetch(url, { method: "HEAD" })).status === 401) location.reload(); } catch { /* the server is away */ }
    });
    document.body.addEventListener("htmx:responseError", (event) => { if (event.detail.xhr.status === 401) location.reload(); });
    window.addEventListener("pagehide", () => source.close());
    window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  }

  // Times are relative to the reader's now; the exact one is in the tooltip.
  const rough = (s) => {
    if (s < 60) return Math.floor(s) + " s";
    const m = Math.floor(s / 60), h = Math.floor(m / 60);
    if (m < 60) return m + " min";
    if (h < 48) return h < 6 && m % 60 ? h + " h " + (m % 60) + " min" : h + " h";
    return Math.floor(h / 24) + " days";
  };
  const tick = () => {
    const now = Date.now();
    for (const el of document.querySelectorAll("time[data-rel]")) {
      const s = (now - Date.parse(el.dateTime)) / 1000;
      if (s >= 0 && s < 7 * 86400) el.textContent = s < 10 ? "just now" : rough(s) + " ago";
    }
    for (const el of document.querySelectorAll("[data-until]")) {
      const s = Math.floor((Date.parse(el.dataset.until) - now) / 1000);
      el.classList.toggle("soon", s < 120);
      el.textContent = s <= 0 ? "expired" : s < 600 ? Math.floor(s / 60) + ":" + String(s % 60).padStart(2, "0") : rough(s);
      const form = s <= 0 && el.closest(".decision");
      if (form) for (const b of form.querySelectorAll("button")) b.hidden = true;
    }
  };
  if (!document.body.dataset.still) {
    tick();
    setInterval(tick, 1000);
  }
})();
