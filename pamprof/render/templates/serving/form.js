// What the form's words mean, and the link that carries them.
const costForm = (() => {
  "use strict";
  const PREFIX = "#scenario&", OWNED = "owned", OWN = "own";
  // Name in the link; place in the scenario; what one unit of the form is in it; least and most; whole numbers only.
  const FIELDS = [
    ["tokens_per_day", "demand", "tokens_per_day", 1, 1, 1e18, false],
    ["input_tokens", "demand", "input_tokens", 1, 0, 1e8, true],
    ["output_tokens", "demand", "output_tokens", 1, 1, 1e8, true],
    ["peak", "demand", "peak_factor", 1, 1, 1e6, false],
    ["duty", "demand", "duty", 0.01, 1e-6, 100, false],
    ["minimum_replicas", "demand", "minimum_replicas", 1, 1, 1e6, true],
    ["milliseconds_per_output_token", "limits", "seconds_per_output_token", 0.001, 1e-6, 1e9, false],
    ["seconds_to_first_token", "limits", "seconds_to_first_token", 1, 1e-9, 1e9, false],
    ["price", "rate", "usd_per_hour", 1, 1e-9, 1e9, false],
    ["capex", "owned", "capital_usd", 1, 1e-9, 1e12, false],
    ["life", "owned", "life_years", 1, 1e-6, 1e3, false],
    ["electricity", "owned", "usd_per_kilowatt_hour", 1, 0, 1e6, false],
    ["pue", "owned", "power_usage_effectiveness", 1, 1, 100, false],
    ["watts", "owned", "watts", 1, 0, 1e9, false],
    ["api_input", "api", 0, 1, 0, 1e9, false],
    ["api_output", "api", 1, 1, 0, 1e9, false],
  ];
  const names = FIELDS.map((field) => field[0]);

  // The entry of a list that a word numbers; undefined where it numbers none.
  const entry = (list, word) => /^\d+$/.test(word) ? list[Number(word)] : undefined;

  // The scenario a form's words describe, with a fault for each word that is none.
  function read(values, data) {
    const found = { demand: {}, limits: {}, rate: {}, owned: {}, api: [] }, faults = {};
    const owns = values.pay === OWNED, asksApi = values.api_input !== "" || values.api_output !== "";
    for (const [name, part, key, unit, least, most, whole] of FIELDS) {
      const text = String(values[name]).trim(), value = Number(text);
      if ((part === "owned" && !owns) || (part === "rate" && owns) || (part === "api" && !asksApi)) { continue; }
      if (text === "" || !Number.isFinite(value) || value < least || value > most) {
        faults[name] = "Give a number " + (least > 0 && least < 1 ? "above 0" : "of " + least + " or more") +
          (most < 1e6 ? ", at most " + most : "") + ".";
      } else if (whole && !Number.isInteger(value)) {
        faults[name] = "Give a whole number.";
      } else {
        found[part][key] = name === "duty" ? value / 100 : name === "milliseconds_per_output_token" ? value / 1000 : value;
      }
    }
    if (asksApi && !faults.api_input && !faults.api_output && found.api[0] + found.api[1] === 0) {
      faults.api_output = "An API at 0 and 0 has no price.";
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
    for (const [name, part, key, unit] of FIELDS) {
      const held = part === "rate" ? first : s[part];
      values[name] = held ? (unit === 1 ? String(held[key]) : trimmed(held[key] / unit)) : "";
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
