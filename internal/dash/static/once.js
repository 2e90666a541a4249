// What is shown once: an enrolment link, recovery codes. It is written into the
// page as text, and can be copied, printed or saved; the server keeps only
// hashes, and a reload forgets it.
"use strict";
(() => {
  Valetkey.once = (form, show) => {
    const box = document.querySelector(form.dataset.once);
    if (!box) return;
    const lines = Object.values(show).flat();
    box.querySelector("pre").textContent = lines.join("\n");
    const save = box.querySelector("a[download]");
    if (save) save.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/plain" }));
    form.hidden = true;
    box.hidden = false;
    box.focus();
  };

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-print]")) window.print();
  });
})();
