// Numbers as people read them: the same words as the tables beside it.
const costWords = (() => {
  "use strict";
  const UNKNOWN = "–", SPACE = "\u202f";
  const STEPS = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""]];

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
    const step = STEPS.find(([size]) => Math.abs(value) >= size * (1 - 0.5 * 10 ** -digits));
    return step ? significant(value / step[0], digits) + step[1] : significant(value, digits);
  }

  function stepped(value, steps, smallest, digits) {
    const step = steps.find(([size]) => Math.abs(value) >= size * (1 - 0.5 * 10 ** -digits)) || smallest;
    return significant(value / step[0], digits) + " " + step[1];
  }

  function seconds(value) {
    if (!known(value)) { return UNKNOWN; }
    if (Math.abs(value) >= 120) { return Math.floor(value / 60) + " min " + Math.round(value % 60) + " s"; }
    return stepped(value, [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]], [1e-9, "ns"], 3);
  }

  function binaryBytes(value) {
    if (!known(value)) { return UNKNOWN; }
    return stepped(value, [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]], [1, "B"], 3);
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

  // Dollars as the page's currency shows them; a number alone where `bare`.
  function money(currency, value, bare = false) {
    if (!known(value)) { return UNKNOWN; }
    const text = usd(value * currency.units_per_usd);
    return text.replace("$", bare ? "" : currency.code === "USD" ? "$" : currency.code + " ");
  }

  const plural = (count, noun) => count === 1 ? count + " " + noun : count + " " + noun + "s";
  const brackets = (low, high, word) => low === high ? "" : " [" + word(low) + ", " + word(high) + "]";

  return { UNKNOWN, binaryBytes, brackets, money, percent, plural, ratio, seconds, si, significant, tokens };
})();
