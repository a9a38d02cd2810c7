// How Grafana writes numbers of a unit, and which colour a number has.

const COLOURS = {
  green: "#73bf69", yellow: "#fade2a", orange: "#ff9830", red: "#f2495c", blue: "#5794f2", purple: "#b877d9",
  "dark-green": "#37872d", "dark-yellow": "#e0b400", "dark-orange": "#fa6400", "semi-dark-red": "#e02f44",
  text: "#9fa3ad", transparent: "transparent",
};
const PALETTE = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0", "#37872d", "#fa6400"];

export const colour = (name) => COLOURS[name] ?? name;
export const paletteColour = (n) => PALETTE[n % PALETTE.length];

function scaled(value, base, names) {
  let [left, n] = [value, 0];
  while (Math.abs(left) >= base && n < names.length - 1) {
    left /= base;
    n += 1;
  }
  return [left, names[n]];
}

function rounded(value, decimals) {
  if (decimals !== undefined) return value.toFixed(decimals);
  const size = Math.abs(value);
  if (size === 0 || (Number.isInteger(value) && size < 10000)) return String(value);
  if (size >= 100) return value.toFixed(0);
  return String(Number(value.toPrecision(size >= 10 ? 3 : 3)));
}

function seconds(value, decimals) {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 0.001) return `${rounded(value * 1e6, decimals ?? 0)} µs`;
  if (size < 1) return `${rounded(value * 1e3, decimals === 0 ? 0 : decimals)} ms`;
  if (size < 60) return `${rounded(value, decimals)} s`;
  if (size < 3600) return `${rounded(value / 60, decimals)} min${rounded(value / 60, decimals) === "1" ? "" : "s"}`;
  if (size < 86400) return `${rounded(value / 3600, decimals)} hours`;
  return `${rounded(value / 86400, decimals)} days`;
}

/** A number with its unit; `decimals` where the panel says how many. */
export function formatted(value, unit, decimals) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  const bytes = ["B", "KiB", "MiB", "GiB", "TiB"];
  const with_ = ([left, name], suffix = "") => `${rounded(left, decimals)}${name ? ` ${name}` : ""}${suffix}`;
  switch (unit) {
    case "s": return seconds(value, decimals);
    case "bytes": return with_(scaled(value, 1024, bytes));
    case "Bps": return with_(scaled(value, 1000, ["B/s", "kB/s", "MB/s", "GB/s"]));
    case "percentunit": return `${rounded(value * 100, decimals)}%`;
    case "short": return with_(scaled(value, 1000, ["", "K", "Mil", "Bil"]));
    case "eps": return with_(scaled(value, 1000, ["", "K"]), " evt/s");
    case "reqps": return with_(scaled(value, 1000, ["", "K"]), " req/s");
    case "cps": return with_(scaled(value, 1000, ["", "K"]), " c/s");
    default: return rounded(value, decimals);
  }
}

/** Text and colour of a value, as mappings and thresholds of a field have them. */
export function shown(value, field) {
  if (value === null || value === undefined) return { text: field.noValue ?? "No data", colour: colour("text") };
  let name = field.thresholds?.steps[0].color ?? "text";
  for (const step of field.thresholds?.steps ?? []) if (step.value === null || value >= step.value) name = step.color;
  let text = formatted(value, field.unit, field.decimals);
  for (const mapping of field.mappings ?? []) {
    const hit = mapping.type === "value" ? mapping.options[String(value)] : undefined;
    if (hit) {
      text = hit.text;
      name = hit.color ?? name;
    }
  }
  return { text, colour: colour(name) };
}
