// Choosing the operations of a grant: a filter, areas that are chosen whole,
// and a count. Nothing is chosen by itself.
"use strict";
(() => {
  const plural = (n, one, many) => n + " " + (n === 1 ? one : many);

  const start = (form) => {
    const account = form.querySelector("select[name=connection]");
    const groups = [...form.querySelectorAll("fieldset[data-spec]")];
    const filter = form.querySelector("[data-pick-filter]");
    const count = form.querySelector("[data-pick-count]");
    const group = () => groups.find((g) => !g.disabled);

    const tally = () => {
      const chosen = [...form.querySelectorAll("input[name='operations[]']:checked:not(:disabled)")].filter((box) => !box.closest("fieldset").disabled);
      const whole = chosen.filter((box) => "area" in box.dataset).length, single = chosen.length - whole;
      const parts = [];
      if (whole) parts.push(plural(whole, "whole area", "whole areas"));
      if (single) parts.push(plural(single, "operation", "operations"));
      for (const area of form.querySelectorAll("details.area")) {
        const boxes = [...area.querySelectorAll("input:not([data-area])")], n = boxes.filter((box) => box.checked).length;
        area.querySelector("summary .soft").textContent = plural(boxes.length, "operation", "operations") + (n ? ", " + n + " chosen" : "");
      }
      count.textContent = parts.length ? "Chosen: " + parts.join(" and ") + "." : "Nothing is chosen yet.";
    };

    // An area that is chosen whole covers its operations, those to come as well.
    const cover = (area) => {
      const whole = area.querySelector("[data-area]").checked;
      for (const box of area.querySelectorAll("input:not([data-area])")) { box.disabled = whole; if (whole) box.checked = false; }
      area.classList.toggle("whole", whole);
    };

    const narrow = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let any = false;
      for (const area of form.querySelectorAll("details.area")) {
        let hits = 0;
        for (const row of area.querySelectorAll(".choice.op:not(.all)")) {
          const text = (row.textContent + (row.querySelector("[data-read]") ? " read" : " write")).toLowerCase();
          row.hidden = !words.every((word) => text.includes(word));
          hits += row.hidden ? 0 : 1;
        }
        area.hidden = hits === 0;
        if (words.length) area.open = hits > 0;
        any ||= hits > 0 && !area.closest("fieldset").disabled;
      }
      form.querySelector("[data-pick-none]").hidden = any;
    };

    const turn = () => {
      const spec = account.selectedOptions[0]?.dataset.spec;
      for (const g of groups) g.hidden = g.disabled = g.dataset.spec !== spec;
      narrow();
      tally();
    };

    account.addEventListener("change", turn);
    filter.addEventListener("input", narrow);
    filter.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
    form.addEventListener("change", (event) => {
      const area = event.target.closest("details.area");
      if (area && "area" in event.target.dataset) cover(area);
      tally();
    });
    form.addEventListener("click", (event) => {
      const what = event.target.closest("[data-pick]")?.dataset.pick;
      if (!what || !group()) return;
      for (const box of group().querySelectorAll("input")) {
        if (what === "none") box.checked = false;
        else if (!box.disabled && "read" in box.dataset) box.checked = true;
      }
      for (const area of group().querySelectorAll("details.area")) cover(area);
      tally();
    });
    turn();
  };
  for (const form of document.querySelectorAll("form[data-pick-form]")) start(form);
})();
