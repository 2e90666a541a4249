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
    if (!res.ok) {
      const refusal = new Error(answer.detail || "The server refused (" + res.status + ").");
      refusal.reason = answer.reason;
      throw refusal;
    }
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

  // tell says what the form waits for, also to those who do not see the button.
  const tell = (form, message) => {
    const line = form.querySelector(".form-status");
    if (line) line.textContent = message;
  };

  // What these refuse is over: only a page that is loaded again has the new one.
  const outdated = new Set(["question_changed", "preview_stale", "presence_required", "approval_stale", "approval_not_open", "approval_expired", "no_step_up", "cannot_run", "form_token",
    "proposal_not_open", "proposal_expired", "proposal_stale", "device_stale", "not_frozen"]);
  const offerReload = (form) => {
    const again = document.createElement("a");
    again.href = location.href;
    again.className = "reload";
    again.textContent = "Reload the page";
    again.addEventListener("click", (event) => { event.preventDefault(); location.reload(); });
    form.querySelector(".form-error")?.append(" ", again);
  };

  // A private key has no business in a form, in a page that is kept for the back
  // button, or on the wire.
  const isPrivate = (text) => {
    if (/PRIVATE KEY/i.test(text)) return true;
    const secret = (key) => !!key && typeof key === "object" && ["d", "k", "p", "q", "dp", "dq", "qi"].some((name) => name in key);
    try {
      const key = JSON.parse(text);
      return secret(key) || (Array.isArray(key?.keys) && key.keys.some(secret));
    } catch { return /"[dk]"\s*:/.test(text); }
  };
  const clearKeys = (form) => { for (const field of form.querySelectorAll("[data-public-key]")) field.value = field.textContent = ""; };

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
    show(form, "");
    if ([...form.querySelectorAll("[data-public-key]")].some((field) => isPrivate(field.value))) {
      clearKeys(form);
      show(form, "That was a private key. It was not sent, and the field is empty again: a private key stays where the agent runs. Paste the public half, as openssl pkey -in KEY -pubout prints it.");
      return;
    }
    const body = values(form, event.submitter);
    form.setAttribute("aria-busy", "true");
    try {
      const begin = (button && button.dataset.passkey) || form.dataset.passkey;
      // To begin, the server is told what it is about and nothing else.
      if (form.dataset.enrol) {
        tell(form, "Waiting for your device to make the passkey…");
        // Who is in already proves first that it is them, by a passkey they have.
        const assertion = form.dataset.first ? await Valetkey.assert(form.dataset.first, {}) : undefined;
        body.credential = await Valetkey.enrol(form.dataset.enrol, { invite: body.invite, assertion });
      } else if (begin && wanted(button)) {
        tell(form, "Waiting for your passkey…");
        body.assertion = await Valetkey.assert(begin, { digest: body.digest, question: body.question, shown: body.shown });
      }
      tell(form, form.dataset.sending || "Sending…");
      const answer = await post(form.getAttribute("action"), body);
      if (answer.show) {
        // It is to be seen once and stands in no address: the page stays.
        tell(form, "");
        form.removeAttribute("aria-busy");
        Valetkey.once(form, answer.show);
        return;
      }
      tell(form, "Done. Loading what came of it…");
      for (const secret of form.querySelectorAll("input[type=password]")) secret.value = "";
      go(answer);
    } catch (err) {
      tell(form, "");
      show(form, err.message);
      if (outdated.has(err.reason)) offerReload(form);
      if (err.reason === "private_key") clearKeys(form);
      form.removeAttribute("aria-busy");
    }
  });

  // A page that the browser kept (back button) must not look busy.
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[aria-busy]")) { form.removeAttribute("aria-busy"); tell(form, ""); }
  });

  document.addEventListener("click", async (event) => {
    const el = event.target.closest("[data-open], [data-close], [data-copy]");
    if (!el) return;
    if (el.dataset.open) document.querySelector(el.dataset.open).showModal();
    else if ("copy" in el.dataset) {
      const what = el.dataset.copy ? document.querySelector(el.dataset.copy) : el.closest(".copy-box").querySelector("pre");
      await navigator.clipboard.writeText(what.textContent.trim());
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
    // What comes into the page may have moved the button under a finger.
    document.addEventListener("htmx:afterSwap", () => { button.disabled = true; update(); });
  };
  const armAll = (root) => {
    for (const button of root.querySelectorAll("[data-arm]:not([data-arm=watched])")) {
      button.dataset.arm = "watched";
      arm(button);
    }
  };
  // A link to something further down goes when that is on the screen.
  const leadAll = (root) => {
    for (const link of root.querySelectorAll("[data-until-seen]:not([data-led])")) {
      const goal = document.querySelector(link.dataset.untilSeen);
      if (!goal) continue;
      link.dataset.led = "";
      new IntersectionObserver((entries) => {
        const at = entries[entries.length - 1];
        link.hidden = at.isIntersecting || at.boundingClientRect.top < 0;
      }).observe(goal);
    }
  };
  const ready = (root) => { armAll(root); leadAll(root); };
  ready(document);
  document.addEventListener("htmx:load", (event) => ready(event.target.parentNode || document));

  return { post };
})();
