// What the form's words mean, and the link that carries them.
const costForm = (() => {
  "use strict";
  const PREFIX = "#scenario&", OWNED = "owned", OWN = "own";
  const { fields: FIELDS, largest_bound_told: LARGEST_BOUND_TOLD } = costConstants;
  const names = FIELDS.map((field) => field.name);

  // The entry of a list that a word numbers; undefined where it numbers none.
  const entry = (list, word) => /^\d+$/.test(word) ? list[Number(word)] : undefined;

  // What a number must be, told to who gave another one.
  function boundsOf(least, most) {
    const above = least > 0 && least < 1, told = most < LARGEST_BOUND_TOLD;
    const template = above ? (told ? "FAULT_ABOVE_ZERO_AT_MOST" : "FAULT_ABOVE_ZERO")
      : (told ? "FAULT_BETWEEN" : "FAULT_AT_LEAST");
    return costWords.fill(template, { least, most });
  }

  // The scenario a form's words describe, with a fault for each word that is none.
  function read(values, data) {
    const found = { demand: {}, limits: {}, rate: {}, owned: {}, api: [] }, faults = {};
    const owns = values.pay === OWNED, asksApi = values.api_input !== "" || values.api_output !== "";
    for (const { name, part, key, divisor, least, most, whole } of FIELDS) {
      const text = String(values[name]).trim(), value = Number(text);
      if ((part === "owned" && !owns) || (part === "rate" && owns) || (part === "api" && !asksApi)) { continue; }
      if (text === "" || !Number.isFinite(value) || value < least || value > most) {
        faults[name] = boundsOf(least, most);
      } else if (whole && !Number.isInteger(value)) {
        faults[name] = costText.FAULT_WHOLE_NUMBER;
      } else {
        found[part][key] = value / divisor;
      }
    }
    if (asksApi && !faults.api_input && !faults.api_output && found.api[0] + found.api[1] === 0) {
      faults.api_output = costText.FAULT_API_WITHOUT_PRICE;
    }
    const listed = entry(entry(data.classes, values.measured).rates, values.pay);
    if (owns) {
      found.rate = Object.keys(faults).length ? {} : costStudy.ownedRate(found.owned);
    } else if (!faults.price) {
      const paid = found.rate.usd_per_hour, same = listed && listed.usd_per_hour === paid;
      found.rate = { low: same ? listed.low : paid, usd_per_hour: paid, high: same ? listed.high : paid };
    }
    found.owned = owns ? found.owned : null;
    found.api = asksApi ? found.api : null;
    return { scenario: found, faults };
  }

  // The form's words for the scenario the page begins with.
  function initial(data) {
    const s = data.scenario, first = data.classes[0].rates[0];
    const trimmed = (value) => String(Number(value.toPrecision(12)));
    const values = { measured: "0", pay: first ? "0" : s.owned ? OWNED : OWN };
    for (const { name, part, key, divisor } of FIELDS) {
      const held = part === "rate" ? first : s[part];
      values[name] = held ? (divisor === 1 ? String(held[key]) : trimmed(held[key] * divisor)) : "";
    }
    return values;
  }

  function encode(values) {
    return PREFIX + ["measured", "pay"].concat(names).filter((name) => values[name] !== "")
      .map((name) => name + "=" + encodeURIComponent(values[name])).join("&");
  }

  // Words of a link over those of `usual`; null where the fragment is no scenario.
  function decode(fragment, usual, data) {
    if (!fragment.startsWith(PREFIX)) { return null; }
    const given = new Map(fragment.slice(PREFIX.length).split("&").map((pair) => {
      const [name, ...rest] = pair.split("=");
      try { return [name, decodeURIComponent(rest.join("="))]; } catch { return [name, ""]; }
    }));
    const values = { ...usual };
    for (const name of names) { values[name] = given.has(name) ? given.get(name).slice(0, 30) : ""; }
    if (entry(data.classes, given.get("measured"))) { values.measured = given.get("measured"); }
    const pay = given.get("pay"), listed = entry(entry(data.classes, values.measured).rates, pay);
    values.pay = listed || pay === OWNED || pay === OWN ? pay : OWN;
    return values;
  }

  return { OWN, OWNED, controls: ["measured", "pay"].concat(names), decode, encode, entry, initial, names, read };
})();
