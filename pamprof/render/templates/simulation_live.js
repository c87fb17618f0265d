// Another rate and other limits: read off the rates that were simulated, as analysis/simulation/rate_grid.py does.
const loadPage = (() => {
  "use strict";
  const w = costWords, at = (name) => document.getElementById("load-" + name);
  const NAMES = ["rate", "first", "each"], MILLISECONDS = 1000, SAME_WITHIN = 1e-5;

  function between(places, values, place) {
    let above = places.findIndex((each) => each >= place);
    if (above === 0) { return values[0]; }
    if (above < 0) { return values[values.length - 1]; }
    const low = places[above - 1], high = places[above];
    if (high === low) { return values[above]; }
    const fraction = Math.log(place / low) / Math.log(high / low);
    return Math.exp((1 - fraction) * Math.log(values[above - 1]) + fraction * Math.log(values[above]));
  }

  function crossing(arm, line, limit) {
    if (line.values[0] > limit) { return [0, 0]; }
    for (let i = 1; i < arm.rates.length; i += 1) {
      if (line.values[i] > limit) {
        const rates = arm.rates.slice(i - 1, i + 1), values = line.values.slice(i - 1, i + 1);
        const rate = between(values, rates, limit), apart = Math.log(rates[1] / rates[0]);
        const steepness = values[1] > values[0] ? Math.log(values[1] / values[0]) / apart : 0;
        return [rate, Math.min(steepness > 0 ? errorAt(arm, line, rate) / steepness : Infinity, apart)];
      }
    }
    return [Infinity, 0];
  }

  // At the page's own limits the rate that was found is known, and not read between others.
  const isOwn = (asked, begins) =>
    asked.first === begins.first && Math.abs(asked.each * MILLISECONDS / begins.each - 1) < 1e-9;

  function highestWithin(arm, asked, { bounds, begins }) {
    if (isOwn(asked, begins)) { return [arm.highest, arm.bound, 0]; }
    const first = crossing(arm, arm.first, asked.first);
    const each = arm.each === null ? [Infinity, 0] : crossing(arm, arm.each, asked.each);
    const [rate, error] = first[0] <= each[0] ? first : each, bound = first[0] <= each[0] ? bounds.first : bounds.each;
    return rate === Infinity ? [arm.rates[arm.rates.length - 1], bounds.throughput, 0] : [rate, bound, error];
  }

  function errorAt(arm, line, rate) {
    if (arm.rates.some((each) => Math.abs(each / rate - 1) <= SAME_WITHIN)) { return 0; }
    const found = arm.rates.findIndex((each) => each >= rate);
    const above = found < 0 ? arm.rates.length - 1 : found;
    return Math.max(line.errors[Math.max(0, above - 1)], line.errors[above]);
  }

  // What one arm answers; rates a second, seconds, and dollars for 730 hours.
  function answer(arm, asked, data) {
    const [highest, bound, highestError] = highestWithin(arm, asked, data);
    if (!highest) { return { title: arm.title, highest: null, bound }; }
    const fewest = Math.max(data.minimum_replicas, Math.ceil(asked.rate / highest - 1e-9));
    const replicas = data.replicas === null ? fewest : data.replicas;
    const share = asked.rate / replicas, lines = [arm.first, arm.each].filter((line) => line !== null);
    return {
      title: arm.title, highest, highest_error: highestError, bound, replicas, share,
      usd_per_month: arm.usd_per_hour === null ? null : replicas * arm.usd_per_hour * costConstants.hours_per_month,
      first: between(arm.rates, arm.first.values, share),
      each: arm.each === null ? null : between(arm.rates, arm.each.values, share),
      error: Math.max(...lines.map((line) => errorAt(arm, line, share))),
    };
  }

  function cells(found, data) {
    if (found.highest === null) {
      return [found.title, costText.LOAD_NEVER, found.bound].concat(new Array(5).fill(w.UNKNOWN));
    }
    return [
      found.title, w.significant(found.highest) + "/s" + (found.highest_error ? " ±" + w.percent(found.highest_error) : ""), found.bound, w.whole(found.replicas),
      w.money(data.currency, found.usd_per_month), w.seconds(found.first), w.seconds(found.each),
      w.fill("LOAD_ERROR", { error: w.percent(found.error) }),
    ];
  }

  function asked() {
    const found = {};
    for (const name of NAMES) {
      const input = at("in-" + name), value = Number(input.value), fault = !(value > 0 && value <= 1e9);
      input.setAttribute("aria-invalid", String(fault));
      at("fault-" + name).textContent = fault ? costText.LOAD_FAULT : "";
      found[name] = fault ? null : value;
    }
    found.each = found.each === null ? null : found.each / MILLISECONDS;
    return NAMES.some((name) => found[name] === null) ? null : found;
  }

  function show(data) {
    const numbers = asked(), body = at("arms").tBodies[0], headings = at("arms").tHead.rows[0].cells;
    at("answer").hidden = numbers === null;
    if (numbers === null) { return; }
    body.replaceChildren(...data.arms.map((arm) => {
      const row = document.createElement("tr");
      cells(answer(arm, numbers, data), data).forEach((text, column) => {
        const cell = document.createElement(column === 0 ? "th" : "td");
        if (column === 0) { cell.scope = "row"; }
        if (column === 2) { cell.className = "left"; }
        if (column > 0) { cell.dataset.label = headings[column].textContent; }
        cell.textContent = text;
        row.append(cell);
      });
      return row;
    }));
  }

  function begin(data) {
    for (const name of NAMES) { at("in-" + name).value = String(data.begins[name]); }
    show(data);
  }

  function start(data) {
    at("live").hidden = false;
    at("still").hidden = true;
    at("form").addEventListener("input", () => show(data));
    at("form").addEventListener("submit", (event) => { event.preventDefault(); show(data); });
    at("form").addEventListener("reset", (event) => { event.preventDefault(); begin(data); });
    begin(data);
  }

  return { answer, start };
})();
