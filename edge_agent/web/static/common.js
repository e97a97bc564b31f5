// What the live view and the staff pager share: elements, times, the connection to the server.

import { locale } from "./text.js";

export const RECONNECT_MS = 1000;

export const $ = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function make(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function makeSvg(name, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

export const time = (unixS) => new Date(unixS * 1000).toLocaleTimeString(locale);

export const percent = (share) => share.toLocaleString(locale, { style: "percent" });

export function openSocket() {
  return new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
}
