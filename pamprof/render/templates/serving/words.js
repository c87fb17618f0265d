// Numbers as people read them, and templates filled: the same texts as the tables beside it.
// costText and costConstants come from Python (render/serving/script.py); no sentence and no constant stands here twice.
const costWords = (() => {
  "use strict";
  const UNKNOWN = costConstants.unknown, SPACE = "\u202f";

  // The template of that name with its {places} filled; a place without a value is a fault of the caller.
  function fill(name, values = {}) {
    return costText[name].replace(/\{(\w+)\}/g, (_, place) => {
      if (!(place in values)) { throw new Error(name + ": " + place); }
      return String(values[place]);
    });
  }

  const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

  function thousands(text) {
    const parts = text.split(".");
    return parts[0].replace(/\B(?=(\d{3})+(?!\d))/g, SPACE) + (parts.length > 1 ? "." + parts[1] : "");
  }

  function significant(value, digits = 3) {
    if (!known(value)) { return UNKNOWN; }
    if (value === 0) { return "0"; }
    const place = digits - 1 - Math.floor(Math.log10(Math.abs(value)));
    const rounded = place >= 0 ? Number(value.toPrecision(digits)) : Math.round(value * 10 ** place) / 10 ** place;
    return thousands(rounded.toFixed(Math.min(Math.max(0, place), 12))).replace("-", "−");
  }

  function si(value, digits = 3) {
    if (!known(value)) { return UNKNOWN; }
    const step = costConstants.si_steps.find(([size]) => Math.abs(value) >= size * (1 - 0.5 * 10 ** -digits));
    return step ? significant(value / step[0], digits) + step[1] : significant(value, digits);
  }

  function stepped(value, steps, smallest, digits) {
    const step = steps.find(([size]) => Math.abs(value) >= size * (1 - 0.5 * 10 ** -digits)) || smallest;
    return significant(value / step[0], digits) + " " + step[1];
  }

  function seconds(value) {
    if (!known(value)) { return UNKNOWN; }
    if (Math.abs(value) >= 120) { return Math.floor(value / 60) + " min " + Math.round(value % 60) + " s"; }
    return stepped(value, costConstants.second_steps, [1e-9, "ns"], 3);
  }

  function binaryBytes(value) {
    if (!known(value)) { return UNKNOWN; }
    return stepped(value, costConstants.byte_steps, [1, "B"], 3);
  }

  const tokens = (value) => value >= 1024 && value % 1024 === 0 ? value / 1024 + "k" : thousands(String(value));
  const ratio = (value) => known(value) ? significant(value) + "×" : UNKNOWN;
  const percent = (value) => known(value) ? significant(value * 100, 2) + SPACE + "%" : UNKNOWN;

  function usd(value) {
    if (!known(value)) { return UNKNOWN; }
    const size = Math.abs(value), sign = value < 0 ? "−" : "";
    if (size >= 1 && size < 1000) { return sign + "$" + size.toFixed(2); }
    return sign + "$" + (size >= 1000 ? thousands(size.toFixed(0)) : significant(size));
  }

  const inCode = (currency, text) =>
    currency.code === costConstants.default_currency ? text : text.replace("$", currency.code + " ");

  // Dollars as the page's currency shows them; a number alone where `bare`.
  function money(currency, value, bare = false) {
    if (!known(value)) { return UNKNOWN; }
    const text = usd(value * currency.units_per_usd);
    return bare ? text.replace("$", "") : inCode(currency, text);
  }

  // An hourly rate with its own digits, so that rate x hours on paper gives the bill on paper.
  function hourlyRate(currency, value) {
    const [whole, decimals] = (value * currency.units_per_usd).toFixed(costConstants.rate_decimals).split(".");
    const digits = decimals.replace(/0+$/, "").padEnd(2, "0");
    return inCode(currency, "$" + thousands(whole) + "." + digits);
  }

  const brackets = (low, high, word) => low === high ? "" : " [" + word(low) + ", " + word(high) + "]";

  return {
    UNKNOWN, binaryBytes, brackets, fill, hourlyRate, money, percent, ratio, seconds, si, significant, tokens,
  };
})();
