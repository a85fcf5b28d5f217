// The pure laws in the page: c + exp(u(weights)) in standard units, as regression/laws has them. The tests hold both
// together to 1e-9. Parameters of a target are its row of "theta"; d is the number of domains.
const EXPONENT_LIMIT = 12;
const clip = (value, low, high) => Math.min(Math.max(value, low), high);
const dot = (a, from, b) => b.reduce((sum, value, j) => sum + a[from + j] * value, 0);

function saturation(theta, w) {
  const d = w.length;
  const absent = Math.exp(clip(theta[4 + 2 * d], -25, 2));
  const help = w.reduce((sum, weight, j) => {
    const power = Math.exp(clip(theta[3 + d] + theta[4 + d + j], -6, 3));
    return sum + Math.exp(clip(theta[2 + j] + power * Math.log(weight + absent), -60, 60));
  }, 0);
  return theta[1] - Math.exp(theta[2 + d]) * Math.log(help) + dot(theta, 5 + 2 * d, w);
}

const exponential = (theta, w) => theta[1] + dot(theta, 2, w);

function powerExponential(theta, w) {
  const eps = Math.exp(theta[theta.length - 1]);
  return exponential(theta, w) + dot(theta, 2 + w.length, w.map((weight) => Math.log1p(weight / eps)));
}

const LAWS = { saturation, exponential, log_linear: exponential, power_exponential: powerExponential };

/** Losses in nats per token, one for each row of study.rows: a target, or a weighted mean of targets. */
function lossesByLaw(study, w) {
  const each = study.theta.map((theta, t) => {
    const u = Math.min(LAWS[study.law](theta, w), EXPONENT_LIMIT);
    return study.level[t] + study.scale[t] * (theta[0] + Math.exp(u));
  });
  return study.rows.map((row) => dot(row.shares, 0, each));
}

/** Hellinger distance to the nearest mixture that a model was trained on, in [0, 1]. */
function distanceToTrained(study, w) {
  const root = w.map(Math.sqrt);
  const nearest = study.trained.reduce((most, one) => Math.max(most, dot(one.map(Math.sqrt), 0, root)), 0);
  return Math.sqrt(Math.max(1 - nearest, 0));
}

/** The mixture with one weight set and the others scaled to fill the rest, in proportion as they were in "from". */
function rescaled(from, i, value, natural) {
  let shape = from.map((weight, j) => (j === i ? 0 : weight));
  if (!shape.some((weight) => weight > 0)) shape = natural.map((weight, j) => (j === i ? 0 : weight));
  if (!shape.some((weight) => weight > 0)) shape = from.map((_, j) => (j === i ? 0 : 1));
  const rest = shape.reduce((sum, weight) => sum + weight, 0);
  return rest > 0 ? shape.map((weight, j) => (j === i ? value : (weight * (1 - value)) / rest)) : [1];
}

/** Weights in millionths that sum to a million, the largest remainders rounded up. */
function millionths(w) {
  const exact = w.map((weight) => weight * 1e6);
  const parts = exact.map(Math.floor);
  const order = w.map((_, j) => j).sort((a, b) => exact[b] - parts[b] - (exact[a] - parts[a]));
  const missing = Math.round(1e6 - parts.reduce((sum, part) => sum + part, 0));
  order.slice(0, Math.max(missing, 0)).forEach((j) => (parts[j] += 1));
  return parts;
}
