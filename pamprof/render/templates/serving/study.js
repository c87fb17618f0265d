// A demand met: replicas, bills, dollars per million tokens, break-even, sensitivities and the decision.
const costStudy = (() => {
  "use strict";
  const w = costWords, p = costPoints;
  const HOURS_PER_MONTH = 730, SECONDS_PER_DAY = 86400, CHANGE = 0.2, MILLION = 1e6;

  const tokensOf = (demand) => demand.input_tokens + demand.output_tokens;

  function served(prefill, decode, rate, demand) {
    const seconds = prefill + decode, perSecond = rate / 3600, request = tokensOf(demand);
    const peak = demand.tokens_per_day / SECONDS_PER_DAY * demand.peak_factor;
    const count = Math.max(demand.minimum_replicas, Math.ceil(peak / (request / seconds * demand.duty)));
    const busy = demand.tokens_per_day / request * seconds / (count * SECONDS_PER_DAY);
    const usage = [
      demand.input_tokens ? prefill * perSecond / demand.input_tokens * MILLION : null,
      decode * perSecond / demand.output_tokens * MILLION,
      seconds * perSecond / request * MILLION,
    ];
    return {
      replica_count: count, busy_ratio: busy, usd_per_month: count * rate * HOURS_PER_MONTH, usage,
      allocation: usage.map((dollars) => dollars === null ? null : dollars * (1 / busy)),
    };
  }

  function billAt(point, demand, rate) {
    const prefill = point.prefill_seconds, decode = point.decode_seconds;
    return {
      served: served(prefill[1], decode[1], rate.usd_per_hour, demand),
      fast: served(prefill[0], decode[0], rate.usd_per_hour, demand),
      slow: served(prefill[2], decode[2], rate.usd_per_hour, demand),
      cheapest: served(prefill[0], decode[0], rate.low, demand),
      dearest: served(prefill[2], decode[2], rate.high, demand),
    };
  }

  // Ends in order: whole replicas make the cost of rented time jump, so that the fast end may cost more.
  const interval = (bill, of, low = "fast", high = "slow") => {
    const ends = [of(bill[low]), of(bill.served), of(bill[high])];
    return [Math.min(...ends), ends[1], Math.max(ends[0], ends[2], ends[1])];
  };

  const carriedPerDay = (seconds, demand) =>
    tokensOf(demand) * demand.duty * SECONDS_PER_DAY / (seconds * demand.peak_factor);

  function ownedRate(owned) {
    const power = owned.watts / 1000 * owned.power_usage_effectiveness * owned.usd_per_kilowatt_hour;
    const hourly = owned.capital_usd / (owned.life_years * 12 * HOURS_PER_MONTH) + power;
    return { low: hourly, usd_per_hour: hourly, high: hourly };
  }

  function breakEven(point, rate, api, demand) {
    if (point.refused || api === null) { return null; }
    const request = demand.input_tokens * api[0] + demand.output_tokens * api[1];
    const perToken = request / MILLION / tokensOf(demand);
    if (perToken <= 0) { return null; }
    const pays = rate.usd_per_hour * 24 / perToken, carries = carriedPerDay(point.device_seconds[1], demand);
    if (pays >= carries) { return null; }
    const last = Math.max(demand.minimum_replicas, Math.ceil(carries / (carries - pays)) - 1);
    return { first_tokens_per_day: demand.minimum_replicas * pays, lasting_tokens_per_day: last * pays };
  }

  function outcomeOf(ratio) {
    if (ratio[3] <= 0) { return "unknown"; }
    return ratio[2] < 1 ? "cheaper" : ratio[0] > 1 ? "dearer" : "equal";
  }

  function crossingWords(ours, theirs, at) {
    if (at.first === null) { return ours + " against " + theirs + ": no context length was measured for both"; }
    const within = "between " + w.tokens(at.first) + " and " + w.tokens(at.last) + " tokens";
    if (at.direction === "cheaper above" && at.tokens !== null) {
      return ours + " is cheaper than " + theirs + " above about " + w.significant(at.tokens[1]) +
        " tokens of prompt" + w.brackets(at.tokens[0], at.tokens[2], w.significant) + " (" + at.basis + ")";
    }
    if (at.direction !== "unknown") {
      return ours + " is " + at.direction.replace("always ", "") + " than " + theirs + " at every prompt " + within;
    }
    return ours + " and " + theirs + " cannot be told apart at some prompt " + within +
      ", so no crossover is resolved";
  }

  function costWordsOf(demand, ratio, outcome, basis) {
    const verdict = { equal: "no difference", unknown: "unknown, a single sample has no interval" }[outcome] || outcome;
    return "at " + w.tokens(demand.input_tokens) + " input and " + w.tokens(demand.output_tokens) +
      " output tokens a token costs " + w.ratio(ratio[1]) + w.brackets(ratio[0], ratio[2], w.significant) +
      " as much: " + verdict + " (" + basis + ")";
  }

  function billWords(ours, saved, usd, demand, currency) {
    const at = "at " + w.si(demand.tokens_per_day) + " tokens a day";
    if (saved === 0) {
      return at + " both need " + w.plural(ours.served.replica_count, "replica") + ", so the bills are equal, " +
        w.money(currency, ours.served.usd_per_month) + " a month";
    }
    return at + " it " + (saved > 0 ? "saves" : "needs another") + " " + w.plural(Math.abs(saved), "replica") + " = " +
      w.money(currency, Math.abs(usd)) + (saved > 0 ? " a month" : " a month more");
  }

  function decide(subject, rival, request, demand, currency) {
    const ours = subject.point, theirs = rival.point;
    const named = { subject: subject.curve.title, rival: rival.curve.title };
    if (ours.refused || theirs.refused) {
      const said = [subject, rival].map((arm) => arm.curve.title + (arm.point.refused
        ? " is " + arm.point.sentence : " serves this demand within the limits"));
      const lost = [ours, theirs].some((point) => point.refused && point.limit === null);
      return {
        ...named, outcome: lost ? "unknown" : "infeasible", ratio: null, saved_replicas: null,
        saved_usd_per_month: null, equal_bills_tokens_per_day: null, basis: lost ? "model" : "measured",
        sentence: said.join("; ") + ".",
      };
    }
    const ratio = p.quotient(ours.device_seconds, theirs.device_seconds), outcome = outcomeOf(ratio);
    const saved = rival.bill.served.replica_count - subject.bill.served.replica_count;
    const usd = rival.bill.served.usd_per_month - subject.bill.served.usd_per_month;
    const basis = p.either(ours.basis, theirs.basis);
    return {
      ...named, outcome, ratio, saved_replicas: saved, saved_usd_per_month: usd,
      equal_bills_tokens_per_day: demand.minimum_replicas * Math.min(subject.carries, rival.carries), basis,
      sentence: [
        crossingWords(named.subject, named.rival, request), costWordsOf(demand, ratio, outcome, basis),
        billWords(subject.bill, saved, usd, demand, currency),
      ].join("; ") + ".",
    };
  }

  function armOf(curve, scenario) {
    const { demand, limits, rate } = scenario;
    const point = p.operatingPoint(curve, demand, limits, { speed: scenario.speed || 1 });
    return {
      curve, point, bill: point.refused ? null : billAt(point, demand, rate),
      carries: point.refused ? null : carriedPerDay(point.device_seconds[1], demand),
      break_even: breakEven(point, rate, scenario.api, demand),
    };
  }

  // Every input a fifth lower and a fifth higher, all else equal.
  function changes(scenario) {
    const demand = (part) => ({ ...scenario, demand: { ...scenario.demand, ...part } });
    const limits = (part) => ({ ...scenario, limits: { ...scenario.limits, ...part } });
    const d = scenario.demand, l = scenario.limits, owned = scenario.owned;
    const found = {
      "price": (f) => ({ ...scenario, rate: { ...scenario.rate, usd_per_hour: scenario.rate.usd_per_hour * f } }),
      "throughput": (f) => ({ ...scenario, speed: f }),
      "tokens per day": (f) => demand({ tokens_per_day: d.tokens_per_day * f }),
      "peak over mean": (f) => demand({ peak_factor: Math.max(1, d.peak_factor * f) }),
      "output tokens": (f) => demand({ output_tokens: Math.max(1, p.rounded(d.output_tokens * f)) }),
      "duty": (f) => demand({ duty: Math.min(1, d.duty * f) }),
      "time per output token allowed": (f) => limits({ seconds_per_output_token: l.seconds_per_output_token * f }),
      "time to first token allowed": (f) => limits({ seconds_to_first_token: l.seconds_to_first_token * f }),
    };
    if (d.input_tokens) { found["input tokens"] = (f) => demand({ input_tokens: p.rounded(d.input_tokens * f) }); }
    if (owned) {
      const at = (part) => ({ ...scenario, rate: ownedRate({ ...owned, ...part }) });
      found["owned: price of the device"] = (f) => at({ capital_usd: owned.capital_usd * f });
      found["owned: years of life"] = (f) => at({ life_years: owned.life_years * f });
      found["owned: electricity price"] = (f) => at({ usd_per_kilowatt_hour: owned.usd_per_kilowatt_hour * f });
      found["owned: PUE"] = (f) =>
        at({ power_usage_effectiveness: Math.max(1, owned.power_usage_effectiveness * f) });
      found["owned: power"] = (f) => at({ watts: owned.watts * f });
    }
    return found;
  }

  function sensitivities(arm, scenario) {
    if (arm.bill === null) { return []; }
    const outcome = (changed) => {
      const found = armOf(arm.curve, changed);
      return found.bill === null ? { usd_per_month: null, usage: null, reason: found.point.sentence }
        : { usd_per_month: found.bill.served.usd_per_month, usage: found.bill.served.usage[2], reason: null };
    };
    const away = (usual, ...others) =>
      Math.max(0, ...others.filter((other) => other !== null).map((other) => Math.abs(other - usual)));
    const { usd_per_month: bill, usage: [, , usage] } = arm.bill.served;
    const rows = Object.entries(changes(scenario)).map(([name, change]) => {
      const lower = outcome(change(1 - CHANGE)), higher = outcome(change(1 + CHANGE));
      return {
        name, lower, higher, swing_usd: away(bill, lower.usd_per_month, higher.usd_per_month),
        usage_swing_ratio: away(usage, lower.usage, higher.usage) / (usage || 1),
      };
    });
    return rows.sort((a, b) =>
      b.swing_usd - a.swing_usd || b.usage_swing_ratio - a.usage_swing_ratio || (a.name < b.name ? -1 : 1));
  }

  const costOf = (arm) => arm.point.refused ? Infinity : arm.point.device_seconds[1];

  // The whole answer for one class of arms of about one size on one device; depends on its arguments alone.
  function answer(arms, scenario, currency) {
    const found = arms.map((curve) => armOf(curve, scenario));
    found.sort((a, b) => costOf(a) === costOf(b) ? 0 : costOf(a) - costOf(b));
    const states = found.filter((arm) => arm.curve.holds === "state");
    const subject = states.find((arm) => arm.curve.layer === "pam") || states[0] || null;
    const rival = found.find((arm) => arm.curve.holds === "kv-cache") || null;
    let crossings = null, decision = null;
    if (subject && rival) {
      const both = [subject.curve, rival.curve], { demand, limits } = scenario;
      const contexts = p.lengthsOf(both, ["contexts"]), prompts = p.lengthsOf(both, ["contexts", "prompt_lengths"]);
      crossings = {
        request: p.crossing(p.requestRatio(...both, demand, limits), prompts),
        decode: p.crossing(p.decodeRatio(...both, limits), contexts),
        capacity: p.crossing(p.capacityRatio(...both), contexts),
      };
      decision = decide(subject, rival, crossings.request, demand, currency);
    }
    return { arms: found, crossings, decision, sensitivities: sensitivities(found[0], scenario) };
  }

  return { CHANGE, answer, interval, ownedRate };
})();
