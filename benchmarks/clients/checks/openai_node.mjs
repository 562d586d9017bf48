// openai for Node.
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import {
  ASK, BASE, CITIES, KEY, KNOWS_TOOLS, LONG, MAX_TOKENS, MESSAGES, MODEL, NO_TOOLS, TOOL_SCHEMA,
  TURNS, WRONG_KEY, called, feature, feedback, isCall, isWeather, need, overflow, pieces, recorded, refusal,
  run, wrongKey,
} from "./cells.mjs";

const client = new OpenAI({ baseURL: BASE, apiKey: KEY, maxRetries: 0 });
const Weather = z.object({ city: z.enum(CITIES), sunny: z.boolean() });
const TOOL = { type: "function", function: { name: "weather", parameters: TOOL_SCHEMA } };
const base = { model: MODEL, messages: MESSAGES, max_tokens: MAX_TOKENS };
const create = (fields = {}) => client.chat.completions.create({ ...base, ...fields });

feature("chat", async () => {
  const answer = await create();
  recorded(answer.id, answer.choices[0].message.content);
  need(answer.usage.completion_tokens > 0, answer);
  const models = await client.models.list();
  need((await client.models.retrieve(models.data[0].id)).id === models.data[0].id, models.data);
  return `${answer.usage.completion_tokens} tokens`;
});

feature("stream", async () => {
  const stream = client.chat.completions.stream(base);
  const parts = [];
  stream.on("content", (delta) => parts.push(delta));
  const final = await stream.finalChatCompletion();
  const [text, words] = await pieces(parts);
  need(final.choices[0].message.content === text && final.choices[0].finish_reason, final);
  recorded(final.id, text);
  return words;
});

feature("turns", async () => {
  const answer = await create({ messages: TURNS });
  recorded(answer.id, answer.choices[0].message.content);
  const more = answer.usage.prompt_tokens - (await create()).usage.prompt_tokens;
  need(more > 5, `the turns before are ${more} tokens`);
  return `${more} tokens more`;
});

feature("json", async () => {
  const answer = await client.chat.completions.parse({
    ...base, max_tokens: 100, response_format: zodResponseFormat(Weather, "weather"),
  });
  recorded(answer.id, answer.choices[0].message.content);
  isWeather(answer.choices[0].message.parsed);
  return "parse";
});

feature("tools", async () => {
  if (!KNOWS_TOOLS) return refusal(() => create({ tools: [TOOL] }), NO_TOOLS);
  const answer = await called(async () => {
    const found = await create({ tools: [TOOL], tool_choice: "required" });
    return found.choices[0].message.tool_calls?.length && found;
  });
  const [call] = answer.choices[0].message.tool_calls;
  isCall(call.function.name, call.function.arguments);
  const given = [];
  const runner = client.chat.completions.runTools({
    ...base, stream: true, tool_choice: { type: "function", function: { name: "weather" } },
    tools: [{
      type: "function",
      function: {
        ...TOOL.function, parse: JSON.parse,
        function: (args) => { given.push(args); return "rain"; },
      },
    }],
  }, { maxChatCompletions: 1 });
  await runner.done();
  isCall("weather", given[0]);
  const result = { role: "tool", tool_call_id: call.id, content: "rain" };
  const after = await create({ tools: [TOOL], messages: [...MESSAGES, answer.choices[0].message, result] });
  need(after.choices[0].message, after);
  return "required, named by runTools and streamed, result sent back";
});

feature("overflow", () =>
  overflow(() => create({ messages: [{ role: "user", content: LONG }] }),
    (error) => error instanceof OpenAI.BadRequestError && error.code === "context_length_exceeded"));

feature("key", () => {
  const wrong = client.withOptions({ apiKey: WRONG_KEY });
  return wrongKey(() => wrong.chat.completions.create(base),
    (error) => error instanceof OpenAI.AuthenticationError);
});

feature("feedback", async () => feedback((await create()).id));

feature("responses", async () => {
  const fields = { model: MODEL, input: ASK, max_output_tokens: MAX_TOKENS };
  const answer = await client.responses.create(fields);
  recorded(answer.id, answer.output_text);
  const parts = [];
  const stream = client.responses.stream({ ...fields, input: TURNS });
  stream.on("response.output_text.delta", (event) => parts.push(event.delta));
  const final = await stream.finalResponse();
  const [text, words] = await pieces(parts);
  need(final.output_text === text, final);
  recorded(final.id, text);
  const parsed = await client.responses.parse({ ...fields, text: { format: zodTextFormat(Weather, "weather") } });
  isWeather(parsed.output_parsed);
  await feedback(answer.id);
  return `whole, ${words}, parse, feedback`;
});

feature("completions", async () => {
  const answer = await client.completions.create({ model: MODEL, prompt: "A lighthouse is", max_tokens: 16 });
  recorded(answer.id, answer.choices[0].text);
  return "text";
});

await run("openai");
