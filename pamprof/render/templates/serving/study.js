// A demand met: replicas, bills, dollars per million tokens, break-even, sensitivities and the decision.
const costStudy = (() => {
  "use strict";
  const w = costWords, p = costPoints;
  const k = costConstants, TO = k.directions, INPUT = k.inputs, OUTCOME = k.outcomes;

  const tokensOf = (demand) => demand.input_tokens + demand.output_tokens;

  function served(prefill, decode, rate, demand) {
    const seconds = prefill + decode, perSecond = rate / k.seconds_per_hour, request = tokensOf(demand);
    const peak = demand.tokens_per_day / k.seconds_per_day * demand.peak_factor;
    const count = Math.max(demand.minimum_replicas, Math.ceil(peak / (request / seconds * demand.duty)));
    const busy = demand.tokens_per_day / request * seconds / (count * k.seconds_per_day);
    const usage = [
      demand.input_tokens ? prefill * perSecond / demand.input_tokens * k.million : null,
      decode * perSecond / demand.output_tokens * k.million,
      seconds * perSecond / request * k.million,
    ];
    return {
      replica_count: count, busy_ratio: busy, usd_per_month: count * rate * k.hours_per_month, usage,
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
      most_expensive: served(prefill[2], decode[2], rate.high, demand),
    };
  }

  // Ends in order: whole replicas make the cost of rented time jump, so that the fast end may cost more.
  const interval = (bill, of, low = "fast", high = "slow") => {
    const ends = [of(bill[low]), of(bill.served), of(bill[high])];
    return [Math.min(...ends), ends[1], Math.max(ends[0], ends[2], ends[1])];
  };

  const carriedPerDay = (seconds, demand) =>
    tokensOf(demand) * demand.duty * k.seconds_per_day / (seconds * demand.peak_factor);

  function ownedRate(owned) {
    const power = owned.watts / 1000 * owned.power_usage_effectiveness * owned.usd_per_kilowatt_hour;
    const hourly = owned.capital_usd / (owned.life_years * k.hours_per_year) + power;
    return { low: hourly, usd_per_hour: hourly, high: hourly };
  }

  function breakEven(point, rate, api, demand) {
    if (point.refused || api === null) { return null; }
    const request = demand.input_tokens * api[0] + demand.output_tokens * api[1];
    const perToken = request / k.million / tokensOf(demand);
    if (perToken <= 0) { return null; }
    const pays = rate.usd_per_hour * k.hours_per_day / perToken, carries = carriedPerDay(point.device_seconds[1], demand);
    if (pays >= carries) { return null; }
    const last = Math.max(demand.minimum_replicas, Math.ceil(carries / (carries - pays)) - 1);
    return { first_tokens_per_day: demand.minimum_replicas * pays, lasting_tokens_per_day: last * pays };
  }

  function outcomeOf(ratio) {
    if (ratio[3] <= 0) { return OUTCOME.UNKNOWN; }
    return ratio[2] < 1 ? OUTCOME.CHEAPER : ratio[0] > 1 ? OUTCOME.MORE_EXPENSIVE : OUTCOME.EQUAL;
  }

  function crossingSentence(named, at) {
    if (at.first === null) { return w.fill("NO_COMMON_LENGTH", named); }
    if (at.direction === TO.CHEAPER_ABOVE && at.tokens !== null) {
      return w.fill("CHEAPER_ABOVE_PROMPT", {
        ...named, length: w.significant(at.tokens[1]), interval: w.brackets(at.tokens[0], at.tokens[2], w.significant),
        basis: at.basis,
      });
    }
    const template = {
      [TO.ALWAYS_CHEAPER]: "CHEAPER_AT_EVERY_PROMPT", [TO.ALWAYS_MORE_EXPENSIVE]: "MORE_EXPENSIVE_AT_EVERY_PROMPT",
    }[at.direction] || "NO_CROSSOVER_RESOLVED";
    return w.fill(template, { ...named, first: w.tokens(at.first), last: w.tokens(at.last), basis: at.basis });
  }

  function costSentence(named, demand, ratio, outcome, basis) {
    const verdict = {
      [OUTCOME.EQUAL]: costText.VERDICT_EQUAL, [OUTCOME.UNKNOWN]: costText.VERDICT_UNKNOWN,
    }[outcome] || outcome;
    return w.fill("TOKEN_COST", {
      ...named, input: w.tokens(demand.input_tokens), output: w.tokens(demand.output_tokens), ratio: w.ratio(ratio[1]),
      interval: w.brackets(ratio[0], ratio[2], w.significant), verdict, basis,
    });
  }

  function billSentence(named, ours, saved, usd, demand, currency, basis) {
    const count = saved === 0 ? ours.served.replica_count : Math.abs(saved);
    const amount = saved === 0 ? ours.served.usd_per_month : Math.abs(usd);
    return w.fill(saved === 0 ? "BILLS_EQUAL" : saved > 0 ? "BILL_LOWER" : "BILL_HIGHER", {
      ...named, basis, demand: w.si(demand.tokens_per_day), replicas: w.fill(count === 1 ? "ONE_REPLICA" : "REPLICAS", { count }),
      amount: w.money(currency, amount),
    });
  }

  function decide(subject, rival, request, demand, currency) {
    const ours = subject.point, theirs = rival.point;
    const named = { subject: subject.curve.title, rival: rival.curve.title };
    if (ours.refused || theirs.refused) {
      const said = [subject, rival].map((arm) => arm.point.refused
        ? w.fill("ARM_REFUSED", { arm: arm.curve.title, sentence: arm.point.sentence })
        : w.fill("ARM_SERVES", { arm: arm.curve.title }));
      const lost = [ours, theirs].some((point) => point.refused && point.limit === null);
      return {
        ...named, outcome: lost ? OUTCOME.UNKNOWN : OUTCOME.INFEASIBLE, ratio: null, saved_replicas: null,
        saved_usd_per_month: null, equal_bills_tokens_per_day: null, basis: null,
        sentence: said.join("; ") + ".",
      };
    }
    const ratio = p.quotient(ours.device_seconds, theirs.device_seconds), outcome = outcomeOf(ratio);
    const saved = rival.bill.served.replica_count - subject.bill.served.replica_count;
    const usd = rival.bill.served.usd_per_month - subject.bill.served.usd_per_month;
    const basis = p.leastSure(ours.basis, theirs.basis);
    return {
      ...named, outcome, ratio, saved_replicas: saved, saved_usd_per_month: usd,
      equal_bills_tokens_per_day: demand.minimum_replicas * Math.min(subject.carries, rival.carries), basis,
      sentence: [
        crossingSentence(named, request), costSentence(named, demand, ratio, outcome, basis),
        billSentence(named, subject.bill, saved, usd, demand, currency, basis),
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
      [INPUT.PRICE]: (f) => ({ ...scenario, rate: { ...scenario.rate, usd_per_hour: scenario.rate.usd_per_hour * f } }),
      [INPUT.THROUGHPUT]: (f) => ({ ...scenario, speed: f }),
      [INPUT.TOKENS_PER_DAY]: (f) => demand({ tokens_per_day: d.tokens_per_day * f }),
      [INPUT.PEAK_FACTOR]: (f) => demand({ peak_factor: Math.max(1, d.peak_factor * f) }),
      [INPUT.OUTPUT_TOKENS]: (f) => demand({ output_tokens: Math.max(1, p.rounded(d.output_tokens * f)) }),
      [INPUT.DUTY]: (f) => demand({ duty: Math.min(1, d.duty * f) }),
      [INPUT.TIME_PER_OUTPUT_TOKEN]: (f) => limits({ seconds_per_output_token: l.seconds_per_output_token * f }),
      [INPUT.TIME_TO_FIRST_TOKEN]: (f) => limits({ seconds_to_first_token: l.seconds_to_first_token * f }),
    };
    if (d.input_tokens) { found[INPUT.INPUT_TOKENS] = (f) => demand({ input_tokens: p.rounded(d.input_tokens * f) }); }
    if (owned) {
      const at = (part) => ({ ...scenario, rate: ownedRate({ ...owned, ...part }) });
      found[INPUT.OWNED_CAPITAL] = (f) => at({ capital_usd: owned.capital_usd * f });
      found[INPUT.OWNED_LIFE] = (f) => at({ life_years: owned.life_years * f });
      found[INPUT.OWNED_ELECTRICITY] = (f) => at({ usd_per_kilowatt_hour: owned.usd_per_kilowatt_hour * f });
      found[INPUT.OWNED_PUE] = (f) =>
        at({ power_usage_effectiveness: Math.max(1, owned.power_usage_effectiveness * f) });
      found[INPUT.OWNED_POWER] = (f) => at({ watts: owned.watts * f });
    }
    return found;
  }

  function sensitivities(arm, scenario) {
    if (arm.bill === null) { return []; }
    const outcome = (changed) => {
      const found = armOf(arm.curve, changed);
      return found.bill === null ? { usd_per_month: null, usage: null, basis: null, reason: found.point.sentence } : {
        usd_per_month: found.bill.served.usd_per_month, usage: found.bill.served.usage[2], basis: found.point.basis,
        reason: null,
      };
    };
    const away = (usual, ...others) =>
      Math.max(0, ...others.filter((other) => other !== null).map((other) => Math.abs(other - usual)));
    const { usd_per_month: bill, usage: [, , usage] } = arm.bill.served;
    const rows = Object.entries(changes(scenario)).map(([name, change]) => {
      const lower = outcome(change(1 - k.change)), higher = outcome(change(1 + k.change));
      const bases = [lower.basis, higher.basis].filter((basis) => basis !== null);
      return {
        name, lower, higher, basis: bases.length ? p.leastSure(...bases) : null, swing_usd: away(bill, lower.usd_per_month, higher.usd_per_month),
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
    const states = found.filter((arm) => arm.curve.holds === k.holds.STATE);
    const subject = states.find((arm) => arm.curve.is_subject) || states[0] || null;
    const rival = found.find((arm) => arm.curve.holds === k.holds.CACHE) || null;
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

  return { answer, interval, ownedRate };
})();
