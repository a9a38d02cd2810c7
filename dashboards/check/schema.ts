// What a dashboard's JSON has to be, after Grafana's own types (@grafana/grafana-foundation-sdk).
//
// The SDK's types leave a panel's options, its `custom` field configuration and overrides open, and its enumerations do
// not take the strings that stand in JSON. Here each type of panel that we use has its own options, and everything
// else is as strict: a key that Grafana does not know is an error, and so is one that it needs and that is missing.

import type * as bargauge from "@grafana/grafana-foundation-sdk/bargauge";
import type * as common from "@grafana/grafana-foundation-sdk/common";
import type * as dashboard from "@grafana/grafana-foundation-sdk/dashboard";
import type * as prometheus from "@grafana/grafana-foundation-sdk/prometheus";
import type * as stat from "@grafana/grafana-foundation-sdk/stat";
import type * as statetimeline from "@grafana/grafana-foundation-sdk/statetimeline";
import type * as table from "@grafana/grafana-foundation-sdk/table";
import type * as timeseries from "@grafana/grafana-foundation-sdk/timeseries";

type IsAny<T> = 0 extends 1 & T ? true : false;

/** A type of the SDK as JSON has it: strings for enumerations, and nothing that is only there for its builders. */
type Plain<T> = IsAny<T> extends true ? unknown
  : T extends string ? `${T}`
  : T extends number | boolean | null | undefined ? T
  : T extends readonly (infer One)[] ? Plain<One>[]
  : T extends object ? { [K in keyof T as K extends "_implementsDataqueryVariant" ? never : K]: Plain<T[K]> }
  : T;

type Replaced<T, By> = { [K in keyof T as K extends keyof By ? never : K]: T[K] } & By;

type Field = Plain<Omit<dashboard.FieldConfig, "custom">>;

/** One property that an override sets: a key of the field configuration, or of the panel type's own part of it. */
type Property<Custom> =
  | { [K in keyof Field]-?: { id: K; value: Field[K] } }[keyof Field]
  | { [K in keyof Custom & string]-?: { id: `custom.${K}`; value: Plain<Custom[K]> } }[keyof Custom & string];

interface Matcher {
  id: "byName" | "byRegexp" | "byFrameRefID";
  options: string;
}

type Fields<Custom> = {
  defaults: Field & (Custom extends null ? { custom?: never } : { custom: Plain<Custom> });
  overrides: { matcher: Matcher; properties: Property<Custom extends null ? {} : Custom>[] }[];
};

/** The transformations that we use, as Grafana's transformers take them. */
type Transformation =
  | { id: "merge"; options: {} }
  | {
      id: "organize";
      options: {
        excludeByName: Record<string, boolean>;
        includeByName: Record<string, boolean>;
        indexByName: Record<string, number>;
        renameByName: Record<string, string>;
      };
    };

type Of<Type extends string, Options, Custom> = Replaced<Plain<dashboard.Panel>, {
  type: Type;
  id: number;
  title: string;
  description: string;
  datasource: Plain<common.DataSourceRef>;
  gridPos: Plain<dashboard.GridPos>;
  targets: Plain<prometheus.Dataquery>[];
  options: Plain<Options>;
  fieldConfig: Fields<Custom>;
  transformations?: Transformation[];
}>;

type Panel =
  | Of<"bargauge", bargauge.Options, null>
  | Of<"stat", stat.Options, null>
  | Of<"state-timeline", statetimeline.Options, statetimeline.FieldConfig>
  | Of<"table", table.Options, table.FieldConfig>
  | Of<"timeseries", timeseries.Options, timeseries.FieldConfig>;

type Row = Replaced<Plain<dashboard.RowPanel>, { panels: Panel[] }>;

/** A variable's query, as the Prometheus data source takes it. */
type Query = string | { query: string; refId: string };

type Variable = Replaced<Plain<dashboard.VariableModel>, { query: Query }>;

/** A whole dashboard. */
export type Dashboard = Replaced<Plain<dashboard.Dashboard>, {
  uid: string;
  title: string;
  panels: (Panel | Row)[];
  templating: { list: Variable[] };
}>;
