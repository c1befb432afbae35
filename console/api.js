// The server: requests with the token, and streams of events that begin again when they break.

const KEY = "millstream-token";
let asking = null;

function headers(more = {}) {
  const token = sessionStorage.getItem(KEY);
  return token ? {...more, authorization: `Bearer ${token}`} : more;
}

/** Asks for the token, once for all who need it. */
function askForToken() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("token");
    document.getElementById("token-text").value = "";
    document.getElementById("token-wrong").hidden = sessionStorage.getItem(KEY) === null;
    dialog.addEventListener(
      "close",
      () => {
        sessionStorage.setItem(KEY, document.getElementById("token-text").value);
        asking = null;
        resolve();
      },
      {once: true},
    );
    dialog.showModal();
  });
  return asking;
}

/** What the server refused; status 0 if it did not answer. */
export class ServerError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }

  /** True if it may answer otherwise in a moment. */
  get isTemporary() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

async function request(path, options = {}) {
  for (;;) {
    const sent = fetch(path, {...options, headers: headers(options.headers), cache: "no-store"});
    const response = await sent.catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new ServerError(0, "the service does not answer; trying again");
    });
    if (response.ok) return response;
    if (response.status === 401) {
      await askForToken();
      continue;
    }
    let detail = response.statusText;
    try {
      detail = (await response.json()).detail ?? detail;
    } catch {
      /* no problem document */
    }
    throw new ServerError(response.status, detail);
  }
}

export async function get(path, signal) {
  return (await request(path, {signal})).json();
}

export async function post(path, body, more = {}) {
  const type = body === undefined ? {} : {"content-type": "application/json"};
  return (await request(path, {method: "POST", body, headers: {...type, ...more}})).json();
}

/** Loads a file and saves it, for a link can't send a token. */
export async function download(path, name) {
  const blob = await (await request(path)).blob();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      {once: true},
    );
  });

/**
 * Follows a stream until the signal. `path` may be a function of the id of the last event; `onEvent` gets {event, id,
 * data}; `onState` is told "live" or "gone".
 */
export async function follow(path, {onEvent, onState = () => {}, signal}) {
  let last = null;
  let wait = 250;
  while (!signal.aborted) {
    try {
      const response = await request(typeof path === "function" ? path(last) : path, {signal});
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const {value, done} = await reader.read();
        if (done) break;
        onState("live");
        wait = 250;
        text += value;
        for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
          const event = parsed(text.slice(0, end));
          text = text.slice(end + 2);
          if (!event) continue;
          if (event.id !== null) last = event.id;
          onEvent(event);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ServerError && error.status === 410) last = null;
      else if (error instanceof ServerError && error.status === 404) {
        onState("gone", error);
        return;
      }
      onState("gone", error);
    }
    await pause(wait, signal);
    wait = Math.min(wait * 2, 4000);
  }
}

function parsed(block) {
  const event = {event: "message", id: null, data: ""};
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) event.event = line.slice(7);
    else if (line.startsWith("id: ")) event.id = line.slice(4);
    else if (line.startsWith("data: ")) event.data += line.slice(6);
  }
  if (!event.data) return null;
  event.data = JSON.parse(event.data);
  return event;
}

/** Calls a function every so often until the signal; errors go to `onError`. */
export async function every(ms, signal, work, onError = () => {}) {
  while (!signal.aborted) {
    try {
      await work();
    } catch (error) {
      if (!signal.aborted) onError(error);
    }
    await pause(document.hidden ? ms * 4 : ms, signal);
  }
}
