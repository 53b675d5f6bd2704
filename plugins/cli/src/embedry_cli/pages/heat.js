
// The page of `embedry compare`: texts are rows; columns are the queries, or the same texts.

const { texts, queries, order, orders, low, high, stops } = data;
const columns = queries ?? texts;
const values = floats(data.values);
const valueOf = (row, column) => values[row * columns.length + column];
const isOwn = (row, column) => !queries && row === column; // a text beside itself says nothing
const partOf = value => (high > low ? (value - low) / (high - low) : 0.5);
const colors = Array.from({ length: 256 }, (_, index) => between(stops, index / 255));
const colorOf = value => colors[Math.round(Math.min(Math.max(partOf(value), 0), 1) * 255)];

// How many times wider than high a cell is: a few queries fill the window, but not when it is zoomed until rows can be read.
const broad = queries ? Math.min(Math.max(0.9 * texts.length / columns.length, 1), 20) : 1;
const given = texts.map((_, index) => index), givenColumns = columns.map((_, index) => index);
let rowAt, columnAt; // which text or query is at each place
let wanted = "";
let sign = 1; // of the pairs that are listed: the most alike, or -1 for the least
let pinned = null; // [row, column], as are all pairs here
let pointed = null;

const nameOf = (column, isColumn) => `${isColumn && queries ? "Q" : ""}${column + 1}`;
const isWanted = text => text.toLowerCase().includes(wanted);
let wantedRows, wantedColumns; // whether each has what is searched
const isFound = (row, column) => wantedRows[row] || wantedColumns[column];

const picture = document.createElement("canvas");
picture.width = columns.length;
picture.height = texts.length;

/** One pixel for each cell; the plane enlarges it. */
function paint() {
  const context = picture.getContext("2d"), image = context.createImageData(picture.width, picture.height);
  let at = 0;
  for (const row of rowAt) for (const column of columnAt) {
    for (const channel of colorOf(valueOf(row, column))) image.data[at++] = channel;
    image.data[at++] = isOwn(row, column) ? 0 : isFound(row, column) ? 255 : 40;
  }
  context.putImageData(image, 0, 0);
  plane.changed();
}

