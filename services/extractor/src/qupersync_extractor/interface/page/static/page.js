// What the page does beyond being shown: dialogs instead of pages that ask, and honesty about how old its numbers are.
// Without this script everything works by links and forms.
"use strict";

(() => {
  const OLD_SECONDS = 15;
  const root = document.documentElement;
  root.classList.add("js");

  const dialog = document.getElementById("dialog");
  const body = document.getElementById("dialog-body");
  const lost = document.getElementById("lost");
  const live = document.getElementById("live");
  let seen = performance.now();
  let trouble = "";

  // ------------------------------------------------------------------------------------------------------- dialogs

  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-dialog]");
    if (!link || !dialog.showModal || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    try {
      const answer = await fetch(link.href, { headers: { "HX-Request": "true" }, cache: "no-store" });
      if (!answer.ok) throw new Error(String(answer.status));
      body.innerHTML = await answer.text();
      dialog.showModal();
    } catch {
      window.location.assign(link.href); // the page that asks says what is wrong
    }
  });

  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.getAttribute("method") !== "post" || event.submitter?.formMethod === "dialog") return;
    if (form.dataset.sent) event.preventDefault(); // twice pressed is once meant
    form.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => {
    document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent);
  });

  // ------------------------------------------------------------------------------------------------ live, or not so

  // What people do to a page outlasts its renewal: what they type, what they open, and what a script drew.
  if (window.Idiomorph) {
    const { defaults } = window.Idiomorph;
    defaults.ignoreActiveValue = true;
    defaults.callbacks.beforeNodeMorphed = (old) => !(old instanceof Element && old.hasAttribute("data-chart"));
    defaults.callbacks.beforeAttributeUpdated = (name, node) => !(name === "open" && node.tagName === "DETAILS");
  }

  const part = document.getElementById("live-part");

  const tell = () => {
    if (!part) return;
    const stamp = document.getElementById("as-of");
    const atFirst = stamp && stamp.dataset.age !== "" ? Number(stamp.dataset.age) : Infinity;
    const age = atFirst + (performance.now() - seen) / 1000;
    const old = age > OLD_SECONDS;
    const text = old ? `Not live: ${trouble || "nothing new arrives"}. What you see is as of ${stamp?.textContent ?? "an unknown moment"}.` : "";
    if (lost.textContent !== text) lost.textContent = text;
    lost.hidden = !old;
    root.classList.toggle("old", old);
    live.hidden = old;
  };

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.detail.elt === part) event.preventDefault(); // nobody looks
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && part && window.htmx) window.htmx.trigger(part, "look");
  });
  document.addEventListener("htmx:afterSwap", () => {
    seen = performance.now();
    trouble = "";
    tell();
    document.title = document.title.replace(/^[^·]*·/, `${heading()} ·`);
  });
  document.addEventListener("htmx:responseError", (event) => {
    trouble = `the server answers ${event.detail.xhr.status}`;
    tell();
  });
  document.addEventListener("htmx:sendError", () => {
    trouble = "the server cannot be reached";
    tell();
  });
  document.addEventListener("htmx:timeout", () => {
    trouble = "the server does not answer in time";
    tell();
  });

  const heading = () => {
    const sentence = document.getElementById("verdict-sentence");
    return sentence ? sentence.textContent.trim() : document.title.split("·")[0].trim();
  };

  window.setInterval(tell, 1000);
  tell();
})();
