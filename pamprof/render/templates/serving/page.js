// The page: the form, and the answer in words and tables.
const costPage = (() => {
  "use strict";
  const w = costWords, f = costForm;

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) { made.textContent = text; }
    if (className) { made.className = className; }
    return made;
  }

  const money = (data, interval) => w.money(data.currency, interval[1]) +
    w.brackets(interval[0], interval[2], (value) => w.money(data.currency, value, true));

  function basisWords(point) {
    return point.error === null ? point.basis : w.fill("BASIS_WITH_ERROR", {
      basis: point.basis, error: w.percent(point.error),
    });
  }

  function armCells(arm, data) {
    if (arm.point.refused) {
      const why = arm.point.limit === null ? costText.REFUSED_UNKNOWN
        : w.fill("REFUSED_INFEASIBLE", { limit: arm.point.limit });
      return [arm.curve.title, w.UNKNOWN, why].concat(new Array(costConstants.arm_column_count - 3).fill(w.UNKNOWN));
    }
    const { point, bill } = arm, cash = (value) => w.money(data.currency, value);
    const ends = [bill.fast.replica_count, bill.slow.replica_count].sort((a, b) => a - b);
    return [
      arm.curve.title, w.whole(point.batch_size), point.bound, w.seconds(point.seconds_per_output_token[1]),
      ...(point.seconds_to_first_token === null ? [w.UNKNOWN, w.UNKNOWN]
        : [w.seconds(point.seconds_to_first_token[1]), w.seconds(point.prefill_seconds[1])]),
      cash(bill.served.usage[0]), cash(bill.served.usage[1]), money(data, costStudy.interval(bill, (s) => s.usage[2])),
      cash(bill.served.allocation[2]), w.whole(bill.served.replica_count) + w.brackets(ends[0], ends[1], w.whole),
      w.percent(bill.served.busy_ratio), money(data, costStudy.interval(bill, (s) => s.usd_per_month)),
      basisWords(point),
    ];
  }

  function crossingText(at) {
    if (at.first === null) { return costText.NO_SHARED_LENGTH; }
    const range = w.fill("DIRECTION_AND_RANGE", {
      direction: at.direction, first: w.tokens(at.first), last: w.tokens(at.last),
    });
    const sentence = at.tokens === null ? range : w.fill("CROSSOVER_LENGTH", {
      length: w.significant(at.tokens[1]), interval: w.brackets(at.tokens[0], at.tokens[2], w.significant), range,
    });
    return w.fill("WITH_BASIS", { sentence, basis: at.basis });
  }

  function breakEvenText(arm) {
    const even = arm.break_even, named = { arm: arm.curve.title, basis: arm.point.basis };
    if (even === null) { return w.fill("API_NEVER", named); }
    const { first_tokens_per_day: first, lasting_tokens_per_day: lasting } = even;
    return w.fill(first === lasting ? "API_FROM" : "API_FROM_LASTING", {
      ...named, first: w.si(first), lasting: w.si(lasting),
    });
  }

  // Term and sentence of what is not in the table of arms.
  function facts(answer, scenario, provenance, data) {
    const cash = (value) => w.money(data.currency, value);
    const amount = w.hourlyRate(data.currency, scenario.rate.usd_per_hour);
    const rows = [[costText.FACT_RATE, w.fill("FACT_RATE_DETAIL", { amount, provenance })]];
    for (const arm of answer.arms.filter((one) => one.point.refused)) {
      rows.push([arm.curve.title, arm.point.sentence]);
    }
    const priced = answer.arms.filter((arm) => arm.bill !== null);
    if (scenario.rate.low !== scenario.rate.high && priced.length) {
      const span = costStudy.interval(priced[0].bill, (s) => s.usd_per_month, "cheapest", "most_expensive");
      rows.push([costText.FACT_MARKET, w.fill("FACT_MARKET_DETAIL", {
        arm: priced[0].curve.title, low: cash(span[0]), high: cash(span[2]), basis: priced[0].point.basis,
      })]);
    }
    if (answer.decision && answer.decision.equal_bills_tokens_per_day !== null) {
      const { subject, rival, basis } = answer.decision, demand = w.si(answer.decision.equal_bills_tokens_per_day);
      rows.push([costText.FACT_EQUAL_BILLS, w.fill("FACT_EQUAL_BILLS_DETAIL", { subject, rival, demand, basis })]);
    }
    const served = answer.arms.filter((arm) => !arm.point.refused);
    if (served.length) {
      rows.push([costText.FACT_CARRIED, served.map((arm) => w.fill("CARRIED", {
        demand: w.si(arm.carries), arm: arm.curve.title, basis: arm.point.basis,
      })).join("; ")]);
    }
    if (answer.crossings) {
      const { subject, rival } = answer.decision, told = (at) =>
        w.fill("FACT_CROSSOVER_DETAIL", { subject, rival, crossover: crossingText(at) });
      rows.push([costText.FACT_CROSSOVER_REQUEST, told(answer.crossings.request)]);
      rows.push([costText.FACT_CROSSOVER_DECODE, told(answer.crossings.decode)]);
      rows.push([costText.FACT_CROSSOVER_CAPACITY, told(answer.crossings.capacity)]);
    }
    if (scenario.api !== null && priced.length) {
      rows.push([costText.FACT_API, priced.map(breakEvenText).join("; ")]);
    }
    return rows;
  }

  // A row looks like the basis that its last cell begins with, as in the tables made before.
  function fillTable(body, rows, { left = [], modelled = [] } = {}) {
    const { INTERPOLATED, MODELLED } = costConstants.basis, headings = body.parentElement.tHead.rows[0].cells;
    body.replaceChildren(...rows.map((cells) => {
      const basis = cells[cells.length - 1].split(" ")[0];
      const row = element("tr", undefined, [INTERPOLATED, MODELLED].includes(basis) ? basis : "");
      row.append(...cells.map((text, column) => {
        const [shown, detail] = text.split(/ (?=\[)/);
        const looks = (left.includes(column) ? ["left"] : []).concat(modelled.includes(column) ? [MODELLED] : []);
        const cell = element(column ? "td" : "th", shown, looks.join(" "));
        if (detail) { cell.append(" ", element("span", detail, "detail")); }
        if (column) { cell.dataset.label = headings[column].textContent; } else { cell.scope = "row"; }
        return cell;
      }));
      return row;
    }));
  }

  function start(data) {
    const form = document.getElementById("cost-form"), at = (name) => document.getElementById("cost-" + name);
    const initial = f.initial(data);
    const values = () => Object.fromEntries(f.controls.map((name) => [name, at("in-" + name).value]));
    const ratesOf = (measured) => f.entry(data.classes, measured).rates;

    function offerRates() {
      const chosen = at("in-pay").value, rates = ratesOf(at("in-measured").value);
      at("in-pay").replaceChildren(...rates.map((rate, number) => new Option(rate.label, String(number))),
        new Option(costText.RATE_OF_YOUR_OWN, f.OWN), new Option(costText.HARDWARE_OF_YOUR_OWN, f.OWNED));
      const kept = f.entry(rates, chosen) || chosen === f.OWN || chosen === f.OWNED;
      at("in-pay").value = kept ? chosen : rates.length ? "0" : f.OWN;
    }

    function show(words) {
      at("in-measured").value = words.measured;
      offerRates();
      for (const name of f.controls) { at("in-" + name).value = words[name]; }
    }

    function tell(answer, scenario, words) {
      const listed = f.entry(ratesOf(words.measured), words.pay);
      const provenance = words.pay === f.OWNED ? costText.PROVENANCE_OWNED
        : listed && listed.usd_per_hour === scenario.rate.usd_per_hour ? listed.provenance : costText.PROVENANCE_GIVEN;
      at("sentence").textContent = answer.decision ? answer.decision.sentence
        : costText.NOTHING_TO_DECIDE[0].toUpperCase() + costText.NOTHING_TO_DECIDE.slice(1);
      fillTable(at("arms").tBodies[0], answer.arms.map((arm) => armCells(arm, data)), {
        left: costConstants.left_arm_columns,
        modelled: costConstants.modelled_arm_columns,
      });
      at("facts").replaceChildren(...facts(answer, scenario, provenance, data).flatMap(
        ([term, sentence]) => [element("dt", term), element("dd", sentence)]));
      const cash = (value) => w.money(data.currency, value);
      fillTable(at("moves").tBodies[0], answer.sensitivities.map((row) => [
        row.name, cash(row.lower.usd_per_month), cash(row.higher.usd_per_month), cash(row.lower.usage),
        cash(row.higher.usage), row.basis === null ? w.UNKNOWN : row.basis,
      ]), { left: [0, 5] });
      at("moves-of").textContent = answer.sensitivities.length
        ? w.fill("SENSITIVITY_OF", { arm: answer.arms[0].curve.title }) : costText.NO_ARM_SERVES;
    }

    function update() {
      const words = values(), { scenario, faults } = f.read(words, data);
      at("owned").hidden = words.pay !== f.OWNED;
      at("in-price").disabled = words.pay === f.OWNED;
      for (const name of f.names) {
        at("in-" + name).setAttribute("aria-invalid", String(name in faults));
        at("fault-" + name).textContent = faults[name] || "";
      }
      const faulty = Object.keys(faults).length > 0;
      at("answer").hidden = faulty;
      if (faulty) {
        at("sentence").textContent = faults.price && words.price === "" && Object.keys(faults).length === 1
          ? costText.NO_ANSWER_WITHOUT_RATE : costText.NO_ANSWER;
        return;
      }
      tell(costStudy.answer(f.entry(data.classes, words.measured).arms, scenario, data.currency), scenario, words);
      at("link").href = f.encode(words);
    }

    function changed() {
      update();
      history.replaceState(null, "", f.encode(values()));
    }

    // A scenario's link names no place of the page; what it is about does not stand at the top of every page.
    const turnTo = () => at("live-section").scrollIntoView();

    let waiting = 0;
    form.addEventListener("input", (event) => {
      if (event.target === at("in-measured")) { offerRates(); }
      const listed = f.entry(ratesOf(at("in-measured").value), at("in-pay").value);
      if (event.target.tagName === "SELECT" && listed) { at("in-price").value = String(listed.usd_per_hour); }
      if (event.target === at("in-price") && listed) { at("in-pay").value = f.OWN; }
      clearTimeout(waiting);
      waiting = setTimeout(changed, 120);
    });
    form.addEventListener("submit", (event) => { event.preventDefault(); changed(); });
    form.addEventListener("reset", (event) => {
      event.preventDefault();
      show(initial);
      update();
      history.replaceState(null, "", location.pathname + location.search);
    });
    window.addEventListener("hashchange", () => {
      const given = f.decode(location.hash, initial, data);
      if (given) { show(given); update(); turnTo(); }
    });
    at("in-measured").replaceChildren(...data.classes.map((found, number) => new Option(found.name, String(number))));
    for (const { name, least, most, whole } of costConstants.fields) {
      Object.assign(at("in-" + name), { min: least, max: most, step: whole ? 1 : "any" });
    }
    const sent = f.decode(location.hash, initial, data);
    show(sent || initial);
    document.getElementById("cost-live").hidden = false;
    document.getElementById("cost-still").hidden = true;
    update();
    if (sent) { turnTo(); }
  }

  return { start };
})();
