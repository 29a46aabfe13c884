// The collector: what it is asked, what it is told to do, and the stream of what it tells by itself.

const SILENCE = 12_000; // ms; the collector says something every two seconds, and waits 10 s for its store
const FIRST_PAUSE = 500; // ms before the stream is asked for again; doubled up to the longest
const LONGEST_PAUSE = 8_000;

/** An answer of the collector other than 200. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Dispatches `token` when one is needed, and `silent` (with what is wrong, if that is known) when the stream ends. */
export class Collector extends EventTarget {
  #skew = 0; // ms that its clock is ahead of this one
  #signedOut = false;
  #stop = () => {}; // ends the stream
  #wake = () => {}; // ends the present pause

  heard = 0; // ms, when it last said something

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#stop() : this.#wake()));
    addEventListener("online", () => this.#wake());
  }

  /** Now by the collector's clock, s since the epoch. */
  get now() {
    return (Date.now() + this.#skew) / 1000;
  }

  /** The answer to a question. `given` are its parameters; what is null or empty is left out. */
  async ask(path, given = {}, signal = AbortSignal.timeout(SILENCE)) {
    const query = new URLSearchParams(Object.entries(given).filter(([, value]) => value !== null && value !== ""));
    return (await this.#open(query.size ? `${path}?${query}` : path, { signal })).json();
  }

  /** Has something done. */
  async order(path, body = {}, method = "POST") {
    const headers = { "Content-Type": "application/json" };
    const signal = AbortSignal.timeout(SILENCE);
    return (await this.#open(path, { method, headers, body: JSON.stringify(body), signal })).json();
  }

  /** Saves an answer as a file. A link could not: it takes no token along. */
  async save(path, given, name) {
    const response = await this.#open(`${path}?${new URLSearchParams(given)}`, {});
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = name;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  /** Begins again with this token. */
  signIn(token) {
    sessionStorage.setItem("token", token);
    this.#signedOut = false;
    this.#wake();
  }

  /** Listens for ever, and calls the function of each event's name with its data. */
  async listen(path, takes) {
    let wait = FIRST_PAUSE;
    for (;;) {
      while (document.hidden || this.#signedOut) await this.#pause(Infinity);
      const began = this.heard;
      let problem = "";
      await this.#follow(path, takes).catch((error) => {
        problem = error instanceof Refusal ? error.message : "";
      });
      if (document.hidden || this.#signedOut) continue;
      this.dispatchEvent(new CustomEvent("silent", { detail: problem }));
      wait = this.heard > began && !problem ? FIRST_PAUSE : Math.min(2 * wait, LONGEST_PAUSE);
      await this.#pause(wait);
    }
  }

  async #open(path, options) {
    const headers = { ...options.headers };
    const token = sessionStorage.getItem("token");
    // a header holds bytes, a token may hold any character
    if (token) headers.Authorization = `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}`;
    const response = await fetch(path, { ...options, headers });
    if (response.status === 401) this.#signOut();
    if (!response.ok) {
      const answer = await response.json().catch(() => ({}));
      throw new Refusal(response.status, answer.error ?? `${response.status} ${response.statusText}`);
    }
    this.heard = Date.now();
    const skew = Date.parse(response.headers.get("Date")) - Date.now();
    this.#skew = Math.abs(skew) > 3_000 ? skew : 0; // the header counts whole seconds
    return response;
  }

  #signOut() {
    const refused = sessionStorage.getItem("token") !== null;
    sessionStorage.removeItem("token");
    if (this.#signedOut) return;
    this.#signedOut = true;
    this.#stop();
    this.dispatchEvent(new CustomEvent("token", { detail: refused }));
  }

  /** Takes in what the collector says, until the stream ends. */
  async #follow(path, takes) {
    const ending = new AbortController();
    this.#stop = () => ending.abort();
    let silence = setTimeout(this.#stop, SILENCE);
    try {
      const { body } = await this.#open(path, { signal: ending.signal });
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(silence);
        silence = setTimeout(this.#stop, SILENCE);
        this.heard = Date.now();
        const messages = (rest + value).split("\n\n");
        rest = messages.pop();
        for (const message of messages) {
          const [, kind, data] = /^event: (.*)\ndata: (.*)$/.exec(message) ?? [];
          if (kind) takes[kind]?.(JSON.parse(data));
        }
      }
    } finally {
      clearTimeout(silence);
    }
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const timer = ms === Infinity ? 0 : setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
