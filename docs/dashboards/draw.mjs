// Draws a dashboard as Grafana shows it in its dark look, at 1280 px: node docs/dashboards/draw.mjs NAME ANSWERS.json
//
// It reads the committed dashboard and the answers that a real Prometheus gave to its queries (tests/dashboards/live.rs
// writes them), and prints a page of HTML. Grafana itself is not asked: sizes, colours and numbers are ours after it.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { colour, formatted, paletteColour, shown } from "./format.mjs";

const [name, answersFile] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const board = JSON.parse(readFileSync(join(here, `../../dashboards/${name}.json`), "utf8"));
const answers = JSON.parse(readFileSync(answersFile, "utf8"));
const { since, until } = answers;
const own = answers.boards[name];

const WIDTH = 1280;
const GAP = 8;
const EDGE = 16;
const COLUMN = (WIDTH - 2 * EDGE - 23 * GAP) / 24;
const ROW = 30;
const HEAD = 30;

const escaped = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const filled = (text) => text.replaceAll("$channel", answers.channel).replaceAll("$job", "auditrelay");
const at = (number) => Number(number.toFixed(1));

/** All series of a panel: name, samples, colour. */
function seriesOf(panel) {
  const found = [];
  for (const target of panel.targets) {
    for (const { labels, samples } of own[panel.id]?.[target.refId] ?? []) {
      const legend = (target.legendFormat ?? "").replaceAll(/\{\{(\w+)\}\}/g, (_, label) => labels?.[label] ?? "");
      found.push({ name: legend, samples, refId: target.refId, labels: labels ?? {} });
    }
  }
  if (panel.type !== "table") found.sort((a, b) => (a.refId === b.refId ? a.name.localeCompare(b.name) : 0));
  found.forEach((one, n) => {
    const override = panel.fieldConfig.overrides.find(({ matcher }) => matcher.options === one.name);
    const fixed = override?.properties.find(({ id }) => id === "color")?.value.fixedColor;
    one.colour = fixed ? colour(fixed) : paletteColour(n);
  });
  return found;
}

const isNumber = (value) => value !== null && Number.isFinite(value);
/** The last number there is; a series that ended more than a minute ago has none. */
function last({ samples }) {
  const [time, value] = samples.filter(([, value]) => isNumber(value)).at(-1) ?? [0, null];
  return time > until - 60 ? value : null;
}

function niceTicks(top, unit, count) {
  if (unit === "bytes") {
    const power = 1024 ** Math.floor(Math.log(Math.max(top, 1)) / Math.log(1024));
    return niceTicks(top / power, "", count).map((tick) => tick * power);
  }
  const rough = top / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const steps = unit === "s" && top > 90 ? [15, 30, 60, 120, 180, 300, 600, 900, 1800, 3600] : [1, 2, 2.5, 5, 10].map((n) => n * power);
  const step = steps.find((one) => one >= rough) ?? steps.at(-1);
  const ticks = [];
  for (let tick = 0; tick <= top * 1.0001; tick += step) ticks.push(tick);
  return ticks;
}

function clock(unix) {
  return new Date(unix * 1000).toISOString().slice(11, until - since > 1200 ? 16 : 19).replace(/:(\d\d):00$/, ":$1");
}

function timeTicks(width) {
  const steps = [15, 30, 60, 120, 300, 600, 1800, 3600];
  const step = steps.find((one) => ((until - since) / one) * 62 <= width) ?? 7200;
  const ticks = [];
  for (let tick = Math.ceil(since / step) * step; tick < until; tick += step) ticks.push(tick);
  return ticks;
}

function legend(list) {
  const marks = list.map((one) => `<span><i style="background:${one.colour}"></i>${escaped(one.name)}</span>`);
  return `<div class="legend">${marks.join("")}</div>`;
}

/** Samples as pieces of a line, cut where there is no number. */
function pieces(samples) {
  const found = [[]];
  for (const sample of samples) {
    if (isNumber(sample[1])) found.at(-1).push(sample);
    else if (found.at(-1).length > 0) found.push([]);
  }
  return found.filter((piece) => piece.length > 0);
}

function stacked(list) {
  const sums = new Map();
  return list.map((one) => {
    const samples = one.samples.map(([time, value]) => {
      const base = sums.get(time) ?? 0;
      const top = base + (isNumber(value) ? value : 0);
      sums.set(time, top);
      return [time, top, base];
    });
    return { ...one, samples };
  });
}

