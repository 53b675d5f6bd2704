
// The page of `embedry map`.

const { texts, columns, groups, scale } = data;
const points = floats(data.points); // x and y by turns
const lowest = [Infinity, Infinity], size = [-Infinity, -Infinity];
points.forEach((value, index) => { lowest[index % 2] = Math.min(lowest[index % 2], value); });
points.forEach((value, index) => { size[index % 2] = Math.max(size[index % 2], value - lowest[index % 2]); });
const edge = Math.max(...size) * 0.04 || 1;
const spot = index => [points[2 * index] - lowest[0] + edge, points[2 * index + 1] - lowest[1] + edge];

const SHADES = 64; // of a scale
const rest = groups ? groups.names.length : SHADES;
const shades = groups
  ? groups.labels.map(label => (label < 0 ? rest : label))
  : Array.from(floats(scale.values), value => (isNaN(value) ? rest : shadeOf(value)));
const order = texts.map((_, index) => index).sort((a, b) => level(a) - level(b)); // small groups are drawn above large ones

let found = null; // the set of texts that match what is searched
let raised = null; // the group whose line in the legend is pointed at
let here = []; // texts where a click was, of which the one at `turn` is pinned
let turn = 0;
let pointed = [];
const hidden = new Set();

function shadeOf(value) {
  const part = scale.high > scale.low ? (value - scale.low) / (scale.high - scale.low) : 0.5;
  return Math.round(Math.min(Math.max(part, 0), 1) * (SHADES - 1));
}

function level(index) { return shades[index] === rest ? -1 : groups ? shades[index] : 0; }

/** The part of the scale's colors that stands out from the ground. */
const shown = part => between(scale.stops, dark.matches ? 0.2 + 0.8 * part : 0.9 * part);

/** Red, green and blue of "#rrggbb", and of "#rgb". */
function channels(hex) {
  const digits = hex.length > 4 ? hex.slice(1) : hex.slice(1).replace(/./g, "$&$&");
  return [0, 2, 4].map(start => parseInt(digits.slice(start, start + 2), 16));
}

function color(shade) {
  if (shade === rest) return channels(look("rest"));
  return groups ? channels((dark.matches ? groups.dark : groups.light)[shade]) : shown(shade / (SHADES - 1));
}

const swatch = shade => make("span", { class: "dot", style: `background:rgb(${color(shade)})` });

/** Pixels, so that many dots stay apart and few are easy to hit; they grow a little as the map is zoomed. */
function radius() {
  const room = (plane.width * plane.height / texts.length) ** 0.5;
  return Math.min(Math.max(room / 4, 1.5), 6) * Math.min(Math.max(plane.zoom, 1) ** 0.3, 2.4);
}

const isBright = index => (found ? found.has(index) : raised === null || shades[index] === raised);

/** Blends the dots into pixels, which for many thousands is faster than drawing each on the canvas. */
function drawDots(context) {
  const { width, height } = plane.canvas, image = context.createImageData(width, height), pixels = image.data;
  const ground = channels(look("panel")), colors = Array.from({ length: rest + 1 }, (_, shade) => color(shade));
  new Uint32Array(pixels.buffer).fill(new Uint32Array(Uint8Array.of(...ground, 255).buffer)[0]);
  const size = radius() * devicePixelRatio, reach = Math.ceil(size), side = 2 * reach + 1;
  const covered = Float32Array.from({ length: side * side }, (_, at) =>
    Math.min(Math.max(size + 0.5 - Math.hypot(at % side - reach, Math.floor(at / side) - reach), 0), 1));
  for (const bright of [false, true]) {
    const opacity = !bright ? 0.1 : found ? 1 : texts.length > 2000 ? 0.65 : 0.85;
    for (const index of order) {
      if (hidden.has(shades[index]) || isBright(index) !== bright) continue;
      const [left, top] = plane.pixel(...spot(index)).map(value => Math.round(value * devicePixelRatio) - reach);
      const [red, green, blue] = colors[shades[index]];
      for (let y = Math.max(0, -top); y < Math.min(side, height - top); y++) {
        for (let x = Math.max(0, -left); x < Math.min(side, width - left); x++) {
          const alpha = covered[y * side + x] * opacity, at = 4 * ((top + y) * width + left + x);
          pixels[at] += (red - pixels[at]) * alpha;
          pixels[at + 1] += (green - pixels[at + 1]) * alpha;
          pixels[at + 2] += (blue - pixels[at + 2]) * alpha;
        }
      }
    }
  }
  context.putImageData(image, 0, 0);
}

