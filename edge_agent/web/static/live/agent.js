// The agent behind the live view: what it is, and how it is asked.

export let device = {};

export async function ask(path, options) {
  // The first header tells the server that no foreign page asks.
  const headers = { "X-Requested-With": "edge-agent", "Content-Type": "application/json" };
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) location.reload();
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

export async function meet() {
  device = await ask("/api/device");
}

// A zone behind what stands in it; nothing for the whole view.
export const where = (zone) => (zone === "view" ? "" : ` · ${zone}`);
