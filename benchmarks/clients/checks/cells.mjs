// What the checks in JavaScript share; cells.py says how a check is written.
import { readFileSync } from "node:fs";

export const URL_ = process.env.PAWL_URL;
export const BASE = URL_ + "/v1";
export const KEY = process.env.PAWL_KEY;
export const WRONG_KEY = "pawl_wrong";
export const KNOWS_TOOLS = process.env.PAWL_KNOWS_TOOLS === "1";
export const MODEL = "pawl";
export const MAX_TOKENS = KNOWS_TOOLS ? 1000 : 48; // a base that writes a byte a token, at random
export const ASK = "Say in one sentence what a lighthouse is for.";
export const MESSAGES = [{ role: "user", content: ASK }];
export const TURNS = [
  { role: "system", content: "You are a keeper of a lighthouse." },
  ...MESSAGES,
  { role: "assistant", content: "It warns ships of rocks." },
  { role: "user", content: "And by day?" },
];
export const LONG = "word ".repeat(20_000);
export const CITIES = ["Paris", "Oslo"];
export const TOOL_SCHEMA = {
  type: "object",
  properties: { city: { type: "string", enum: CITIES } },
  required: ["city"],
  additionalProperties: false,
};
export const NO_TOOLS = "was not taught to call tools";

const features = new Map();
let answers = [];

export const feature = (name, check) => features.set(name, check);

export function need(condition, what) {
  if (condition) return;
  throw new Error(String(typeof what === "object" ? JSON.stringify(what) : what).slice(0, 500));
}

export function recorded(id, text) {
  need(id, "the client has no id of the answer");
  need(text && text.trim(), `the answer is ${JSON.stringify(text)}`);
  answers.push({ id, text });
}

// All that an error says, with its causes and the bodies that clients hang on to it.
function wordsOf(error) {
  const texts = [];
  for (let e = error; e && texts.length < 20; e = e.cause ?? e.lastError ?? e.errors?.[0])
    texts.push(e.name, e.message, e.code, e.responseBody, JSON.stringify(e.error ?? ""));
  return texts.join("\n");
}

export async function raised(call) {
  let result;
  try {
    result = await call();
  } catch (error) {
    return error;
  }
  throw new Error(`it was answered: ${JSON.stringify(result)?.slice(0, 300)}`);
}

export async function refusal(call, words, code = "unsupported_parameter") {
  const error = await raised(call);
  need(wordsOf(error).includes(words), `without the reason: ${wordsOf(error)}`);
  return { refused: code };
}

const nameOf = (error) => error.constructor?.name ?? error.name;

// `is`: whether the error is of the client's own class for it.
export async function overflow(call, is) {
  const error = await raised(call);
  need(is(error), `${nameOf(error)}: ${wordsOf(error)}`);
  need(/maximum context length|too long/.test(wordsOf(error)), wordsOf(error));
  return nameOf(error);
}

export async function wrongKey(call, is) {
  const error = await raised(call);
  need(is(error), `${nameOf(error)}: ${wordsOf(error)}`);
  return nameOf(error);
}

export async function pieces(stream) {
  const parts = [];
  for await (const piece of stream) if (piece) parts.push(piece);
  need(parts.length > 1, `the stream came as ${JSON.stringify(parts)}`);
  return [parts.join(""), `${parts.length} pieces`];
}

export function isWeather(value) {
  const found = typeof value === "string" ? JSON.parse(value) : value;
  need(CITIES.includes(found.city) && typeof found.sunny === "boolean", found);
}

export function isCall(name, value) {
  const found = typeof value === "string" ? JSON.parse(value) : value;
  need(name === "weather" && CITIES.includes(found.city), { name, found });
}

// As `called` in cells.py: `call` must throw, or give nothing, where no tool was called.
export async function called(call) {
  for (let left = 8; ; left--) {
    try {
      const answer = await call();
      need(answer, "no tool was called");
      return answer;
    } catch (error) {
      if (left === 1) throw error;
    }
  }
}

export async function feedback(id) {
  need(id, "the client has no id of the answer");
  const headers = { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" };
  const body = JSON.stringify({ completion_id: id, thumb: "up" });
  const sent = await fetch(BASE + "/feedback", { method: "POST", headers, body });
  need(sent.ok, await sent.text());
  const rows = await (await fetch(`${BASE}/feedback?completion_id=${id}`, { headers })).text();
  need(rows.includes('"up"'), rows);
  return id.split(/[-_]/)[0] + " id";
}

export async function run(name) {
  const { version } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, "utf8"));
  for (const feature of process.argv.slice(2)) {
    if (!features.has(feature)) continue;
    answers = [];
    let line;
    try {
      const result = await features.get(feature)();
      line = result.refused
        ? { outcome: "refuses", detail: result.refused }
        : { outcome: "works", detail: result };
    } catch (error) {
      console.error(error);
      const what = `${nameOf(error)}: ${error.message}`.replace(/\s+/g, " ");
      line = { outcome: "fails", detail: what.slice(0, 300) };
    }
    console.log("\n" + JSON.stringify({ feature, version, ...line, answers }));
  }
}
