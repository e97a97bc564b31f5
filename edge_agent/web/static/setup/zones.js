// Zones of any number of corners, drawn over the picture with mouse, finger or keyboard.

import { make, makeSvg } from "../common.js";
import { handle, placeOn, rounded } from "../corner.js";

const RADIUS_PX = 9;
const middle = (a, b) => [0, 1].map((i) => rounded((a[i] + b[i]) / 2));

// Returns the drawing, to be laid over a picture, the list of zones, and `values`, the options they make.
export function drawing(ignored, named) {
  const zones = [
    ...ignored.map((corners) => ({ kind: "ignore", name: "", corners })),
    ...named.map(({ name, polygon }) => ({ kind: "alert", name, corners: polygon })),
  ];
  let open = -1;
  const svg = makeSvg("svg", {
    viewBox: "0 0 1 1", preserveAspectRatio: "none", role: "group", "aria-label": "Zones",
  });
  const list = make("div", {});

  function draw(focus) {
    const area = svg.getBoundingClientRect();
    const [rx, ry] = [RADIUS_PX / Math.max(1, area.width), RADIUS_PX / Math.max(1, area.height)];
    svg.replaceChildren(
      ...zones.map(({ kind, corners }) => makeSvg("polygon", { points: corners.join(" "), class: kind })),
      ...(zones[open]?.corners ?? []).map((corner, number) => cornerOf(corner, number, { rx, ry })),
    );
    list.replaceChildren(...zones.map(row), add);
    if (focus) [...svg.querySelectorAll("ellipse"), ...list.querySelectorAll("[data-focus]")]
      .find((one) => one.dataset.focus === focus)?.focus();
  }

  function cornerOf(at, number, size) {
    const named = { "data-focus": `corner ${number}`, "aria-label": `Zone ${open + 1}, corner ${number + 1}` };
    const corner = handle(at, svg, { class: "corner", ...size, ...named }, {
      move: (to) => {
        zones[open].corners[number] = to;
        draw(`corner ${number}`);
      },
      remove: () => {
        zones[open].corners.splice(number, 1);
        draw(`corner ${Math.max(0, number - 1)}`);
      },
    });
    corner.addEventListener("click", (event) => event.stopPropagation());
    return corner;
  }

  function row(zone, number) {
    const kind = make("select", { "aria-label": `Kind of zone ${number + 1}` });
    for (const [value, text] of [["ignore", "to ignore"], ["alert", "for alerts"]]) {
      const option = make("option", { value }, text);
      option.selected = value === zone.kind;
      kind.append(option);
    }
    kind.addEventListener("change", () => {
      zone.kind = kind.value;
      zone.name ||= `zone-${number + 1}`;
      draw();
    });
    const name = make("input", { value: zone.name, "aria-label": `Name of zone ${number + 1}` });
    name.hidden = zone.kind === "ignore";
    name.addEventListener("input", () => (zone.name = name.value.trim()));
    const corners = make("span", { class: "quiet" }, `${zone.corners.length} corners`);
    const button = (text, work, key) => {
      const one = make("button", { type: "button", "aria-label": `${text} of zone ${number + 1}`, "data-focus": key });
      one.textContent = text;
      one.addEventListener("click", work);
      return one;
    };
    const change = button("Change", () => {
      open = open === number ? -1 : number;
      draw(`change ${number}`);
    }, `change ${number}`);
    const more = button("Add a corner", () => {
      const { corners: all } = zone;
      open = number;
      all.push(all.length > 1 ? middle(all.at(-1), all[0]) : [0.5, rounded(0.3 + 0.2 * all.length)]);
      draw(`corner ${all.length - 1}`);
    });
    const remove = button("Remove", () => {
      zones.splice(number, 1);
      open = -1;
      draw("add");
    });
    const parts = [make("strong", {}, `Zone ${number + 1}`), kind, name, corners, change, more, remove];
    return make("div", { class: number === open ? "zone open" : "zone" }, make("p", { class: "row" }, ...parts));
  }

  const add = make("button", { type: "button", "data-focus": "add" }, "Add a zone");
  add.addEventListener("click", () => {
    open = zones.push({ kind: "ignore", name: "", corners: [] }) - 1;
    draw(`change ${open}`);
  });
  svg.addEventListener("click", (event) => {
    if (open < 0) open = zones.push({ kind: "ignore", name: "", corners: [] }) - 1;
    zones[open].corners.push(placeOn(svg, event));
    draw();
  });
  new ResizeObserver(() => draw()).observe(svg);

  const values = () => ({
    "faces.ignore_zones": zones.filter(({ kind }) => kind === "ignore").map(({ corners }) => corners),
    zones: zones.filter(({ kind }) => kind === "alert").map(({ name, corners }) => ({ name, polygon: corners })),
  });
  return { svg, list, values };
}