function timeseries(panel, width, height) {
  const { defaults } = panel.fieldConfig;
  const isStacked = defaults.custom.stacking.mode === "normal";
  const named = seriesOf(panel);
  const list = isStacked ? stacked(named) : named;
  const isLong = named.map((one) => one.name).join("    ").length * 7 > width;
  const [left, right, top, bottom] = [64, 10, 6, 22];
  const [w, h] = [width - left - right, height - (isLong ? 44 : 26) - top - bottom];
  const values = list.flatMap((one) => one.samples.map(([, value]) => value).filter(isNumber));
  const steps = defaults.custom.thresholdsStyle.mode === "off" ? [] : defaults.thresholds.steps.slice(1);
  const highest = Math.max(...values, 0) || 1;
  // A threshold that is near is shown, one that is far away is not.
  const near = steps.filter((step) => step.value <= highest * 2.5);
  const limit = Math.max(highest, ...near.map((step) => step.value)) * 1.06;
  const x = (time) => at(left + ((time - since) / (until - since)) * w);
  const y = (value) => at(top + h - (value / limit) * h);
  const parts = [];
  for (const tick of niceTicks(limit, defaults.unit, 5)) {
    parts.push(`<path class="grid" d="M${left} ${y(tick)}H${left + w}"/>`);
    parts.push(`<text x="${left - 8}" y="${y(tick) + 4}" text-anchor="end">${formatted(tick, defaults.unit, undefined)}</text>`);
  }
  for (const tick of timeTicks(w)) {
    parts.push(`<path class="grid" d="M${x(tick)} ${top}V${top + h}"/>`);
    parts.push(`<text x="${x(tick)}" y="${top + h + 16}" text-anchor="middle">${clock(tick)}</text>`);
  }
  for (const [label, mark] of Object.entries(answers.marks?.[name] ?? {})) {
    const shade = colour(board.annotations.list.find((one) => one.name === label).iconColor);
    for (const moment of mark.filter((one) => one >= since && one <= until)) {
      parts.push(`<path d="M${x(moment)} ${top}V${top + h}" stroke="${shade}" stroke-dasharray="4 3"/>`);
      parts.push(`<path d="M${x(moment)} ${top + h}l-4 6h8z" fill="${shade}"/>`);
    }
  }
  for (const one of list) {
    for (const piece of pieces(one.samples)) {
      const line = piece.map(([time, value]) => `${x(time)} ${y(value)}`);
      const floor = piece.map(([time, , base]) => `${x(time)} ${y(base ?? 0)}`).reverse();
      parts.push(`<path d="M${line.join("L")}L${floor.join("L")}z" fill="${one.colour}" opacity="${defaults.custom.fillOpacity / 100}"/>`);
      parts.push(`<path d="M${line.join("L")}" fill="none" stroke="${one.colour}" stroke-width="1.6" stroke-linejoin="round"/>`);
    }
  }
  for (const step of near) {
    parts.push(`<path d="M${left} ${y(step.value)}H${left + w}" stroke="${colour(step.color)}" stroke-dasharray="8 6" opacity="0.8"/>`);
  }
  if (values.length === 0) parts.push(`<text class="none" x="${width / 2}" y="${height / 2 - 10}" text-anchor="middle">No data</text>`);
  return `<svg width="${width}" height="${top + h + bottom}">${parts.join("")}</svg>${legend(named)}`;
}

function stat(panel, width, height) {
  const { defaults } = panel.fieldConfig;
  const [one] = seriesOf(panel);
  const { text, colour: shade } = shown(one ? last(one) : null, defaults);
  const h = height - HEAD;
  const size = Math.min(34, (width - 24) / (text.length * 0.56));
  return { shade, html: `<div class="stat" style="font-size:${at(size)}px;height:${h - 6}px">${escaped(text)}</div>` };
}

function timeline(panel, width, height) {
  const { defaults } = panel.fieldConfig;
  const list = seriesOf(panel);
  const [left, right, bottom] = [86, 10, 22];
  const [w, h] = [width - left - right, height - 30 - bottom];
  const each = h / Math.max(list.length, 1);
  const x = (time) => left + ((time - since) / (until - since)) * w;
  const parts = [];
  list.forEach((one, n) => {
    const y = n * each + each * 0.1;
    parts.push(`<text x="${left - 8}" y="${at(y + each * 0.4 + 4)}" text-anchor="end">${escaped(one.name)}</text>`);
    let begin = 0;
    const samples = one.samples;
    for (let end = 1; end <= samples.length; end += 1) {
      if (end < samples.length && samples[end][1] === samples[begin][1]) continue;
      const { text, colour: shade } = shown(samples[begin][1], defaults);
      const from = x(samples[begin][0]);
      const to = x(end < samples.length ? samples[end][0] : samples[end - 1][0]);
      parts.push(`<rect x="${at(from)}" y="${at(y)}" width="${at(Math.max(to - from, 1))}" height="${at(each * 0.8)}" fill="${shade}" opacity="0.85"/>`);
      if (to - from > 52) parts.push(`<text class="in" x="${at(from + 6)}" y="${at(y + each * 0.4 + 4)}">${text}</text>`);
      begin = end;
    }
  });
  for (const tick of timeTicks(w)) parts.push(`<text x="${at(x(tick))}" y="${h + 16}" text-anchor="middle">${clock(tick)}</text>`);
  const words = Object.values(defaults.mappings[0].options).map(({ text, color }) => ({ name: text, colour: colour(color) }));
  return `<svg width="${width}" height="${h + bottom}">${parts.join("")}</svg>${legend(words)}`;
}

