(() => {
  const root = document.querySelector(".gallery");
  const form = root.querySelector(".gallery-find");
  const count = root.querySelector(".gallery-count");
  const none = root.querySelector(".gallery-none");
  const filters = ["wing", "verdict", "engine", "cost"];
  const cards = [...root.querySelectorAll(".gallery-card")].map((card) => {
    const { wing, verdict, engine, cost } = card.dataset;
    return { card, text: null, wing: [wing], verdict: [verdict], engine: engine.split("|"), cost: [cost] };
  });
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase().replace(/[-\s]+/g, " ");

  const show = () => {
    const words = plain(form.q.value).split(" ").filter(Boolean);
    let shown = 0;
    const chosen = filters.map((name) => [name, form[name].value]).filter(([, value]) => value);
    for (const each of cards) {
      each.text ??= plain(`${each.card.textContent} ${each.card.id}`);
      const fits = chosen.every(([name, value]) => each[name].includes(value));
      const hit = fits && words.every((word) => each.text.includes(word));
      if (each.card.hidden === hit) each.card.hidden = !hit;
      shown += hit;
    }
    count.textContent = `${shown} of ${cards.length} papers`;
    none.hidden = shown > 0;
  };

  // A search can be linked to, as a card can; where addresses may not be changed, what stands in them is stale.
  let stale = false;
  const remember = () => {
    const kept = `${new URLSearchParams([...new FormData(form)].filter(([, value]) => value))}`;
    try {
      history.replaceState(null, "", `${location.pathname}${kept ? `?${kept}` : ""}${location.hash}`);
      stale = false;
    } catch { stale = true; }
  };
  const recall = () => {
    const kept = new URLSearchParams(location.search);
    for (const name of ["q", ...filters]) form[name].value = kept.get(name) ?? "";
    for (const name of filters) if (form[name].selectedIndex < 0) form[name].value = "";
    show();
  };
  const clear = () => {
    form.reset();
    show();
    remember();
  };
  // A link to a card that a search hides means the card.
  const reveal = () => {
    // Slugs need no decoding, and what is no slug may be no code either.
    const wanted = document.getElementById(location.hash.slice(1));
    if (!wanted?.matches(".gallery-card")) return;
    if (wanted.hidden) clear();
    wanted.scrollIntoView();
  };

  form.addEventListener("input", () => { show(); remember(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  none.querySelector("button").addEventListener("click", () => { clear(); form.q.focus(); });
  // Back and forward lead to addresses of earlier searches.
  addEventListener("popstate", () => { if (!stale) recall(); });
  addEventListener("hashchange", reveal);
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return;
    event.preventDefault();
    form.q.focus();
  });
  for (const button of root.querySelectorAll(".gallery-copy")) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.previousElementSibling.textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not allowed here";
      }
    });
  }
  const theme = document.querySelector(".gallery-theme");
  if (theme) {
    const dark = () => document.documentElement.dataset.theme === "dark";
    const say = () => theme.setAttribute("aria-pressed", dark());
    theme.addEventListener("click", () => {
      document.documentElement.dataset.theme = dark() ? "light" : "dark";
      try { localStorage.setItem("entrokit-theme", document.documentElement.dataset.theme); } catch {}
      say();
    });
    theme.hidden = false;
    say();
  }
  form.hidden = false;
  recall();
  reveal();
})();
