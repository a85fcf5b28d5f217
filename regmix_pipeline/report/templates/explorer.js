// The sliders: one mixture at a time, its losses by the pure law, its limits, and how far it is from what was trained.
function startExplorer(study) {
  const d = study.domains.length;
  const named = Object.fromEntries(study.mixtures.map((one) => [one.name, one.weights]));
  const natural = named.natural || study.domains.map((domain) => domain.prior ?? 1 / d);
  const losses = { chosen: named.chosen && lossesByLaw(study, named.chosen), natural: lossesByLaw(study, natural) };
  const sliders = [];
  const rows = [...document.querySelectorAll("#losses-by-law tbody tr")];
  const [headline, cautions] = ["headline", "cautions"].map((id) => document.getElementById(id));
  const text = document.getElementById("weights-text");
  const minus = (value) => value.replace("-", "−");
  const loss = (value) => minus(value.toFixed(3));
  const gap = (value) => (Math.abs(value) < 5e-4 ? "0.000" : (value > 0 ? "+" : "−") + Math.abs(value).toFixed(3));
  const percent = (value) => (value > 0 && value < 5e-4 ? "< 0.1%" : `${(100 * value).toFixed(1)}%`);
  let weights = named.chosen || natural;
  let shape = weights; // what the others are in proportion to while one slider moves: to 100% and back loses nothing
  let moving = -1;

  function element(tag, parent, properties = {}, attributes = {}) {
    const made = Object.assign(document.createElement(tag), properties);
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    parent.append(made);
    return made;
  }

  function tick(track, kind, weight, title) {
    if (weight === null || weight === undefined) return;
    const place = element("i", track, { className: `tick ${kind}`, title });
    place.style.left = `calc(9px + ${weight} * (100% - 18px))`;
  }

  study.order.forEach((j) => {
    const domain = study.domains[j];
    const row = element("div", document.getElementById("sliders"), { className: "slider" });
    element("label", row, { textContent: domain.name, htmlFor: `slider-${j}` });
    const track = element("span", row, { className: "track" });
    tick(track, "trained", domain.most, `highest trained ${percent(domain.most)}`);
    tick(track, "natural", natural[j], `natural ${percent(natural[j])}`);
    if (domain.floor > 0) tick(track, "floor", domain.floor, `floor ${percent(domain.floor)}`);
    if (domain.cap < 1) tick(track, "cap", domain.cap, `cap ${percent(domain.cap)}`);
    const range = element("input", track, { type: "range", id: `slider-${j}`, min: 0, max: 1, step: 0.001 });
    const number = element("input", row, { type: "number", min: 0, max: 100, step: 0.1, inputMode: "decimal" },
      { "aria-label": `${domain.name}, percent` });
    const note = element("span", row, { className: "limit" });
    range.addEventListener("input", () => set(j, Number(range.value)));
    number.addEventListener("change", () => set(j, clip(Number(number.value) / 100 || 0, 0, 1)));
    sliders[j] = { row, range, number, note };
  });

  function set(j, value) {
    if (moving !== j) shape = weights;
    moving = j;
    weights = rescaled(shape, j, value, natural);
    show();
  }

  function take(name) {
    weights = named[name];
    moving = -1;
    show();
  }

  function warnings() {
    const said = [];
    study.domains.forEach((domain, j) => {
      const times = epochs(j);
      const seen = times === null ? "" : `: the large run would see it ${times.toFixed(1)} times`;
      if (over(j)) said.push(`${domain.name} is above its cap of ${percent(domain.cap)}${seen}`);
      if (under(j)) said.push(`${domain.name} is below its floor of ${percent(domain.floor)}`);
      if (weights[j] > domain.most + 1e-6)
        said.push(`${domain.name} is above the highest weight that was trained, ${percent(domain.most)}`);
    });
    const away = distanceToTrained(study, weights);
    if (away > study.usual)
      said.push(
        `outside the sampled region: ${away.toFixed(2)} from the nearest trained mixture, where trained ones are ` +
          `within ${study.usual.toFixed(2)} of each other; the law extrapolates here`,
      );
    return said;
  }

  const over = (j) => study.domains[j].cap !== null && weights[j] > study.domains[j].cap + 2e-6;
  const under = (j) => study.domains[j].floor !== null && weights[j] < study.domains[j].floor - 2e-6;

  function epochs(j) {
    const { available_tokens: available, epochs_before: before } = study.domains[j];
    return study.target_tokens && available ? (before ?? 0) + (weights[j] * study.target_tokens) / available : null;
  }

  function show() {
    const now = lossesByLaw(study, weights);
    const gaps = now.map((value, i) => value - losses.natural[i]);
    const reach = Math.max(...gaps.map(Math.abs), 0.05);
    rows.forEach((row, i) => {
      row.querySelector(".now").textContent = loss(now[i]);
      row.querySelector(".gap").textContent = gap(gaps[i]);
      row.querySelector(".at-chosen").textContent = losses.chosen ? loss(losses.chosen[i]) : "–";
      row.querySelector(".at-natural").textContent = loss(losses.natural[i]);
      const bar = row.querySelector(".bars span");
      bar.className = gaps[i] < 0 ? "better" : "worse";
      bar.style.width = `${(50 * Math.abs(gaps[i])) / reach}%`;
      bar.style[gaps[i] < 0 ? "right" : "left"] = "50%";
      bar.style[gaps[i] < 0 ? "left" : "right"] = "auto";
    });
    const beside = losses.chosen ? `, ${gap(now[0] - losses.chosen[0])} against chosen` : "";
    headline.textContent = `${study.rows[0].label}: ${loss(now[0])} by the law, ${gap(gaps[0])} against natural${beside}`;
    sliders.forEach(({ row, range, number, note }, j) => {
      if (document.activeElement !== range || moving !== j) range.value = weights[j];
      number.value = (100 * weights[j]).toFixed(1);
      range.setAttribute("aria-valuetext", percent(weights[j]) + (over(j) ? ", above the cap" : ""));
      row.classList.toggle("broken", over(j) || under(j));
      const times = epochs(j);
      note.textContent = over(j) ? "% · over cap" : under(j) ? "% · under floor" : times === null ? "%" : `% · ${times.toFixed(1)} epochs`;
    });
    const said = warnings();
    cautions.hidden = !said.length;
    cautions.replaceChildren(...said.map((line) => Object.assign(document.createElement("li"), { textContent: line })));
    buttons.forEach((button) => {
      const same = named[button.dataset.mixture].every((weight, j) => Math.abs(weight - weights[j]) < 1e-9);
      button.setAttribute("aria-pressed", same);
    });
    const parts = millionths(weights);
    const key = (name) => (/^[A-Za-z_][\w-]*$/.test(name) ? name : JSON.stringify(name));
    text.value = study.domains.map((domain, j) => `${key(domain.name)}: ${(parts[j] / 1e6).toFixed(6)}`).join("\n");
  }

  async function copy() {
    try {
      await navigator.clipboard.writeText(text.value);
    } catch {
      text.select(); // a page opened from a file may not have the clipboard
      if (!document.execCommand("copy")) return "select the text and copy it";
    }
    return "copied";
  }

  const buttons = [...document.querySelectorAll(".presets button")];
  buttons.forEach((button) => button.addEventListener("click", () => take(button.dataset.mixture)));
  document.getElementById("copy").addEventListener("click", async () => {
    document.getElementById("copied").textContent = await copy();
  });
  show();
}

const study = JSON.parse(document.getElementById("study").textContent);
if (study) startExplorer(study);
