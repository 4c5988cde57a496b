// The curves of a training run, as its JSON endpoint gives them (training/runs/curves.py).

import type uPlot from "uplot";

/** A point: step, epoch and seconds, then the columns that METRIC, SAMPLE and VALIDATION_LOSS of chart.js name. */
export type Row = [step: number, epoch: number, seconds: number, ...values: (number | null)[]];

export interface Points {
  metrics: Row[];
  validation: Row[];
  samples: Row[];
  checkpoint: Row[];
  /** by the seconds of the run instead of its steps */
  system: Row[];
}

/** What a request after a point gives; `best` is the step whose weights early stopping keeps, `order` the schema's fields. */
export interface CurvesResponse extends Points {
  last: number;
  attempt: number;
  live: boolean;
  best: number | null;
  order?: string[];
}

/** What a page knows of the curves of a run; `last` is the last point it has. */
export interface RunCurves {
  url: string;
  last: number;
  attempt: number | undefined;
  live: boolean;
  best: number | null;
  order: string[];
  points: Points;
}

export interface Series {
  name: string;
  /** which of the series colors, from 1 */
  tone: number;
  rows: Row[];
  value(row: Row): number | null | undefined;
  /** distinguished by it; the name where it is missing */
  id?: string;
  /** tokens up to a step, for the tokens axis */
  tokens?(step: number): number | null;
  smooth?: boolean;
  dots?: boolean;
  dash?: number[];
}

/** A horizontal axis. */
export interface Across {
  name: string;
  at(row: Row, series: Series): number | null | undefined;
  format(value: number): string;
  incrs?: number[];
  /** shown where no series has a value for it */
  missing?: string;
}

/** A checkpoint below the curves, or the best evaluation as a ring. */
export type Mark = { kind: "checkpoint"; x: number } | { kind: "best"; x: number; y: number };

export interface DrawOptions {
  smooth?: boolean;
  log?: boolean;
  across?: Across;
  marks?: Mark[];
  /** no more points will come */
  ended?: boolean;
}

export type Format = (value: number | null | undefined) => string;

export interface ChartOptions {
  sync: uPlot.SyncPubSub;
  number: Format;
  /** shown while there is no point */
  empty: string;
  range?: [number, number];
  height?: number;
  /** whether a key of the chart turns its series off */
  toggles?: boolean;
}
