// The kinds of panels that the dashboards are made of, each with everything that Grafana's schema asks for.
//
// A panel is made from { title, says, w, h, unit, steps, queries, ... }:
//   says      the description behind the "i": what is shown, and what it means when it is high;
//   steps     thresholds: a base colour, then pairs of value and colour, as ["green", 120, "yellow", 300, "red"];
//   queries   [expression, legend] each; they become A, B, C …;
//   runbook   names of alerts whose runbook pages the panel links to;
//   lines     true: thresholds that are drawn into a time series, too.

export const SOURCE = { type: "prometheus", uid: "${datasource}" };

/** Thresholds out of ["green", 120, "yellow", …]. */
function thresholds(steps) {
  const made = [{ color: steps[0], value: null }];
  for (let n = 1; n < steps.length; n += 2) made.push({ color: steps[n + 1], value: steps[n] });
  return { mode: "absolute", steps: made };
}

function targets(queries, form) {
  return queries.map(([expr, legend], n) => ({
    datasource: SOURCE,
    editorMode: "code",
    expr,
    format: form === "table" ? "table" : "time_series",
    instant: form !== "range",
    range: form === "range",
    ...(legend === undefined ? {} : { legendFormat: legend }),
    refId: String.fromCharCode(65 + n),
  }));
}

/** A link to another page; Grafana asks for every field. */
export function link(title, url, tooltip = "") {
  return {
    title, url, tooltip, type: "link", icon: "external link", tags: [],
    asDropdown: false, targetBlank: true, includeVars: false, keepTime: false,
  };
}

function runbooks(names) {
  return names.map((name) => link(`What to do: ${name}`, `\${runbooks}/${name}.md`));
}

/** What every panel has. */
function panel(type, one, form, options, custom, more = {}) {
  return {
    type,
    title: one.title,
    description: one.says,
    datasource: SOURCE,
    gridPos: { h: one.h, w: one.w, x: 0, y: 0 },
    ...(one.runbook ? { links: runbooks(one.runbook) } : {}),
    ...(one.transformations ? { transformations: one.transformations } : {}),
    targets: targets(one.queries, form),
    fieldConfig: {
      defaults: {
        unit: one.unit,
        ...(one.decimals === undefined ? {} : { decimals: one.decimals }),
        ...(one.min === undefined ? {} : { min: one.min }),
        ...(one.max === undefined ? {} : { max: one.max }),
        ...(one.none === undefined ? {} : { noValue: one.none }),
        mappings: one.mappings ?? [],
        thresholds: thresholds(one.steps),
        ...more,
        ...(custom === undefined ? {} : { custom }),
      },
      overrides: one.overrides ?? [],
    },
    options,
  };
}

/** Words instead of numbers: { 0: ["open", "green"], … }; `nan` stands for what is not a number. */
export function words({ nan, ...of }) {
  const options = Object.fromEntries(
    Object.entries(of).map(([value, [text, color]], index) => [value, { text, color, index }]),
  );
  const made = Object.keys(options).length > 0 ? [{ type: "value", options }] : [];
  if (nan) made.push({ type: "special", options: { match: "nan", result: { text: nan, color: "text", index: 99 } } });
  return made;
}

/** Colours of series by their name. */
export function colours(of) {
  return Object.entries(of).map(([name, fixedColor]) => ({
    matcher: { id: "byName", options: name },
    properties: [{ id: "color", value: { mode: "fixed", fixedColor } }],
  }));
}

/** How severe an event is has the same colour everywhere. */
export const SEVERITIES = colours({ critical: "red", warning: "orange", info: "blue" });

const LAST = { values: false, calcs: ["lastNotNull"], fields: "" };

/** As the ground of a whole panel the plain colours are too bright to read white on them. */
const GROUNDS = { green: "dark-green", yellow: "dark-yellow", orange: "dark-orange", red: "semi-dark-red" };

function grounds(mappings) {
  const ground = (result) => ({ ...result, color: GROUNDS[result.color] ?? result.color });
  return mappings.map(({ type, options }) => ({
    type,
    options: type === "value"
      ? Object.fromEntries(Object.entries(options).map(([value, result]) => [value, ground(result)]))
      : { ...options, result: ground(options.result) },
  }));
}

/**
 * One number, large, on its threshold's colour: the one of now. No line behind it, as a line needs a query over the whole
 * range, and the last number in it may be hours old: a relay that is gone would stay "up".
 */
