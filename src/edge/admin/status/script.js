// Asks for the page again every few seconds and puts the new one in place of the old.
(() => {
  "use strict";
  const EVERY = 5000;
  const byId = (id) => document.getElementById(id);
  const pause = byId("pause"), pulse = byId("pulse"), stale = byId("stale");
  let token = "", paused = false, last = Date.now();

  const isBusy = () => paused || document.hidden || String(getSelection()) !== "";

  async function fetchPage() {
    const headers = token ? { Accept: "text/html", Authorization: "Bearer " + token } : { Accept: "text/html" };
    const answer = await fetch(location.pathname, { headers, cache: "no-store", signal: AbortSignal.timeout(EVERY) });
    if (!answer.ok) throw new Error(answer.status === 401 ? "the token is not accepted" : "status " + answer.status);
    return new DOMParser().parseFromString(await answer.text(), "text/html");
  }

  function show(fresh) {
    const open = [...document.querySelectorAll("details[open]")].map((details) => details.id);
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
    document.title = fresh.title;
    for (const details of document.querySelectorAll("details")) details.open = open.includes(details.id);
    last = Date.now();
    stale.hidden = true;
    document.body.classList.remove("old");
    pause.hidden = false;
    pulse.textContent = "refreshed every " + EVERY / 1000 + " s";
  }

  async function refresh() {
    try {
      if (!isBusy()) show(await fetchPage());
    } catch (error) {
      const seconds = Math.round((Date.now() - last) / 1000);
      stale.textContent = "No answer for " + seconds + " s (" + error.message + "): what is shown is old.";
      stale.hidden = false;
      document.body.classList.add("old");
      document.title = "NO ANSWER · portcullis";
    }
    setTimeout(refresh, EVERY);
  }

  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    pulse.textContent = paused ? "paused" : "";
  });

  const form = byId("token");
  if (!form) {
    pause.hidden = false;
    pulse.textContent = "refreshed every " + EVERY / 1000 + " s";
    setTimeout(refresh, EVERY);
    return;
  }
  pulse.textContent = "";
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    token = byId("secret").value;
    try {
      show(await fetchPage());
      setTimeout(refresh, EVERY);
    } catch (error) {
      byId("wrong").textContent = "No: " + error.message + ".";
    }
  });
})();
