// Numbers as people read them, and templates filled: the same texts as the tables beside it.
// costText and costConstants come from Python (render/serving/script.py); no sentence and no constant stands here twice.
const costWords = (() => {
  "use strict";
  const c = costConstants, UNKNOWN = c.unknown, SPACE = c.thin_space;

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

  function significant(value, digits = c.digits) {
    if (!known(value)) { return UNKNOWN; }
    if (value === 0) { return "0"; }
    const place = digits - 1 - Math.floor(Math.log10(Math.abs(value)));
    const rounded = place >= 0 ? Number(value.toPrecision(digits)) : Math.round(value * 10 ** place) / 10 ** place;
    return thousands(rounded.toFixed(Math.min(Math.max(0, place), c.most_decimals))).replace("-", "−");
  }

  // The largest step in which the value rounds to 1 or more.
  const stepOf = (value, steps) => steps.find(([size]) => Math.abs(value) >= size * (1 - 0.5 * 10 ** -c.digits));

  function si(value) {
    if (!known(value)) { return UNKNOWN; }
    const step = stepOf(value, c.si_steps);
    return step ? significant(value / step[0]) + step[1] : significant(value);
  }

  function stepped(value, steps) {
    const step = stepOf(value, steps) || steps[steps.length - 1];
    return significant(value / step[0]) + " " + step[1];
  }

  function seconds(value) {
    if (!known(value)) { return UNKNOWN; }
    if (Math.abs(value) >= c.minutes_from_seconds) { return Math.floor(value / 60) + " min " + Math.round(value % 60) + " s"; }
    return stepped(value, c.second_steps);
  }

  function binaryBytes(value) {
    if (!known(value)) { return UNKNOWN; }
    return stepped(value, c.byte_steps);
  }

  const whole = (value) => thousands(String(value));
  const tokens = (value) =>
    value >= c.tokens_of_k && value % c.tokens_of_k === 0 ? value / c.tokens_of_k + "k" : whole(value);
  const ratio = (value) => known(value) ? significant(value) + "×" : UNKNOWN;
  const percent = (value) => known(value) ? significant(value * 100, c.percent_digits) + SPACE + "%" : UNKNOWN;

  function usd(value) {
    if (!known(value)) { return UNKNOWN; }
    const size = Math.abs(value), sign = value < 0 ? "−" : "";
    if (size >= c.cents_from_usd && size < c.cents_below_usd) { return sign + "$" + size.toFixed(2); }
    return sign + "$" + (size >= c.cents_below_usd ? thousands(size.toFixed(0)) : significant(size));
  }

  const inCode = (currency, text) =>
    currency.code === c.default_currency ? text : text.replace("$", currency.code + " ");

  // Dollars as the page's currency shows them; a number alone where `bare`.
  function money(currency, value, bare = false) {
    if (!known(value)) { return UNKNOWN; }
    const text = usd(value * currency.units_per_usd);
    return bare ? text.replace("$", "") : inCode(currency, text);
  }

  // An hourly rate with its own digits, so that rate x hours on paper gives the bill on paper.
  function hourlyRate(currency, value) {
    const [whole, decimals] = (value * currency.units_per_usd).toFixed(c.rate_decimals).split(".");
    const digits = decimals.replace(/0+$/, "").padEnd(2, "0");
    return inCode(currency, "$" + thousands(whole) + "." + digits);
  }

  const brackets = (low, high, word) => low === high ? "" : " [" + word(low) + ", " + word(high) + "]";

  return {
    UNKNOWN, binaryBytes, brackets, fill, hourlyRate, money, percent, ratio, seconds, si, significant, tokens, whole,
  };
})();
