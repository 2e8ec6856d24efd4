// What forms offer: a list of proposals shows those that belong to what is chosen above, as <datalist data-of="gateway"> with
// <option data-owner="3">: only the options of gateway 3 where that is chosen, and all of them where none is.
"use strict";

function narrowProposals(list) {
  const choice = document.querySelector(`#content-main [name="${list.dataset.of}"]`);
  if (!choice) return;
  const all = [...list.options];
  const show = () => list.replaceChildren(...all.filter((option) => !choice.value || option.dataset.owner === choice.value));
  choice.addEventListener("change", show);
  show();
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("datalist[data-of]").forEach(narrowProposals);
});
