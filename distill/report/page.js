"use strict";
(function () {
  const reader = document.getElementById("reader");
  const text = document.getElementById("reader-text");

  // A hint's source opens above the page, so that the reader keeps his place in the list.
  document.addEventListener("click", function (event) {
    const link = event.target.closest("a.source");
    if (!link || !reader.showModal) return;
    const episode = document.getElementById(link.hash.slice(1));
    if (!episode) return;
    event.preventDefault();
    const copy = episode.cloneNode(true);
    copy.removeAttribute("id");
    text.replaceChildren(copy);
    reader.showModal();
    reader.scrollTop = 0;
  });
  reader.addEventListener("click", function (event) {
    if (event.target === reader) reader.close();
  });

  for (const part of document.querySelectorAll(".part")) {
    const kind = part.querySelector(".hint-kind");
    const words = part.querySelector(".hint-words");
    const count = part.querySelector(".hint-count");
    if (kind && words) {
      const rows = Array.from(part.querySelectorAll("table.hints tbody tr"));
      const filter = function () {
        const wanted = words.value.toLowerCase();
        let shown = 0;
        for (const row of rows) {
          const fits = (!kind.value || row.dataset.kind === kind.value) && row.cells[0].textContent.toLowerCase().includes(wanted);
          row.hidden = !fits;
          shown += fits ? 1 : 0;
        }
        count.textContent = shown === rows.length ? "" : shown + " of " + rows.length;
      };
      kind.addEventListener("change", filter);
      words.addEventListener("input", filter);
    }

    part.querySelector(".save").addEventListener("click", function () {
      const document_ = JSON.parse(part.querySelector(".results").textContent);
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([JSON.stringify(document_, null, 1) + "\n"], { type: "application/json" }));
      link.download = "results.json";
      link.click();
      URL.revokeObjectURL(link.href);
    });
  }
})();
