// LangChain for JavaScript: @langchain/openai's ChatOpenAI.
import { ContextOverflowError } from "@langchain/core/errors";
import { ToolMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";
import {
  ASK, BASE, CITIES, KEY, KNOWS_TOOLS, LONG, MAX_TOKENS, MODEL, NO_TOOLS, TOOL_SCHEMA, TURNS,
  WRONG_KEY, called, feature, feedback, isCall, isWeather, need, overflow, pieces, recorded, refusal, run,
  wrongKey,
} from "./cells.mjs";

const model = (fields = {}) => new ChatOpenAI({
  model: MODEL, apiKey: KEY, maxTokens: MAX_TOKENS, maxRetries: 0, configuration: { baseURL: BASE },
  ...fields,
});
const Weather = z.object({ city: z.enum(CITIES), sunny: z.boolean() });
const TOOL = { type: "function", function: { name: "weather", parameters: TOOL_SCHEMA } };
const idOf = (message) => message.response_metadata.id ?? message.id;

feature("chat", async () => {
  const answer = await model().invoke(ASK);
  recorded(idOf(answer), answer.text);
  return `${answer.usage_metadata.output_tokens} tokens`;
});

feature("stream", async () => {
  const chunks = [];
  for await (const chunk of await model().stream(ASK)) chunks.push(chunk);
  const [text, words] = await pieces(chunks.map((chunk) => chunk.text));
  const whole = chunks.reduce((all, chunk) => all.concat(chunk));
  need(whole.text === text && whole.response_metadata.finish_reason, whole);
  return words;
});

feature("turns", async () => {
  const answer = await model().invoke(TURNS);
  recorded(idOf(answer), answer.text);
  const more = answer.usage_metadata.input_tokens - (await model().invoke(ASK)).usage_metadata.input_tokens;
  need(more > 5, `the turns before are ${more} tokens`);
  return `${more} tokens more`;
});

feature("json", async () => {
  isWeather(await model().withStructuredOutput(Weather, { method: "jsonSchema" }).invoke(ASK));
  return "withStructuredOutput";
});

feature("tools", async () => {
  const bound = model().bindTools([TOOL], { tool_choice: "any" });
  if (!KNOWS_TOOLS) return refusal(() => bound.invoke(ASK), NO_TOOLS);
  const answer = await called(async () => {
    const found = await bound.invoke(ASK);
    return found.tool_calls.length && found;
  });
  const [call] = answer.tool_calls;
  isCall(call.name, call.args);
  const chunks = [];
  const named = model().bindTools([TOOL], { tool_choice: "weather" });
  for await (const chunk of await named.stream(ASK)) chunks.push(chunk);
  const [again] = chunks.reduce((all, chunk) => all.concat(chunk)).tool_calls;
  isCall(again.name, again.args);
  const result = new ToolMessage({ content: "rain", tool_call_id: call.id });
  need(await model().bindTools([TOOL]).invoke([["user", ASK], answer, result]), "no answer");
  return "any, named and streamed, result sent back";
});

feature("overflow", () =>
  overflow(() => model().invoke(LONG), (error) => ContextOverflowError.isInstance(error)));

feature("key", () =>
  wrongKey(() => model({ apiKey: WRONG_KEY }).invoke(ASK), (error) => error.status === 401));

feature("feedback", async () => feedback(idOf(await model().invoke(ASK))));

feature("responses", async () => {
  const byResponses = model({ useResponsesApi: true });
  const answer = await byResponses.invoke(ASK);
  recorded(idOf(answer), answer.text);
  const chunks = [];
  for await (const chunk of await byResponses.stream(TURNS)) chunks.push(chunk.text);
  const [, words] = await pieces(chunks);
  isWeather(await byResponses.withStructuredOutput(Weather, { method: "jsonSchema" }).invoke(ASK));
  await feedback(idOf(answer));
  return `whole, ${words}, structured`;
});

await run("@langchain/openai");
