// Vercel's AI SDK; VERCEL_PROVIDER picks the provider: openai (its default asks for /v1/responses),
// openai-compatible or anthropic.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, generateText, jsonSchema, streamText, tool } from "ai";
import { z } from "zod";
import {
  ASK, BASE, CITIES, KEY, KNOWS_TOOLS, LONG, MAX_TOKENS, MODEL, NO_TOOLS, TOOL_SCHEMA, TURNS,
  WRONG_KEY, called, feature, feedback, isCall, isWeather, need, overflow, pieces, recorded, refusal, run,
  wrongKey,
} from "./cells.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const [PROVIDER, column] = process.env.VERCEL_PROVIDER.split(":");
const provider = {
  openai: (apiKey) => createOpenAI({ baseURL: BASE, apiKey }),
  compatible: (apiKey) => createOpenAICompatible({
    name: "pawl", baseURL: BASE, apiKey, supportsStructuredOutputs: true,
  }),
  anthropic: (apiKey) => createAnthropic({ baseURL: BASE, apiKey }),
}[PROVIDER];
const model = (key = KEY) => (column === "chat" ? provider(key).chat(MODEL) : provider(key)(MODEL));
const base = (fields = {}) => ({
  model: model(), prompt: ASK, maxOutputTokens: MAX_TOKENS, maxRetries: 0, ...fields,
});
const Weather = z.object({ city: z.enum(CITIES), sunny: z.boolean() });
const weather = tool({
  description: "The weather of a city", inputSchema: jsonSchema(TOOL_SCHEMA),
  execute: async () => "rain",
});

const whole = async () => {
  const result = await generateText(base());
  recorded(result.response.id, result.text);
  need(result.usage.outputTokens > 0 && result.finishReason, result.usage);
  return `${result.usage.outputTokens} tokens`;
};
feature("chat", whole);
// What the default call of this provider asks for.
if (PROVIDER === "openai" && column !== "chat") feature("responses", async () => `the default call; ${await whole()}`);
if (PROVIDER === "anthropic") feature("messages", async () => `the default call; ${await whole()}`);

feature("stream", async () => {
  const errors = [];
  const result = streamText(base({ onError: ({ error }) => errors.push(error) }));
  let text, words;
  try {
    [text, words] = await pieces(result.textStream);
  } catch (error) {
    throw errors[0] ?? error;
  }
  recorded((await result.response).id, text);
  need(await result.finishReason, "no finish reason");
  return words;
});

feature("turns", async () => {
  const [{ content: system }, ...messages] = TURNS;
  const result = await generateText({ ...base({ prompt: undefined }), instructions: system, messages });
  recorded(result.response.id, result.text);
  const more = result.usage.inputTokens - (await generateText(base())).usage.inputTokens;
  need(more > 5, `the turns before are ${more} tokens`);
  return `${more} tokens more`;
});

feature("json", async () => {
  // Without the option, the provider asks models whose names it doesn't know by a tool.
  const providerOptions = { anthropic: { structuredOutputMode: "outputFormat" } };
  const output = Output.object({ schema: Weather });
  const result = await generateText(base({ output, providerOptions }));
  isWeather(result.output);
  return PROVIDER === "anthropic" ? "structuredOutputMode: outputFormat" : "Output.object";
});

feature("tools", async () => {
  const fields = base({ tools: { weather }, toolChoice: "required" });
  if (!KNOWS_TOOLS) return refusal(() => generateText(fields), NO_TOOLS);
  const result = await called(async () => {
    const found = await generateText(fields);
    return found.toolCalls.length && found;
  });
  const [call] = result.toolCalls;
  isCall(call.toolName, call.input);
  const stream = streamText({ ...fields, toolChoice: { type: "tool", toolName: "weather" } });
  await stream.consumeStream();
  const [again] = await stream.toolCalls;
  isCall(again.toolName, again.input);
  const after = await generateText({
    ...base({ prompt: undefined, tools: { weather } }),
    messages: [{ role: "user", content: ASK }, ...result.response.messages],
  });
  need(after.finishReason, after);
  return "required, named and streamed, result sent back";
});

feature("overflow", () =>
  overflow(() => generateText(base({ prompt: LONG })),
    (error) => APICallError.isInstance(error) && error.statusCode === 400 && !error.isRetryable));

feature("key", () =>
  wrongKey(() => generateText(base({ model: model(WRONG_KEY) })),
    (error) => APICallError.isInstance(error) && error.statusCode === 401));

feature("feedback", async () => feedback((await generateText(base())).response.id));

await run("ai");
