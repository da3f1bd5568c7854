// A small line chart over time.
import { useEffect, useRef, useState } from "react";
import uPlot from "uplot";

export interface Line {
  name: string;
  /** A colour of the style sheet. */
  color: string;
}

interface Props {
  title: string;
  lines: Line[];
  /** Seconds, and one list of values for each line; null where there is none. */
  data: [number[], ...(number | null)[][]];
  format: (v: number) => string;
  span: number;
}

export function Chart({ title, lines, data, format, span }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const latest = useRef(data);
  latest.current = data;
  const [theme, setTheme] = useState(0);
  useEffect(() => {
    const flip = () => setTheme((n) => n + 1);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    addEventListener("themechange", flip);
    dark.addEventListener("change", flip);
    return () => {
      removeEventListener("themechange", flip);
      dark.removeEventListener("change", flip);
    };
  }, []);
  const names = lines.map((l) => l.name).join();
  useEffect(() => {
    const element = box.current!;
    // A canvas knows no variables: their values are read through an element.
    const probe = document.createElement("i");
    element.append(probe);
    const color = (name: string) => {
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const made = new uPlot(
      {
        width: element.clientWidth || 300,
        height: 200,
        legend: { show: false },
        cursor: { y: false, points: { size: 7 } },
        scales: {
          x: { time: true, range: (_u, min, max) => [(max ?? 0) - Math.min(span, Math.max(30, (max ?? 0) - (min ?? 0))), max ?? 0] },
          y: { range: (_u, _min, max) => [0, max > 0 ? max * 1.15 : 1] },
        },
        axes: [
          { ...axis, grid: { show: false }, size: 30, values: (_u, at) => at.map((t) => new Date(t * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" })), space: 90 },
          { ...axis, size: 62, values: (_u, at) => at.map(format) },
        ],
        series: [{}, ...lines.map((l) => ({ label: l.name, stroke: color(l.color), width: 2, points: { show: false } }))],
      },
      latest.current as uPlot.AlignedData,
      element,
    );
    probe.remove();
    plot.current = made;
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: 200 }));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, [theme, names, span]);
  useEffect(() => plot.current?.setData(data as uPlot.AlignedData), [data]);
  const said = lines.map((l, i) => {
    const values = data[i + 1]!;
    const last = values[values.length - 1];
    return { ...l, text: last === null || last === undefined ? "–" : format(last) };
  });
  return (
    <section className="card" aria-label={title}>
      <h2>{title}</h2>
      <p className="legend">
        {said.map((l, i) => (
          <span key={l.name}>
            <i className={`key k${i}`} aria-hidden="true" />
            {l.name} {l.text}
          </span>
        ))}
      </p>
      <div className="chart-box" ref={box} role="img" aria-label={`${title} over the last minutes. Now: ${said.map((l) => `${l.name} ${l.text}`).join(", ")}`} />
    </section>
  );
}