function draw(context) {
  const { left, top, width, height } = plane.window, [x, y] = plane.pixel(0, 0);
  const cell = { width: broad * plane.scale, height: plane.scale };
  const [first, last] = [plane.place(left, top), plane.place(left + width, top + height)];
  const visible = (all, from, to) => all.slice(Math.max(0, Math.floor(from)), Math.max(0, Math.ceil(to)));
  const rows = visible(given, first[1], last[1]), across = visible(givenColumns, first[0] / broad, last[0] / broad);

  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  context.fillStyle = look("sunk");
  context.fillRect(x, y, cell.width * columns.length, cell.height * texts.length);
  context.imageSmoothingEnabled = plane.scale < 1;
  context.drawImage(picture, x, y, cell.width * columns.length, cell.height * texts.length);
  if (cell.width >= 36 && cell.height >= 16) {
    context.font = `12px ${look("sans")}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const row of rows) for (const column of across) drawNumber(context, row, column, cell, x, y);
  }
  for (const [pair, line] of [[pointed, 1.5], [pinned, 3]]) {
    if (!pair) continue;
    const side = { width: Math.max(cell.width, 6), height: Math.max(cell.height, 6) };
    const [middleX, middleY] = plane.pixel(...middle(pair));
    for (const [color, extra] of [["panel", 2], ["ink", 0]]) { // seen on dark cells and on bright ones
      context.strokeStyle = look(color);
      context.lineWidth = line + extra;
      context.strokeRect(middleX - side.width / 2, middleY - side.height / 2, side.width, side.height);
    }
  }
  context.restore();

  context.font = `12px ${look("sans")}`;
  context.textBaseline = "middle";
  context.textAlign = "left";
  const stride = Math.ceil(15 / cell.height), beside = Math.max(0, x - left), above = Math.max(top, y) - 11;
  const digits = context.measureText(whole(texts.length)).width;
  const each = (places, count, kept) => places.filter(place => (place - kept) % count === 0); // with what is pinned among them
  for (const place of each(rows, stride, pinned ? rowAt.indexOf(pinned[0]) : 0)) {
    const at = y + (place + 0.5) * cell.height;
    if (at > top + 6) label(context, nameOf(rowAt[place]), texts[rowAt[place]], 10 + beside, at, left - 18, digits);
  }
  const step = Math.ceil(30 / cell.width);
  for (const place of each(across, step, pinned ? columnAt.indexOf(pinned[1]) : 0)) {
    const at = Math.max(x + place * cell.width, left), room = Math.min(x + (place + step) * cell.width, plane.width) - at;
    if (room > 26) label(context, nameOf(columnAt[place], true), columns[columnAt[place]], at + 3, above, room - 8);
  }
}

function drawNumber(context, row, column, cell, x, y) {
  const pair = [rowAt[row], columnAt[column]], value = valueOf(...pair), [red, green, blue] = colorOf(value);
  context.fillStyle = isOwn(...pair) || !isFound(...pair) ? look("soft") : 0.299 * red + 0.587 * green + 0.114 * blue > 115 ? "#000" : "#fff";
  context.fillText(value.toFixed(2), x + (column + 0.5) * cell.width, y + (row + 0.5) * cell.height + 0.5);
}

/** A number, in a column of `digits` pixels, and as much of its text as there is room for. */
function label(context, name, text, x, y, room, digits = 0) {
  const width = context.measureText(name).width, start = Math.max(digits, width) + 8;
  context.fillStyle = look("soft");
  context.fillText(name, x + start - 8 - width, y);
  if (room - start < 30) return;
  const words = text.slice(0, 150).replace(/\s+/g, " ");
  let length = words.length;
  const shown = () => (length < words.length ? `${words.slice(0, length).trimEnd()}…` : words);
  while (length && context.measureText(shown()).width > room - start) length -= Math.ceil(length / 12);
  context.fillStyle = look(wanted && isWanted(text) ? "accent" : "ink");
  context.fillText(shown(), x + start, y);
}

/** The place of a pair in the plane. */
const middle = ([row, column]) => [(columnAt.indexOf(column) + 0.5) * broad, rowAt.indexOf(row) + 0.5];

/** The pair at a pixel; null where there is none. */
function pairAt(px, py) {
  const { left, top } = plane.window;
  if (px === undefined || px < left || py < top) return null;
  const [x, y] = plane.place(px, py), row = rowAt[Math.floor(y)], column = columnAt[Math.floor(x / broad)];
  return row === undefined || column === undefined ? null : [row, column];
}

function hover(x, y) {
  const pair = pairAt(x, y);
  plane.canvas.classList.toggle("hit", pair !== null);
  if (pair || pointed) plane.changed();
  pointed = pair;
  if (!pair) return tip({ x: 0, y: 0 });
  const { left, top } = plane.canvas.getBoundingClientRect(), [row, column] = pair;
  const both = isOwn(row, column) ? [named(row)] : [named(column, true), named(row)];
  tip({ x: left + x, y: top + y }, make("b", {}, valueOf(row, column).toFixed(3)), ...both.map(children => make("p", { class: "words" }, ...children)));
}

const named = (index, isColumn) => [make("b", { class: "quiet" }, `${nameOf(index, isColumn)} `), (isColumn ? columns : texts)[index]];

function pin(pair) {
  pinned = pair;
  plane.changed();
  $("pinned").hidden = !pair;
  if (!pair) return;
  const [row, column] = pair, both = isOwn(row, column) ? [texts[row]] : [columns[column], texts[row]];
  const shown = make("div", {}, ...both.map(text => make("p", { class: "text" }, text)));
  const name = isOwn(row, column) ? nameOf(row) : `${nameOf(column, true)} and ${nameOf(row)}`;
  $("pinned").replaceChildren(
    make("div", { class: "bar" }, make("h2", {}, name), copying(both.length > 1 ? "Copy texts" : "Copy text", both.join("\n"), shown),
      button({ "aria-label": "Unpin" }, () => pin(null), "✕")),
    make("p", { class: "number" }, valueOf(row, column).toFixed(3)), shown);
  $("lists").scrollTop = 0;
}

const LISTED = 100;

/** The pairs that are the most alike, or the least, of those of which a text has what is searched. */
function extremes() {
  const best = [];
  for (let row = 0; row < texts.length; row++) for (let column = queries ? 0 : row + 1; column < columns.length; column++) {
    const rank = sign * valueOf(row, column);
    if (!isFound(row, column) || (best.length === LISTED && rank <= best[LISTED - 1].rank)) continue;
    const at = best.findIndex(each => each.rank < rank);
    best.splice(at < 0 ? best.length : at, 0, { rank, pair: [row, column] });
    best.length = Math.min(best.length, LISTED);
  }
  return best.map(({ pair }) => pair);
}

function goTo(pair) {
  pin(pair);
  plane.go(...middle(pair), Math.max(plane.scale, queries ? 16 : 40)); // pixels that a number needs
}

function list() {
  const pairs = extremes();
  $("found").hidden = !pairs.length;
  $("found").querySelector("ol").replaceChildren(...pairs.map(pair => make("li", {},
    button({ class: "line pair" }, () => goTo(pair),
      make("span", { class: "value" }, valueOf(...pair).toFixed(3)),
      make("span", { class: "words" }, ...excerpt(columns[pair[1]], wanted)),
      make("span", { class: "words" }, ...excerpt(texts[pair[0]], wanted))))));
  return pairs;
}

function search(typed) {
  wanted = typed;
  wantedRows = texts.map(isWanted);
  wantedColumns = columns.map(isWanted);
  const all = queries ? [...wantedRows, ...wantedColumns] : wantedRows;
  $("count").textContent = wanted ? `${whole(all.filter(Boolean).length)} of ${whole(all.length)} match` : "";
  paint();
  list();
}

/** Radio buttons: `choose` gets the position of the one that is chosen. */
function choice(name, labels, choose) {
  return make("div", { class: "choice", role: "radiogroup", "aria-label": name }, ...labels.map((text, index) => {
    const input = make("input", { type: "radio", name, ...(index ? {} : { checked: "" }) });
    input.addEventListener("change", () => choose(index));
    return make("label", {}, input, text);
  }));
}

function arrange(isOrdered) {
  rowAt = isOrdered ? order : given;
  columnAt = queries ? givenColumns : rowAt;
  search(wanted);
}

const plane = new Plane([broad * columns.length, texts.length], {
  margin: () => [Math.min(Math.max(plane.width * 0.3, 90), 280), 66], // for labels, and above them the buttons
  draw, hover, tap: (x, y) => pin(pairAt(x, y)),
});
addEventListener("keydown", event => { if (event.key === "Escape") pin(null); });
searching(search, () => { const [first] = extremes(); if (first) goTo(first); });
$("found").querySelector("h2").replaceWith(choice("Pairs", ["Most alike", "Least alike"], index => { sign = index ? -1 : 1; list(); }));
$("found").before($("legend"));
$("legend").replaceChildren(make("h2", {}, data.similarity),
  make("div", { class: "ramp", style: `background:linear-gradient(90deg, ${stops.map(stop => `rgb(${stop})`)})` }),
  make("p", { class: "ends" }, make("span", {}, low.toFixed(2)), make("span", {}, high.toFixed(2))),
  choice("Order", orders, index => arrange(index === 0)));
arrange(true);
