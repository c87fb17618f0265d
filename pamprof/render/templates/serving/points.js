// The batch at which one device serves requests within its limits, or why there is none; and where two arms cross.
const costPoints = (() => {
  "use strict";
  const w = costWords, c = costCurves;
  const STEPS_BETWEEN = costConstants.steps_between, LIMIT = costConstants.limits, TO = costConstants.directions;

  const exact = (value) => [value, value, value, 1];
  const intervalOf = (found) => found.interval === null ? exact(found.value) : found.interval;
  const summed = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2], Math.min(a[3], b[3])];
  const quotient = (a, b) => [a[0] / b[2], a[1] / b[1], a[2] / b[0], Math.min(a[3], b[3])];
  const longestContext = (traffic) => Math.max(1, traffic.input_tokens + traffic.output_tokens - 1);
  const meanContext = (traffic) => Math.max(1, traffic.input_tokens + Math.floor(traffic.output_tokens / 2));

  function attempt(ask) {
    try {
      return ask();
    } catch (error) {
      if (error instanceof c.Unknown) { return null; }
      throw error;
    }
  }

  function stepOf(curve, batch, traffic, change) {
    return attempt(() => ({
      batch,
      longest: c.decodeSeconds(curve, batch, longestContext(traffic), change),
      mean: c.decodeSeconds(curve, batch, meanContext(traffic), change),
    }));
  }

  function pace(prefill, step, batch, traffic) {
    return prefill === null ? intervalOf(step)
      : summed(intervalOf(step), c.scaled(intervalOf(prefill), batch / traffic.output_tokens));
  }

  // The step with the prompts in it, then the prompts that joined meanwhile, its own the last of them.
  function firstToken(prefill, step, batch, traffic) {
    return prefill === null ? null : summed(pace(prefill, step, batch, traffic),
      c.scaled(intervalOf(prefill), Math.max(1, batch / traffic.output_tokens)));
  }

  function isLate(prefill, step, batch, traffic, limits) {
    const first = firstToken(prefill, step, batch, traffic);
    return first !== null && first[1] > limits.seconds_to_first_token;
  }

  function cautiousCost(step) {
    const doubt = step.mean.basis === c.MODELLED ? step.mean.error || 0 : 0;
    return step.mean.value / step.batch * (1 + doubt);
  }

  const infeasible = (limit, detail) => ({
    refused: true, limit, sentence: w.fill("INFEASIBLE", { limit, detail }),
  });
  const unknown = (reason) => ({ refused: true, limit: null, sentence: w.fill("UNKNOWN", { reason }) });

  function refusal(prefill, alone, traffic, limits) {
    if (prefill !== null && prefill.value > limits.seconds_to_first_token) {
      return infeasible(LIMIT.TIME_TO_FIRST_TOKEN, w.fill("PROMPT_TOO_SLOW", {
        seconds: w.seconds(prefill.value), prompt: w.tokens(traffic.input_tokens),
        allowed: w.seconds(limits.seconds_to_first_token),
      }));
    }
    if (alone === null) {
      return infeasible(LIMIT.MEMORY, w.fill("NOTHING_FITS", { context: w.tokens(longestContext(traffic)) }));
    }
    const each = pace(prefill, alone, 1, traffic)[1];
    if (each > limits.seconds_per_output_token) {
      return infeasible(LIMIT.TIME_PER_OUTPUT_TOKEN, w.fill("SEQUENCE_TOO_SLOW", {
        seconds: w.seconds(each), allowed: w.seconds(limits.seconds_per_output_token),
      }));
    }
    return isLate(prefill, alone, 1, traffic, limits) ? infeasible(
      LIMIT.TIME_TO_FIRST_TOKEN, w.fill("FIRST_TOKEN_TOO_LATE", {
        seconds: w.seconds(firstToken(prefill, alone, 1, traffic)[1]), allowed: w.seconds(limits.seconds_to_first_token),
      })) : null;
  }

  // Neighbours (n, n + 1) between which `test` turns from false to true, given that it holds at `high` only.
  function firstTrue(test, low, high) {
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (test(middle)) { high = middle; } else { low = middle; }
    }
    return [low, high];
  }

  function largestBatch(curve, prefill, traffic, limits, maximum, change) {
    const fault = (batch) => {
      const step = stepOf(curve, batch, traffic, change);
      if (step === null) { return LIMIT.LARGEST_BATCH_KNOWN; }
      const slow = pace(prefill, step.longest, batch, traffic)[1] > limits.seconds_per_output_token;
      if (slow) { return LIMIT.TIME_PER_OUTPUT_TOKEN; }
      return isLate(prefill, step.longest, batch, traffic, limits) ? LIMIT.TIME_TO_FIRST_TOKEN : null;
    };
    if (fault(maximum) === null) { return [maximum, LIMIT.MEMORY]; }
    const [good, bad] = firstTrue((batch) => fault(batch) !== null, 1, maximum);
    return [good, fault(bad) || LIMIT.MEMORY];
  }

  function candidates(largest) {
    const found = [];
    for (let batch = 1; batch < largest; batch *= 2) { found.push(batch); }
    return found.concat([largest]);
  }

  function point(step, prefill, fits, traffic, bound) {
    const parts = [step.mean, step.longest].concat(prefill === null ? [] : [prefill]);
    const maximum = Math.trunc(fits.value);
    if (step.batch === maximum) { parts.push(fits); }
    const modelled = parts.filter((part) => part.basis === c.MODELLED).map((part) => part.error);
    const errors = modelled.filter((error) => error !== null);
    const prefillSeconds = prefill === null ? exact(0) : intervalOf(prefill);
    const decodeSeconds = c.scaled(intervalOf(step.mean), traffic.output_tokens / step.batch);
    return {
      refused: false, batch_size: step.batch, maximum_batch: maximum, prefill_seconds: prefillSeconds,
      decode_seconds: decodeSeconds, device_seconds: summed(prefillSeconds, decodeSeconds),
      seconds_per_output_token: pace(prefill, step.longest, step.batch, traffic),
      seconds_to_first_token: firstToken(prefill, step.longest, step.batch, traffic), bound,
      basis: leastSure(...parts.map((part) => part.basis)), error: errors.length ? Math.max(...errors) : null,
    };
  }

  // A request's best batch; with `prefilled` its prompt is there already and takes no time. Intervals hold what affine
  // interpolation leads to, with the batch that it leads to.
  function operatingPoint(curve, traffic, limits, { prefilled = false, speed = 1 } = {}) {
    const found = bestPoint(curve, traffic, limits, prefilled, { speed, affine: false });
    if (found.refused || found.basis === c.MEASURED) { return found; }
    const other = bestPoint(curve, traffic, limits, prefilled, { speed, affine: true });
    if (other.refused) { return found; }
    const both = (first, second) => first === null || second === null ? first : c.holding(first, second);
    const prefill = both(found.prefill_seconds, other.prefill_seconds);
    const decode = both(found.decode_seconds, other.decode_seconds);
    return {
      ...found, prefill_seconds: prefill, decode_seconds: decode, device_seconds: summed(prefill, decode),
      seconds_per_output_token: both(found.seconds_per_output_token, other.seconds_per_output_token),
      seconds_to_first_token: both(found.seconds_to_first_token, other.seconds_to_first_token),
    };
  }

  function bestPoint(curve, traffic, limits, prefilled, change) {
    let prefill, fits, alone;
    try {
      prefill = prefilled || !traffic.input_tokens ? null : c.prefillSeconds(curve, traffic.input_tokens, change);
      fits = c.maximumBatch(curve, longestContext(traffic));
      alone = fits.value >= 1 ? c.decodeSeconds(curve, 1, longestContext(traffic), change) : null;
    } catch (error) {
      if (error instanceof c.Unknown) { return unknown(error.message); }
      throw error;
    }
    const refused = refusal(prefill, alone, traffic, limits);
    if (refused !== null) { return refused; }
    const [largest, bound] = largestBatch(curve, prefill, traffic, limits, Math.trunc(fits.value), change);
    const steps = candidates(largest).map((batch) => stepOf(curve, batch, traffic, change)).filter((s) => s !== null);
    if (!steps.length) { return unknown(w.fill("NO_STEP_KNOWN", { context: w.tokens(meanContext(traffic)) })); }
    const best = steps.reduce((a, b) => cautiousCost(b) < cautiousCost(a) ? b : a);
    return point(best, prefill, fits, traffic, best.batch === largest ? bound : LIMIT.GAINS_NOTHING);
  }

  const ORDER = costConstants.basis_order;
  const leastSure = (...bases) => ORDER[Math.max(...bases.map((basis) => ORDER.indexOf(basis)))];

  // Device time of a whole request, subject over rival, by prompt length.
  const requestRatio = (subject, rival, traffic, limits) => (prompt) => {
    const request = { input_tokens: prompt, output_tokens: traffic.output_tokens };
    const ours = operatingPoint(subject, request, limits), theirs = operatingPoint(rival, request, limits);
    if (ours.refused || theirs.refused) { return null; }
    return { at: quotient(ours.device_seconds, theirs.device_seconds), basis: leastSure(ours.basis, theirs.basis) };
  };

  // Device time of one decoded token, subject over rival, by the context that is there already.
  const decodeRatio = (subject, rival, limits) => (context) => {
    const token = { input_tokens: context, output_tokens: 1 };
    const [ours, theirs] = [subject, rival].map((curve) => operatingPoint(curve, token, limits, { prefilled: true }));
    if (ours.refused || theirs.refused) { return null; }
    return { at: quotient(ours.decode_seconds, theirs.decode_seconds), basis: leastSure(ours.basis, theirs.basis) };
  };

  const capacityRatio = (subject, rival) => (context) => {
    const ours = c.maximumBatch(subject, context), theirs = c.maximumBatch(rival, context);
    if (ours.value < 1 || theirs.value < 1) { return null; }
    return { at: exact(theirs.value / ours.value), basis: leastSure(ours.basis, theirs.basis) };
  };

  // A half is rounded to the even number, as Python does.
  function rounded(value) {
    const below = Math.floor(value), rest = value - below;
    if (rest !== 0.5) { return rest < 0.5 ? below : below + 1; }
    return below % 2 === 0 ? below : below + 1;
  }

  // Lengths measured of any of the curves, with steps between them in equal ratios.
  function lengthsOf(curves, names) {
    const measured = [...new Set(curves.flatMap((curve) => names.flatMap((name) => curve[name])))].sort((a, b) => a - b);
    const found = new Set(measured);
    for (let i = 1; i < measured.length; i += 1) {
      const low = measured[i - 1], high = measured[i];
      for (let step = 0; step < STEPS_BETWEEN; step += 1) {
        found.add(rounded(low * (high / low) ** (step / STEPS_BETWEEN)));
      }
    }
    return [...found].sort((a, b) => a - b);
  }

  function fall(ratio, known, end, otherwise) {
    for (let i = 1; i < known.length; i += 1) {
      if (known[i - 1].at[end] > 1 && known[i].at[end] <= 1) {
        const below = (length) => { const found = ratio(length); return found === null || found.at[end] <= 1; };
        return firstTrue(below, known[i - 1].length, known[i].length)[1];
      }
    }
    return otherwise;
  }

  // Where a ratio comes down through 1 among the lengths, once and for good.
  function crossing(ratio, lengths) {
    const known = lengths.map((length) => ({ length, ...ratio(length) })).filter((found) => found.at);
    if (!known.length) { return { tokens: null, direction: TO.UNKNOWN, first: null, last: null, basis: c.MODELLED }; }
    const first = known[0].length, last = known[known.length - 1].length;
    const basis = leastSure(...known.map((found) => found.basis));
    const say = (direction, tokens = null, beside = basis) => ({ tokens, direction, first, last, basis: beside });
    if (known.every((found) => found.at[1] <= 1)) {
      return say(known.every((found) => found.at[2] < 1) ? TO.ALWAYS_CHEAPER : TO.UNKNOWN);
    }
    if (known.every((found) => found.at[1] > 1)) {
      return say(known.every((found) => found.at[0] > 1) ? TO.ALWAYS_MORE_EXPENSIVE : TO.UNKNOWN);
    }
    const turns = known.slice(1).map((found, i) => (known[i].at[1] > 1) !== (found.at[1] > 1));
    if (known[0].at[1] <= 1 || turns.filter(Boolean).length !== 1) { return say(TO.UNKNOWN); }
    const turn = turns.indexOf(true);
    const confidence = Math.min(...known.map((found) => found.at[3]));
    return say(TO.CHEAPER_ABOVE,
      [fall(ratio, known, 0, first), fall(ratio, known, 1, last), fall(ratio, known, 2, last), confidence],
      leastSure(c.INTERPOLATED, known[turn].basis, known[turn + 1].basis));
  }

  return { capacityRatio, crossing, decodeRatio, leastSure, lengthsOf, operatingPoint, quotient, requestRatio, rounded };
})();
