// Charts: bars and a step line in plain SVG, coloured by class, drawn again when the width changes.

import { cents, fromCents, h, put, s, when } from './tools.js';

const TOP = 12; // room above the highest line, in px

function chart(label, draw) {
  const holder = h('div.chart', { role: 'img', label });
  new ResizeObserver(() => { if (holder.clientWidth) put(holder, draw(holder.clientWidth)); }).observe(holder);
  return holder;
}
/** The next of 1, 2, 5 × 10ⁿ, in cents. */
function ceiling(most) {
  for (let unit = 100n; ; unit *= 10n) for (const step of [1n, 2n, 5n]) if (unit * step >= most) return unit * step;
}
const highest = (amounts) => amounts.reduce((most, amount) => (amount > most ? amount : most), 1n);
const share = (part, whole) => Number((part * 10_000n) / whole) / 10_000; // of pixels

function axis(top, width, height, left) {
  return [0n, 1n, 2n].map((part) => {
    const y = TOP + height - (height * Number(part)) / 2;
    return [s('line.grid', { x1: left, x2: width, y1: y, y2: y }),
      s('text', { x: left - 8, y: y + 4, 'text-anchor': 'end' }, fromCents((top * part) / 2n).replace('.00', ''))];
  });
}
/** Room for the longest number of the axis. */
const margin = (top) => Math.max(40, 14 + fromCents(top).length * 6);

/** `items`: [{ short, long, amount }], each a bar. */
export function bars(items, label) {
  const amounts = items.map((item) => cents(item.amount));
  const top = ceiling(highest(amounts));
  const text = `${label}: ${items.map((item) => `${item.short} ${item.amount}`).join(', ')}`;
  return chart(text, (width) => {
    const height = 250, left = margin(top), slot = (width - left) / items.length, bar = Math.min(28, slot * 0.62);
    const skip = Math.ceil((items[0]?.short.length > 2 ? 48 : 26) / slot);
    return s('svg', { viewBox: `0 0 ${width} ${height + 36}`, class: 'chart' }, axis(top, width, height, left), items.map((item, at) => {
      const tall = amounts[at] > 0n ? Math.max(2, height * share(amounts[at], top)) : 0, x = left + slot * at;
      return s('g', s('rect.hit', { x, y: TOP, width: slot, height, rx: 4 }),
        s('rect.bar', { x: x + (slot - bar) / 2, y: TOP + height - tall, width: bar, height: tall, rx: 2 }),
        at % skip === 0 && s('text', { x: x + slot / 2, y: height + 30, 'text-anchor': 'middle' }, item.short),
        s('title', `${item.long}: ${item.amount}`));
    }));
  });
}

/** `points`: [ms, cents], oldest first; the first is what was there at `since`. */
export function steps(points, since, until, label) {
  const top = ceiling(highest(points.map(([, amount]) => amount)));
  return chart(label, (width) => {
    const height = 120, left = margin(top), days = { day: 'numeric', month: 'short' };
    const x = (ms) => left + ((width - left) * (ms - since)) / (until - since);
    const y = (amount) => TOP + height - height * share(amount < 0n ? 0n : amount, top);
    let line = `M${left},${y(points[0][1])}`, last = -1;
    for (const [at, [ms, amount]] of points.entries()) {
      const pixel = Math.round(x(ms)); // one step for each pixel: the last of it
      if (at === 0 || (pixel === last && at + 1 < points.length && Math.round(x(points[at + 1][0])) === pixel)) continue;
      line += `H${pixel}V${Math.round(y(amount) * 10) / 10}`;
      last = pixel;
    }
    line += `H${width}`;
    const marks = [['start', since], ['middle', (since + until) / 2], ['end', until]];
    return s('svg', { viewBox: `0 0 ${width} ${height + 34}`, class: 'chart' },
      s('path.under', { d: `${line}V${TOP + height}H${left}Z` }), axis(top, width, height, left), s('path.step', { d: line }),
      marks.map(([anchor, ms]) => s('text', { x: x(ms), y: height + 30, 'text-anchor': anchor }, when(ms, days))));
  });
}
