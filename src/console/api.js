// Calls to the daemon. The token stays in this module's memory: never in an address, never on a disk.

let token = "";
let onToken = () => {};

export const setToken = (value) => { token = value; };
export const whenTokenIsNeeded = (listener) => { onToken = listener; };

const headers = () => (token ? { authorization: `Bearer ${token}` } : {});

/** An answer that is no success; `problem` is its document. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? String(status));
    this.status = status;
    this.errors = problem.errors ?? [];
  }
}

export async function call(method, path, body) {
  const options = { method, headers: headers() };
  if (body !== undefined) options.body = JSON.stringify(body);
  const answer = await fetch(path, options);
  await check(answer);
  return answer.json();
}

export async function text(path) {
  const answer = await fetch(path, { headers: headers() });
  await check(answer);
  return answer.text();
}

async function check(answer) {
  if (answer.ok) return;
  if (answer.status === 401) onToken();
  throw new Refused(answer.status, await answer.json().catch(() => ({})));
}

/** Reads server-sent events until the connection ends. An event source could carry no token but in its address. */
export async function stream(path, onData) {
  const abort = new AbortController();
  // A connection over which nothing comes is as dead as a closed one.
  let alive = setTimeout(() => abort.abort(), 5000);
  try {
    const answer = await fetch(path, { headers: headers(), signal: abort.signal });
    await check(answer);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(alive);
      alive = setTimeout(() => abort.abort(), 5000);
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const data = part.split("\n").filter((line) => line.startsWith("data:"));
        if (data.length) onData(JSON.parse(data.map((line) => line.slice(5)).join("\n")));
      }
    }
  } finally {
    clearTimeout(alive);
  }
}

/** The same call as a line for a shell. */
export function curl(path, body) {
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  const auth = token ? " -H \"Authorization: Bearer $MOCKSERVER_TOKEN\"" : "";
  return `curl -X POST${auth} ${location.origin}${path} -d '${quoted}'`;
}
