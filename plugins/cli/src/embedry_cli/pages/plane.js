"use strict";

// What the pages of `embedry map` and `embedry compare` share: reading the data, elements, and a canvas that is moved and zoomed.

const $ = id => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const whole = number => number.toLocaleString("en");
const dark = matchMedia("(prefers-color-scheme: dark)");
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** The numbers that `packed` of page.py wrote. */
function floats(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let index = 0; index < bytes.length; index++) bytes[index] = text.charCodeAt(index);
  return new Float32Array(bytes.buffer);
}

/** A color or a font of look.css, in the present scheme. */
const look = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** An element. Strings become text, never markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A button that calls `act`. */
function button(attributes, act, ...children) {
  const element = make("button", { type: "button", ...attributes }, ...children);
  element.addEventListener("click", act);
  return element;
}

/** A button that copies a text, or selects it in `where` if the browser does not allow copying. */
function copying(name, text, where) {
  const element = button({}, async () => {
    let done = "Copied";
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      getSelection().selectAllChildren(where);
      done = "Selected";
    }
    element.textContent = done;
    element.classList.add("done");
    setTimeout(() => { element.textContent = name; element.classList.remove("done"); }, 1500);
  }, name);
  return element;
}

/** The part of a text around what is searched, which is marked. */
function excerpt(text, wanted) {
  const start = text.toLowerCase().indexOf(wanted);
  if (!wanted || start < 0) return [text];
  const space = text.indexOf(" ", start - 45), to = start + wanted.length;
  const from = start < 60 ? 0 : space >= 0 && space < start ? space + 1 : start - 40;
  return [(from ? "…" : "") + text.slice(from, start), make("mark", {}, text.slice(start, to)), text.slice(to)];
}

/** Calls `search` with what is typed, in lower case, and `first` when Enter is pressed. */
function searching(search, first) {
  $("search").addEventListener("input", () => search($("search").value.trim().toLowerCase()));
  $("search").addEventListener("keydown", event => { if (event.key === "Enter") first(); });
}

/** Shows elements beside a place in the window; nothing hides them. */
function tip(at, ...children) {
  $("tip").hidden = !children.length;
  $("tip").replaceChildren(...children);
  const { width, height } = $("tip").getBoundingClientRect();
  const left = at.x + 14 + width < innerWidth ? at.x + 14 : at.x - 14 - width;
  const top = at.y + 14 + height < innerHeight ? at.y + 14 : at.y - 14 - height;
  $("tip").style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
}

/** Colors between these stops, as [red, green, blue]; `part` is 0 to 1. */
function between(stops, part) {
  const place = Math.min(Math.max(part, 0), 1) * (stops.length - 1);
  const index = Math.min(Math.floor(place), stops.length - 2);
  return stops[index].map((low, channel) => Math.round(low + (stops[index + 1][channel] - low) * (place - index)));
}

const BORDER = 12; // pixels on the right and below

/**
 * The canvas as a window on a plane. It is moved by dragging and by arrow keys, and zoomed by the wheel, two fingers, keys and buttons.
 *
 * `size` is that of the plane, which begins at 0, 0. `margin()` gives the pixels on the left and above that are not part of the
 * window. `draw(context)` draws, `hover(x, y)` and `tap(x, y, reach)` get pixels; `hover()` says that the mouse has left.
 */
class Plane {
  constructor(size, { margin = () => [0, 0], draw, hover, tap }) {
    Object.assign(this, { size, margin, draw, hover });
    this.canvas = $("canvas");
    this.context = this.canvas.getContext("2d");
    this.fingers = new Map();
    this.listen(tap);
    new ResizeObserver(() => this.resized()).observe(this.canvas);
    dark.addEventListener("change", () => this.changed());
  }

  /** The window's left and top, and its width and height, in pixels. */
  get window() {
    const [left, top] = this.margin();
    return { left, top, width: Math.max(1, this.width - left - BORDER), height: Math.max(1, this.height - top - BORDER) };
  }

  /** Pixels of a unit of the plane when all of it is shown. */
  get least() {
    const { width, height } = this.window;
    return Math.min(width / this.size[0], height / this.size[1]);
  }

  /** How many times larger than that it is shown. */
  get zoom() { return this.scale / this.least; }

  pixel(x, y) {
    const { left, top, width, height } = this.window;
    return [left + width / 2 + (x - this.x) * this.scale, top + height / 2 + (y - this.y) * this.scale];
  }

  place(px, py) {
    const { left, top, width, height } = this.window;
    return [this.x + (px - left - width / 2) / this.scale, this.y + (py - top - height / 2) / this.scale];
  }

  get isWhole() {
    return Math.abs(this.zoom - 1) < 1e-6 && this.x === this.size[0] / 2 && this.y === this.size[1] / 2;
  }