export function stat(given) {
  const steps = given.steps.map((step) => GROUNDS[step] ?? step);
  const one = { ...given, steps, mappings: grounds(given.mappings ?? []) };
  return panel("stat", { w: 4, h: 4, ...one }, "instant", {
    graphMode: "none",
    colorMode: "background_solid",
    justifyMode: "center",
    textMode: "value",
    wideLayout: true,
    showPercentChange: false,
    percentChangeColorMode: "standard",
    orientation: "auto",
    reduceOptions: LAST,
    text: { valueSize: 34 },
  }, undefined, { color: { mode: "thresholds" } });
}

/** Lines over time; `stack: true` puts them on each other. */
export function series(one) {
  return panel("timeseries", { w: 12, h: 7, min: 0, ...one }, "range", {
    legend: { displayMode: "list", placement: "bottom", showLegend: true, calcs: [] },
    tooltip: { mode: "multi", sort: "desc" },
  }, {
    drawStyle: "line",
    lineInterpolation: "linear",
    lineWidth: 2,
    fillOpacity: one.stack ? 35 : 8,
    gradientMode: "none",
    showPoints: "never",
    spanNulls: false,
    stacking: { mode: one.stack ? "normal" : "none", group: "A" },
    thresholdsStyle: { mode: one.lines ? "dashed" : "off" },
    axisPlacement: "auto",
    axisLabel: one.axis ?? "",
    axisBorderShow: false,
  }, { color: { mode: "palette-classic" } });
}

/** What state something was in over time. */
export function states(one) {
  return panel("state-timeline", { w: 12, h: 7, ...one }, "range", {
    showValue: "auto",
    rowHeight: 0.8,
    mergeValues: true,
    alignValue: "left",
    legend: { displayMode: "list", placement: "bottom", showLegend: true, calcs: [] },
    tooltip: { mode: "single", sort: "none" },
  }, { fillOpacity: 80, lineWidth: 0 }, { color: { mode: "thresholds" } });
}

/** Bars from a minimum to a maximum, one a series. */
export function bars(one) {
  return panel("bargauge", { w: 8, h: 7, ...one }, "instant", {
    displayMode: "basic",
    valueMode: "color",
    namePlacement: "top",
    showUnfilled: true,
    sizing: "auto",
    minVizWidth: 8,
    minVizHeight: 16,
    maxVizHeight: 48,
    orientation: "horizontal",
    legend: { displayMode: "list", placement: "bottom", showLegend: false, calcs: [] },
    reduceOptions: LAST,
  }, undefined, { color: { mode: "thresholds" } });
}

/**
 * A table with a row for each value of the label `by`. Each column: { name, expr, unit, steps, mappings, decimals,
 * width }. `link`: where a click on the row's name leads.
 */
export function table(one) {
  const { by, columns } = one;
  const value = (n) => `Value #${String.fromCharCode(65 + n)}`;
  const indexByName = { Time: 0, [by.label]: 1 };
  const renameByName = { [by.label]: by.name };
  columns.forEach((column, n) => {
    indexByName[value(n)] = n + 2;
    renameByName[value(n)] = column.name;
  });
  const first = [{ id: "custom.width", value: by.width ?? 160 }];
  if (by.url) {
    first.push({ id: "links", value: [{ ...link(by.says, by.url), targetBlank: false }] });
  }
  const overrides = [{ matcher: { id: "byName", options: by.name }, properties: first }];
  for (const column of columns) {
    const properties = [{ id: "unit", value: column.unit }];
    if (column.decimals !== undefined) properties.push({ id: "decimals", value: column.decimals });
    if (column.width) properties.push({ id: "custom.width", value: column.width });
    if (column.mappings) properties.push({ id: "mappings", value: column.mappings });
    if (column.steps) {
      properties.push({ id: "thresholds", value: thresholds(column.steps) });
      properties.push({ id: "custom.cellOptions", value: { type: "color-background", mode: "basic" } });
    }
    overrides.push({ matcher: { id: "byName", options: column.name }, properties });
  }
  return panel("table", {
    w: 24, h: 7, unit: "short", ...one, overrides,
    queries: columns.map((column) => [column.expr]),
    transformations: [
      { id: "merge", options: {} },
      { id: "organize", options: { excludeByName: { Time: true }, indexByName, renameByName, includeByName: {} } },
    ],
  }, "table", {
    frameIndex: 0,
    showHeader: true,
    cellHeight: "sm",
    sortBy: [{ displayName: one.sort ?? by.name, desc: one.sort !== undefined }],
  }, { align: "auto", cellOptions: { type: "auto" }, inspect: false, filterable: false }, { color: { mode: "thresholds" } });
}
