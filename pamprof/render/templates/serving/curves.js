// Serving curves: what one arm takes for a step and a prompt, and how many sequences fit.
// Inside the measured hull it interpolates in logarithms, and affine beside; beyond, a calibrated model answers, says so, or refuses.
const costCurves = (() => {
  "use strict";
  const w = costWords;
  const { MEASURED, INTERPOLATED, MODELLED } = costConstants.basis;
  const LARGEST_MODEL_ERROR = costConstants.largest_model_error;

  // What a curve cannot tell, with its reason.
  class Unknown extends Error {}

  // An interval is [low, median, high, confidence]; a point of a line is [batch, low, median, high, confidence].
  const scaled = (interval, factor) => [interval[0] * factor, interval[1] * factor, interval[2] * factor, interval[3]];

  // The ends of the first, widened to hold those of the second.
  const holding = (a, b) => [Math.min(a[0], b[0]), a[1], Math.max(a[2], b[2]), Math.min(a[3], b[3])];

  // On the straight line between two places, in the numbers or in their logarithms.
  function between([low, before], [high, after], place, affine) {
    const fraction = affine ? (place - low) / (high - low) : Math.log(place / low) / Math.log(high / low);
    const middle = (first, second) => affine ? (1 - fraction) * first + fraction * second
      : Math.exp((1 - fraction) * Math.log(first) + fraction * Math.log(second));
    return [
      middle(before[0], after[0]), middle(before[1], after[1]), middle(before[2], after[2]),
      Math.min(before[3], after[3]),
    ];
  }

  function lineAt(points, batch, affine) {
    const exact = points.find((point) => point[0] === batch);
    if (exact) { return exact.slice(1); }
    for (let i = 1; i < points.length; i += 1) {
      const low = points[i - 1], high = points[i];
      if (low[0] < batch && batch < high[0]) {
        return between([low[0], low.slice(1)], [high[0], high.slice(1)], batch, affine);
      }
    }
    return null;
  }

  const largestOf = (line) => line.points[line.points.length - 1][0];

  function across(below, above, batch, context, affine) {
    const shared = Math.min(batch, largestOf(below), largestOf(above));
    const low = lineAt(below.points, shared, affine), high = lineAt(above.points, shared, affine);
    if (low === null || high === null) { return null; }
    const found = between([below.context, low], [above.context, high], context, affine);
    if (batch === shared) { return found; }
    const fraction = Math.log(context / below.context) / Math.log(above.context / below.context);
    const edge = Math.exp((1 - fraction) * Math.log(largestOf(below)) + fraction * Math.log(largestOf(above)));
    const [longer, atEnd] = largestOf(below) > largestOf(above) ? [below, low] : [above, high];
    const beyond = lineAt(longer.points, batch, affine);
    if (batch > edge * (1 + 1e-12) || beyond === null) { return null; }
    return scaled(beyond, found[1] / atEnd[1]);
  }

  function interpolate(lines, batch, context, affine) {
    const exact = lines.find((line) => line.context === context);
    if (exact) { return lineAt(exact.points, batch, affine); }
    for (let i = 1; i < lines.length; i += 1) {
      const below = lines[i - 1], above = lines[i];
      if (below.context < context && context < above.context) {
        return across(below, above, batch, context, affine);
      }
    }
    return null;
  }

  function modelled(value, fit, place) {
    const error = fit.largest_error;
    if (error > LARGEST_MODEL_ERROR) {
      throw new Unknown(w.fill(
        "MODEL_ERROR_TOO_LARGE", { place, error: w.percent(error), allowed: w.percent(LARGEST_MODEL_ERROR) }));
    }
    const confidence = fit.places / (fit.places + 1);
    return {
      value, interval: [value * (1 - error), value, value * (1 + error), confidence], basis: MODELLED, error, affine: null,
    };
  }

  const faster = (found, speed) => speed === 1 ? found : {
    value: found.value / speed, interval: found.interval && scaled(found.interval, 1 / speed), basis: found.basis,
    error: found.error, affine: found.affine && scaled(found.affine, 1 / speed),
  };

  // The affine answer wherever a curve interpolates.
  const affineOf = (found) => found.affine === null ? found : {
    ...found, value: found.affine[1], interval: found.affine, affine: null,
  };

  const measuredAs = (found) => ({ value: found[1], interval: found, basis: MEASURED, error: null, affine: null });
  const interpolatedAs = (found, affine, error) => ({
    value: found[1], interval: holding(found, affine), basis: INTERPOLATED, error, affine,
  });

  // Of a curve that was carried from another GPU: modelled, and beyond its steps as wide as the widest.
  function asCarried(curve, found) {
    if (curve.carried === null) { return found; }
    const [low, high] = curve.carried, [least, middle, most, confidence] = found.interval;
    const interval = found.basis === MODELLED ? [least * low, middle, most * high, confidence] : found.interval;
    return { ...found, interval, basis: MODELLED, error: null };
  }

  const decodeSeconds = (curve, batch, context) => asCarried(curve, decodeOf(curve, batch, context));
  const prefillSeconds = (curve, prompt) => asCarried(curve, prefillOf(curve, prompt));

  function decodeOf(curve, batch, context) {
    const [first, last] = curve.context_range;
    const [found, affine] = [false, true].map((way) => curve.one_line && first <= context && context <= last
      ? lineAt(curve.decode_lines[0].points, batch, way) : interpolate(curve.decode_lines, batch, context, way));
    if (found !== null) {
      const measured = curve.measured.some((place) => place.context === context && place.batches.includes(batch));
      return measured ? measuredAs(found) : interpolatedAs(found, affine, curve.decode_error);
    }
    refuseWhatDoesNotFit(curve, batch, context);
    const model = curve.decode_model;
    const place = w.fill("DECODE_PLACE", { batch, context: w.tokens(context) });
    if (model === null) {
      throw new Unknown(w.fill("TOO_LITTLE_FOR_A_MODEL", { place, arm: curve.title }));
    }
    const kept = model.bytes_per_token * (context + 1);
    const moved = model.weight_bytes + batch * (2 * model.fixed_bytes + kept);
    const flop = batch * (model.flops[0] + model.flops[1] * context);
    const value = Math.max(moved / model.bytes_per_second, flop / model.flops_per_second) + model.fixed_seconds;
    return modelled(value, model.fit, w.fill("PLACE_OF_ARM", { place, arm: curve.title }));
  }

  function prefillOf(curve, prompt) {
    const [found, affine] = [false, true].map((way) => curve.prompts && lineAt(curve.prompts, prompt, way));
    if (found !== null) {
      const measured = curve.prompts.some((point) => point[0] === prompt);
      return measured ? measuredAs(found) : interpolatedAs(found, affine, curve.prompt_error);
    }
    const place = w.fill("PROMPT_PLACE", { prompt: w.tokens(prompt) }), model = curve.prefill_model;
    if (model === null) {
      throw new Unknown(w.fill("TOO_LITTLE_FOR_A_MODEL", { place, arm: curve.title }));
    }
    const flop = model.linear * prompt + model.square * prompt ** 2;
    return modelled(flop / model.flops_per_second + model.fixed_seconds, model.fit, w.fill("PLACE_OF_ARM", { place, arm: curve.title }));
  }

  const bytesEach = (memory, context) =>
    memory.fixed_bytes + memory.bytes_per_token * (context + 1) + memory.step_bytes_per_sequence;

  function maximumBatch(curve, context) {
    const exact = curve.limits.find(([at]) => at === context), limit = exact || (curve.fixed_state && curve.limits[0]);
    if (limit) {
      const [first, last] = curve.context_range;
      const inferred = first <= context && context <= last ? INTERPOLATED : MODELLED;
      return {
        value: limit[1], interval: [limit[1], limit[1], limit[2] - 1, 1], basis: exact ? MEASURED : inferred, error: null,
        affine: null,
      };
    }
    const ends = curve.limits.map(([at]) => at), memory = curve.memory;
    const inside = ends.length > 0 && Math.min(...ends) <= context && context <= Math.max(...ends);
    const room = memory.capacity_bytes - memory.constant_bytes;
    return {
      value: Math.max(0, Math.floor(room / bytesEach(memory, context))), interval: null,
      basis: inside ? INTERPOLATED : MODELLED, error: curve.limit_error, affine: null,
    };
  }

  function refuseWhatDoesNotFit(curve, batch, context) {
    const fits = maximumBatch(curve, context), memory = curve.memory;
    const most = fits.interval === null ? fits.value : fits.interval[2];
    if (batch > most) {
      throw new Unknown(w.fill("DOES_NOT_FIT", {
        batch, context: w.tokens(context),
        needed: w.binaryBytes(memory.constant_bytes + batch * bytesEach(memory, context)),
        capacity: w.binaryBytes(memory.capacity_bytes), most: Math.trunc(most), basis: fits.basis,
      }));
    }
  }

  return {
    MEASURED, INTERPOLATED, MODELLED, Unknown, holding, scaled, maximumBatch,
    // As they are, or changed: `speed` divides every time, `affine` takes the affine answer.
    decodeSeconds: (curve, batch, context, { speed, affine }) => {
      const found = faster(decodeSeconds(curve, batch, context), speed);
      return affine ? affineOf(found) : found;
    },
    prefillSeconds: (curve, prompt, { speed, affine }) => {
      const found = faster(prefillSeconds(curve, prompt), speed);
      return affine ? affineOf(found) : found;
    },
  };
})();