function bargauge(panel, width) {
  const { defaults } = panel.fieldConfig;
  const bars = seriesOf(panel).map((one) => {
    const value = last(one) ?? 0;
    const { text, colour: shade } = shown(value, defaults);
    const part = Math.min(1, value / defaults.max) * 100;
    return `<div class="bar"><b>${escaped(one.name)}</b><div><u style="width:${at(part)}%;background:${shade}"></u></div><em style="color:${shade}">${text}</em></div>`;
  });
  return `<div class="bars" style="width:${width - 24}px">${bars.join("")}</div>`;
}

function tableOf(panel) {
  const { renameByName, indexByName } = panel.transformations[1].options;
  const [by] = Object.keys(renameByName).filter((key) => !key.startsWith("Value #"));
  const columns = Object.keys(indexByName).filter((key) => key !== "Time").sort((a, b) => indexByName[a] - indexByName[b]);
  const rows = new Map();
  for (const one of seriesOf(panel)) {
    const key = one.labels[by];
    rows.set(key, { ...(rows.get(key) ?? { [by]: key }), [`Value #${one.refId}`]: last(one) });
  }
  const [sort] = panel.options.sortBy;
  const sortKey = columns.find((key) => renameByName[key] === sort.displayName);
  const order = (a, b) => (sort.desc ? (b[sortKey] ?? -1) - (a[sortKey] ?? -1) : String(a[sortKey]).localeCompare(String(b[sortKey])));
  const field = (title) => {
    const own = panel.fieldConfig.overrides.find(({ matcher }) => matcher.options === title)?.properties ?? [];
    return { ...panel.fieldConfig.defaults, ...Object.fromEntries(own.map(({ id, value }) => [id, value])) };
  };
  const cells = (row) => columns.map((key) => {
    if (key === by) return `<td class="${field(renameByName[by]).links ? "link" : ""}">${escaped(row[key])}</td>`;
    const own = field(renameByName[key]);
    if (row[key] === undefined || row[key] === null) return "<td></td>";
    const { text, colour: shade } = shown(row[key], own);
    const is = own["custom.cellOptions"]?.type === "color-background" && shade !== "transparent";
    return `<td class="${is ? "full" : ""}" style="${is ? `background:${shade}` : ""}">${escaped(text)}</td>`;
  });
  const head = columns.map((key) => `<th>${escaped(renameByName[key])}</th>`).join("");
  const body = [...rows.values()].sort(order).map((row) => `<tr>${cells(row).join("")}</tr>`);
  return `<table><tr>${head}</tr>${body.join("")}</table>`;
}

function drawn(panel) {
  const { x, y, w, h } = panel.gridPos;
  const [width, height] = [w * COLUMN + (w - 1) * GAP, h * ROW + (h - 1) * GAP];
  const place = `left:${at(EDGE + x * (COLUMN + GAP))}px;top:${at(TOP + y * (ROW + GAP))}px;width:${at(width)}px;height:${height}px`;
  if (panel.type === "row") return `<div class="row" style="${place}">⌄&ensp;${escaped(filled(panel.title))}</div>`;
  const title = `<h2>${escaped(filled(panel.title))}</h2>`;
  if (panel.type === "stat") {
    const { shade, html } = stat(panel, width, height);
    return `<div class="panel solid" style="${place};background:${shade === colour("text") ? "#34373e" : shade}">${title}${html}</div>`;
  }
  const inner = height - HEAD;
  const html = {
    timeseries: () => timeseries(panel, width, inner),
    "state-timeline": () => timeline(panel, width, inner),
    bargauge: () => bargauge(panel, width),
    table: () => tableOf(panel),
  }[panel.type]();
  return `<div class="panel" style="${place}">${title}${html}</div>`;
}

const TOP = 96;
const bottom = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
const chosen = board.templating.list.filter(({ hide }) => hide !== 2).map(({ label, name: key, multi }) => {
  const value = key === "datasource" ? "Prometheus" : key === "channel" && !multi ? answers.channel : "All";
  return `<label>${label}</label><kbd>${value}&ensp;⌄</kbd>`;
});
const range = `${new Date(since * 1000).toISOString().slice(0, 16).replace("T", " ")} to ${clock(until)} UTC`;
process.stdout.write(`<!doctype html><meta charset="utf-8"><title>${board.title}</title>
<style>${readFileSync(join(here, "look.css"), "utf8")}</style>
<body style="height:${TOP + bottom * (ROW + GAP) + 8}px">
<div class="top"><strong>${board.title}</strong><span>${range}</span></div>
<div class="variables">${chosen.join("")}</div>
${board.panels.map(drawn).join("\n")}
</body>
`);