function draw(context) {
  drawDots(context);
  if (groups?.written) drawNames(context);
  for (const index of pointed) ring(context, index, 1.5);
  if (here.length) ring(context, here[turn], 2.5);
}

function ring(context, index, width) {
  context.beginPath();
  context.arc(...plane.pixel(...spot(index)), radius() + 2.5, 0, 7);
  context.lineWidth = width;
  context.strokeStyle = look("ink");
  context.stroke();
}

/** Names of groups in the middle of each, the largest first; one that would cover another is left out. */
function drawNames(context) {
  context.font = `620 13px ${look("sans")}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  context.lineWidth = 4;
  context.strokeStyle = look("panel");
  context.fillStyle = look("ink");
  const taken = [];
  groups.names.forEach((name, group) => {
    if (hidden.has(group)) return;
    const words = name.split(", ").slice(0, 2).join(", ");
    const [middle, under] = plane.pixel(...spot(groups.middles[group])), half = context.measureText(words).width / 2 + 4;
    const y = under - radius() - 9; // above the point, for a small group would vanish under its name
    if (middle < 0 || middle > plane.width) return;
    const x = Math.min(Math.max(middle, half), plane.width - half);
    if (taken.some(other => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < 18)) return;
    taken.push({ x, y, half });
    context.globalAlpha = found || (raised !== null && raised !== group) ? 0.3 : 1;
    context.strokeText(words, x, y);
    context.fillText(words, x, y);
  });
  context.globalAlpha = 1;
}

/** Texts within reach of a pixel, the nearest first. */
function near(x, y, reach) {
  const [placeX, placeY] = plane.place(x, y), most = (Math.max(reach, radius()) / plane.scale) ** 2;
  const hits = [];
  for (let index = 0; index < texts.length; index++) {
    if (hidden.has(shades[index])) continue;
    const [atX, atY] = spot(index), gap = (atX - placeX) ** 2 + (atY - placeY) ** 2;
    if (gap <= most) hits.push([gap, index]);
  }
  return hits.sort((a, b) => a[0] - b[0]).map(([, index]) => index);
}

/** The columns of a text that have a value. */
const valued = index => columns.map(([name, values]) => [name, values[index]]).filter(([, value]) => value);

const SHOWN = 3; // texts in the tip
const FEW = 4; // columns there

function hover(x, y) {
  const hits = x === undefined ? [] : near(x, y, 6);
  plane.canvas.classList.toggle("hit", hits.length > 0);
  if (hits.length || pointed.length) plane.changed();
  pointed = hits.slice(0, SHOWN);
  const { left, top } = plane.canvas.getBoundingClientRect();
  const items = pointed.map(index => make("div", {},
    make("p", { class: "words" }, texts[index]),
    ...valued(index).slice(0, FEW).map(([name, value]) =>
      make("p", { class: "words quiet" }, make("b", {}, name), ` ${value}`))));
  const more = hits.length - pointed.length;
  tip({ x: left + x, y: top + y }, ...items, ...(more ? [make("p", { class: "quiet" }, `and ${whole(more)} more here`)] : []));
}

/** Pins one of the texts that are at a place; none for an empty list. */
function pin(indices, which = 0) {
  here = indices;
  turn = which;
  plane.changed();
  $("pinned").hidden = !here.length;
  if (!here.length) return;
  const index = here[turn], text = make("p", { class: "text" }, texts[index]);
  const bar = make("div", { class: "bar" }, make("h2", {}, here.length > 1 ? `${turn + 1} of ${whole(here.length)} here` : "Pinned"));
  if (here.length > 1) bar.append(button({}, () => pin(here, (turn + 1) % here.length), "Next"));
  bar.append(copying("Copy text", texts[index], text), button({ "aria-label": "Unpin" }, () => pin([]), "✕"));
  const facts = valued(index);
  $("pinned").replaceChildren(bar, text, ...(facts.length
    ? [make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]))] : []));
  $("lists").scrollTop = 0;
}

function goTo(index) {
  if (hidden.delete(shades[index])) legend();
  pin([index]);
  const closer = Math.min(Math.max(texts.length ** 0.5 / 8, 3), 12);
  plane.go(...spot(index), Math.max(plane.scale, plane.least * closer));
}

const LISTED = 100;

function search(wanted) {
  const hits = wanted ? texts.flatMap((text, index) => (text.toLowerCase().includes(wanted) ? [index] : [])) : [];
  found = wanted ? new Set(hits) : null;
  $("count").textContent = wanted ? `${whole(hits.length)} of ${whole(texts.length)} match` : "";
  $("found").hidden = !hits.length;
  $("found").querySelector("h2").textContent = hits.length > LISTED ? `The first ${LISTED} hits` : "Hits";
  $("found").querySelector("ol").replaceChildren(...hits.slice(0, LISTED).map(index => make("li", {},
    button({ class: "line" }, () => goTo(index),
      swatch(shades[index]),
      make("span", { class: "words" }, ...excerpt(texts[index], wanted))))));
  plane.changed();
}

const rough = number => number.toLocaleString("en", { maximumSignificantDigits: 4, useGrouping: "min2" }); // 1998, 12,350

function legend() {
  if (scale) {
    const steps = [0, 0.25, 0.5, 0.75, 1].map(part => `rgb(${shown(part)})`);
    $("legend").replaceChildren(make("h2", {}, scale.name),
      make("div", { class: "ramp", style: `background:linear-gradient(90deg, ${steps})` }),
      make("p", { class: "ends" }, make("span", {}, `${rough(scale.low)} or less`), make("span", {}, `${rough(scale.high)} or more`)));
    return;
  }
  const sizes = new Array(rest + 1).fill(0);
  for (const shade of shades) sizes[shade]++;
  const lines = [...groups.names, groups.rest].flatMap((name, group) => {
    if (!sizes[group]) return [];
    const line = button({ class: "line", "aria-pressed": !hidden.has(group), title: "Show or hide" }, () => {
      if (!hidden.delete(group)) hidden.add(group);
      line.setAttribute("aria-pressed", !hidden.has(group));
      plane.changed();
    }, swatch(group), make("span", { class: "words" }, name),
      make("span", { class: "size" }, whole(sizes[group])));
    for (const [event, value] of [["pointerenter", group], ["pointerleave", null]]) {
      line.addEventListener(event, ({ pointerType }) => {
        raised = pointerType === "mouse" && !hidden.has(group) ? value : null;
        plane.changed();
      });
    }
    return [make("li", {}, line)];
  });
  $("legend").replaceChildren(make("h2", {}, groups.title), make("ol", {}, ...lines));
}

const plane = new Plane([size[0] + 2 * edge, size[1] + 2 * edge], {
  margin: () => [0, 40], // for the buttons
  draw, hover, tap: (x, y, reach) => pin(near(x, y, reach)),
});
addEventListener("keydown", event => { if (event.key === "Escape") pin([]); });
searching(search, () => { if (found?.size) goTo([...found][0]); });
dark.addEventListener("change", () => { legend(); search($("search").value.trim().toLowerCase()); });
legend();
