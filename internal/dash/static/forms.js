// Forms are sent as JSON with the session's token: a plain form post, which
// any page could make, changes nothing on the server. The answer names where
// to go next, or says in one sentence why not.
"use strict";
window.Valetkey = (() => {
  const token = () => document.querySelector('meta[name="valetkey-csrf"]').content;

  // post sends JSON and returns the answer's JSON; it throws an Error whose
  // message can be shown.
  const post = async (url, body) => {
    let res;
    try {
      res = await fetch(url, {
        method: "POST", credentials: "same-origin", redirect: "error",
        headers: { "Content-Type": "application/json", "Accept": "application/json", "Valetkey-Csrf": token() },
        body: JSON.stringify(body),
      });
    } catch {
      throw new Error("The server cannot be reached. Nothing was changed; try again.");
    }
    let answer = {};
    try { answer = await res.json(); } catch { /* an empty answer is fine */ }
    if (!res.ok) throw new Error(answer.detail || "The server refused (" + res.status + ").");
    return answer;
  };

  // values reads a form; a name that ends in [] is a list.
  const values = (form, submitter) => {
    const out = {};
    for (const [name, value] of new FormData(form, submitter)) {
      if (name.endsWith("[]")) (out[name.slice(0, -2)] ||= []).push(value);
      else out[name] = value;
    }
    return out;
  };

  // go follows the answer, only to a page of this server or to a provider's
  // login over HTTPS (plain HTTP on this machine, for the sandbox).
  const go = (answer) => {
    if (!answer.location) return location.reload();
    const to = new URL(answer.location, location.href);
    const local = to.hostname === "localhost" || to.hostname === "127.0.0.1" || to.hostname === "[::1]";
    if (to.origin !== location.origin && to.protocol !== "https:" && !(to.protocol === "http:" && local)) {
      throw new Error("The server named an address that cannot be opened.");
    }
    if (to.href.split("#")[0] === location.href.split("#")[0]) return location.reload();
    location.assign(to.href);
  };

  const show = (form, message) => {
    const line = form.querySelector(".form-error");
    if (!line) return;
    line.textContent = message;
    line.hidden = !message;
  };

  const wanted = (el) => {
    const rule = el && el.dataset.passkeyIf;
    if (!rule) return true;
    const [name, value] = rule.split("=");
    return new FormData(el.form).get(name) === value;
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("form[data-json]")) return;
    event.preventDefault();
    const button = event.submitter || form.querySelector("button:not([type=button])");
    if (form.getAttribute("aria-busy") === "true" || (button && button.disabled)) return;
    const body = values(form, event.submitter);
    show(form, "");
    form.setAttribute("aria-busy", "true");
    try {
      const begin = (button && button.dataset.passkey) || form.dataset.passkey;
      // To begin, the server is told what it is about and nothing else.
      if (form.dataset.enrol) body.credential = await Valetkey.enrol(form.dataset.enrol, { invite: body.invite });
      else if (begin && wanted(button)) body.assertion = await Valetkey.assert(begin, { digest: body.digest });
      const answer = await post(form.getAttribute("action"), body);
      for (const secret of form.querySelectorAll("input[type=password]")) secret.value = "";
      go(answer);
    } catch (err) {
      show(form, err.message);
      form.removeAttribute("aria-busy");
    }
  });

  // A page that the browser kept (back button) must not look busy.
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[aria-busy]")) form.removeAttribute("aria-busy");
  });

  document.addEventListener("click", async (event) => {
    const el = event.target.closest("[data-open], [data-close], [data-copy]");
    if (!el) return;
    if (el.dataset.open) document.querySelector(el.dataset.open).showModal();
    else if (el.dataset.copy) {
      await navigator.clipboard.writeText(document.querySelector(el.dataset.copy).textContent.trim());
      const label = el.querySelector("span");
      label.textContent = "Copied";
      setTimeout(() => { label.textContent = "Copy"; }, 1500);
    } else el.closest("dialog").close();
  });

  // An element that closes a menu or a dialog when the page behind is pressed.
  document.addEventListener("pointerdown", (event) => {
    if (event.target instanceof HTMLDialogElement) event.target.close();
    for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });

  // Arming: a button that sends something off is inert until it has been on
  // the screen, whole, in a visible page, for 600 ms without a break. So a
  // click that was meant for something else, or that an overlay led here,
  // decides nothing.
  const armAfter = 600;
  const arm = (button) => {
    let timer = 0, inView = false;
    const update = () => {
      clearTimeout(timer);
      if (inView && document.visibilityState === "visible") {
        button.classList.add("arming");
        timer = setTimeout(() => { button.disabled = false; button.classList.remove("arming"); }, armAfter);
      } else {
        button.disabled = true;
        button.classList.remove("arming");
      }
    };
    new IntersectionObserver((entries) => {
      inView = entries[entries.length - 1].intersectionRatio >= 0.99;
      update();
    }, { threshold: [0, 0.99, 1] }).observe(button);
    document.addEventListener("visibilitychange", update);
  };
  const armAll = (root) => {
    for (const button of root.querySelectorAll("[data-arm]:not([data-arm=watched])")) {
      button.dataset.arm = "watched";
      arm(button);
    }
  };
  armAll(document);
  document.addEventListener("htmx:load", (event) => armAll(event.target.parentNode || document));

  return { post };
})();
