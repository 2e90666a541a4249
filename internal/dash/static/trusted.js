// Trusted Types: the only way in which a script here may turn text into
// markup is htmx swapping a part that our own server rendered. The default
// policy looks at such markup in an inert document first and refuses all that
// could run or load. Scripts and script addresses are never made from text.
"use strict";
(() => {
  if (!window.trustedTypes) return;
  const inert = trustedTypes.createPolicy("inert", { createHTML: (s) => s });
  const forbidden = new Set(["SCRIPT", "IFRAME", "OBJECT", "EMBED", "BASE", "META", "LINK", "STYLE", "FRAME", "FRAMESET", "APPLET",
    "TEMPLATE", "NOEMBED", "XMP", "PLAINTEXT", "MATH", "FOREIGNOBJECT", "ANIMATE", "SET", "USE", "IMG", "VIDEO", "AUDIO"]);
  const addresses = new Set(["href", "src", "action", "formaction", "xlink:href", "data", "poster"]);

  const refuse = (what) => {
    console.error("refused markup with " + what);
    throw new TypeError("refused markup with " + what);
  };

  const check = (root) => {
    for (const el of root.querySelectorAll("*")) {
      if (forbidden.has(el.tagName.toUpperCase())) refuse(el.tagName);
      for (const a of el.attributes) {
        const name = a.name.toLowerCase();
        if (name.startsWith("on") || name.startsWith("hx-on") || name === "style" || name === "srcdoc") refuse(name);
        if (addresses.has(name) && !/^(\/(?!\/)|#|https?:\/\/)/.test(a.value)) refuse(name);
      }
    }
  };

  trustedTypes.createPolicy("default", {
    createHTML: (s) => {
      // htmx wraps what it parses in an empty shell of its own, in which the
      // template element is the only one of the forbidden kind.
      const markup = s.replace(/^<body><template class="internal-htmx-wrapper">|<\/template><\/body>$/g, "");
      check(new DOMParser().parseFromString(inert.createHTML(markup), "text/html"));
      return s;
    },
  });
})();