  resized() {
    const isWhole = !this.scale || this.isWhole;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * devicePixelRatio);
    this.canvas.height = Math.round(this.height * devicePixelRatio);
    if (isWhole) this.show(this.size[0] / 2, this.size[1] / 2, this.least);
    else this.changed();
  }

  /** Draws again, once however much changes before the next frame. */
  changed() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
      this.context.clearRect(0, 0, this.width, this.height);
      this.draw(this.context);
    });
  }

  /** Shows the plane with this place in the middle. */
  show(x, y, scale) {
    this.scale = Math.min(Math.max(scale, this.least / 2), this.least * 2000);
    this.x = Math.min(Math.max(x, 0), this.size[0]);
    this.y = Math.min(Math.max(y, 0), this.size[1]);
    this.changed();
  }

  /** Moves there in steps that the eye can follow. */
  go(x, y, scale) {
    const from = [this.x, this.y, Math.log(this.scale)], to = [x, y, Math.log(scale)], start = performance.now();
    const step = now => {
      const part = still.matches ? 1 : Math.min((now - start) / 350, 1), eased = part * part * (3 - 2 * part);
      const [atX, atY, logScale] = from.map((value, index) => value + (to[index] - value) * eased);
      this.show(atX, atY, part < 1 ? Math.exp(logScale) : scale);
      this.going = part < 1 ? requestAnimationFrame(step) : undefined;
    };
    cancelAnimationFrame(this.going);
    step(start);
  }

  showAll() { this.go(this.size[0] / 2, this.size[1] / 2, this.least); }

  /** Zooms, and keeps the place that is at this pixel there. */
  zoomAt(px, py, factor) {
    const [x, y] = this.place(px, py), before = this.scale;
    this.show(this.x, this.y, before * factor);
    const kept = before / this.scale;
    this.show(x + (this.x - x) * kept, y + (this.y - y) * kept, this.scale);
  }

  zoomMiddle(factor) { this.go(this.x, this.y, this.scale * factor); }

  move(dx, dy) { this.show(this.x - dx / this.scale, this.y - dy / this.scale, this.scale); }

  listen(tap) {
    const { canvas, fingers } = this;
    const at = event => ({ x: event.offsetX, y: event.offsetY });
    const lift = event => {
      const isTap = event.type === "pointerup" && fingers.size === 1 && !this.dragged;
      fingers.delete(event.pointerId);
      if (isTap) tap(event.offsetX, event.offsetY, event.pointerType === "mouse" ? 6 : 18);
    };
    canvas.addEventListener("pointerdown", event => {
      cancelAnimationFrame(this.going);
      canvas.setPointerCapture(event.pointerId);
      if (!fingers.size) this.dragged = 0;
      fingers.set(event.pointerId, at(event));
      this.hover();
    });
    canvas.addEventListener("pointermove", event => {
      const before = fingers.get(event.pointerId), now = at(event);
      if (!before) {
        if (event.pointerType === "mouse") this.hover(now.x, now.y);
        return;
      }
      const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const dx = now.x - before.x, dy = now.y - before.y;
      if (!other && !this.dragged && Math.hypot(dx, dy) < 5) return; // a hand is never quite still
      this.dragged = 1;
      fingers.set(event.pointerId, now);
      if (!other) return this.move(dx, dy);
      const apart = place => Math.max(1, Math.hypot(place.x - other.x, place.y - other.y));
      this.move(dx / 2, dy / 2);
      this.zoomAt((now.x + other.x) / 2, (now.y + other.y) / 2, apart(now) / apart(before));
    });
    for (const type of ["pointerup", "pointercancel"]) canvas.addEventListener(type, lift);
    canvas.addEventListener("pointerleave", () => this.hover());
    canvas.addEventListener("wheel", event => {
      event.preventDefault();
      cancelAnimationFrame(this.going);
      const lines = event.deltaMode ? 16 : 1; // Firefox counts lines; a pinch on a touchpad comes as small steps with ctrlKey
      this.zoomAt(event.offsetX, event.offsetY, Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0015)));
    }, { passive: false });
    const keys = {
      ArrowLeft: () => this.move(60, 0), ArrowRight: () => this.move(-60, 0), ArrowUp: () => this.move(0, 60),
      ArrowDown: () => this.move(0, -60), "+": () => this.zoomMiddle(1.5), "-": () => this.zoomMiddle(1 / 1.5),
      0: () => this.showAll(),
    };
    canvas.addEventListener("keydown", event => {
      if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
    $("in").addEventListener("click", () => this.zoomMiddle(1.6));
    $("out").addEventListener("click", () => this.zoomMiddle(1 / 1.6));
    $("all").addEventListener("click", () => this.showAll());
  }
}
