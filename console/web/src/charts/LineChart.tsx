import "uplot/dist/uPlot.min.css";

import { useComputedColorScheme } from "@mantine/core";
import { useEffect, useRef } from "react";
import uPlot from "uplot";

import { utc, utcTick } from "../format/times";
import styles from "./LineChart.module.css";
import type { LineChartProps, Series } from "./series";

const NONE: number[] = [];

/** Lines over time or over episodes, drawn on a canvas; the pointer reads values off. */
export default function LineChart({ label, x, series, time = false, height = 220, write, low, high, marks = NONE, bare = false }: LineChartProps) {
  const frame = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme("light");

  useEffect(() => {
    const node = frame.current;
    if (node === null) return;
    const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = {
      stroke: colour("--muted"),
      font,
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
    };
    const chart = new uPlot(
      {
        width: node.clientWidth,
        height,
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        padding: [8, 18, 0, 0],
        cursor: { points: { size: 7 }, drag: { x: false, y: false } },
        legend: { show: !bare, markers: { fill: (_, at) => colour(series[at - 1]?.colour ?? "--muted") } },
        scales: {
          x: { time, ...(!time && { range: (_, from, to) => [Math.min(from, 1), Math.max(to, 2)] as [number, number] }) },
          y: { range: (_, from, to) => yRange(from, to, low, high) },
        },
        axes: [
          {
            ...axis,
            size: 26,
            ...(time
              ? { values: (_, ticks, _axis, _space, increment) => ticks.map((at) => utcTick(at, increment)) }
              : { incrs: [1, 2, 5, 10, 20, 50] }),
          },
          { ...axis, size: (_, ticks) => widthOf(ticks), values: (_, ticks) => ticks.map(write) },
        ],
        series: [
          {
            label: time ? "UTC" : "episode",
            value: (_, at: number | null) => xText(at ?? x.at(-1) ?? null, time),
          },
          ...series.map((one) => drawn(one, colour, write)),
        ],
        hooks: {
          drawClear: [
            (plot) => {
              plot.ctx.save();
              plot.ctx.strokeStyle = colour("--line-strong");
              plot.ctx.setLineDash([4, 4]);
              plot.ctx.lineWidth = devicePixelRatio;
              for (const at of marks) {
                const y = plot.valToPos(at, "y", true);
                plot.ctx.beginPath();
                plot.ctx.moveTo(plot.bbox.left, y);
                plot.ctx.lineTo(plot.bbox.left + plot.bbox.width, y);
                plot.ctx.stroke();
              }
              plot.ctx.restore();
            },
          ],
        },
      },
      [x, ...series.map((one) => one.values)] as uPlot.AlignedData,
      node,
    );
    const watch = new ResizeObserver(() => chart.setSize({ width: node.clientWidth, height }));
    watch.observe(node);
    return () => {
      watch.disconnect();
      chart.destroy();
    };
  }, [scheme, x, series, time, height, write, low, high, marks, bare]);

  return <div ref={frame} className={styles.chart} role="img" aria-label={label} />;
}

function drawn(one: Series, colour: (name: string) => string, write: (value: number) => string): uPlot.Series {
  return {
    label: one.name,
    stroke: colour(one.colour),
    width: one.width ?? 1.75,
    ...(one.dash !== undefined && { dash: one.dash }),
    ...(one.area === true && { fill: `${colour(one.colour)}26` }),
    ...(one.stepped === true && uPlot.paths.stepped !== undefined && { paths: uPlot.paths.stepped({ align: 1 }) }),
    points: { show: one.points ?? false, size: 5, fill: colour(one.colour) },
    value: (_, value: number | null) => {
      // Away from the pointer stands the newest one.
      const shown = value ?? one.values.at(-1) ?? null;
      return shown === null ? "" : write(shown);
    },
  };
}

function xText(at: number | null, time: boolean): string {
  if (at === null) return "";
  return time ? utc(new Date(at * 1000).toISOString()) : String(at);
}

/** Room for the longest number of an axis; before the first drawing there is none. */
function widthOf(ticks: string[] | null): number {
  return 14 + 6.4 * Math.max(0, ...(ticks ?? []).map((text) => text.length));
}

/** All that is drawn with a little room; bounds that are given are kept to. */
function yRange(from: number, to: number, low: number | undefined, high: number | undefined): [number, number] {
  const [start, end] = [low ?? from, high ?? to];
  const room = 0.08 * (end - start || Math.abs(end) || 1);
  return [low ?? start - room, high ?? end + room];
}
