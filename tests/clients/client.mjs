// The official Node client against a running service: node client.mjs BASE_URL KEY. Exits 1 at the first surprise.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [base, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0, timeout: 20000 });
const ask = { model: "tiny", messages: [{ role: "user", content: "How do I block my card?" }], seed: 1 };
const counted = { stream: true, stream_options: { include_usage: true } };

const models = await client.models.list();
assert.deepEqual(models.data.map((model) => model.id), ["tiny"]);
assert.equal((await client.models.retrieve("tiny")).object, "model");

const plain = await client.chat.completions.create({ ...ask, n: 2, logprobs: true, top_logprobs: 2 });
assert.match(plain._request_id, /^req_/);
const said = ["", ""];
let usage = null;
for await (const chunk of await client.chat.completions.create({ ...ask, n: 2, ...counted })) {
  for (const choice of chunk.choices) said[choice.index] += choice.delta.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.deepEqual(said, plain.choices.map((choice) => choice.message.content));
assert.deepEqual(usage, plain.usage);
for (const choice of plain.choices) {
  const bytes = Buffer.from(choice.logprobs.content.flatMap((token) => token.bytes));
  assert.equal(bytes.toString(), choice.message.content);
}

const helper = client.chat.completions.stream(ask);
assert.equal(await helper.finalContent(), plain.choices[0].message.content);

const text = { model: "tiny", prompt: "How do I", seed: 1, max_tokens: 20 };
const whole = await client.completions.create(text);
let joined = "";
for await (const chunk of await client.completions.create({ ...text, stream: true })) joined += chunk.choices[0].text;
assert.equal(joined, whole.choices[0].text);

const stopped = await client.chat.completions.create({ ...ask, stop: [" "] });
assert.equal(stopped.choices[0].message.content, plain.choices[0].message.content.split(" ")[0]);

await assert.rejects(client.chat.completions.create({ ...ask, model: "gpt-4o" }), OpenAI.NotFoundError);
await assert.rejects(client.chat.completions.create({ ...ask, temperature: 3 }), (error) => {
  assert(error instanceof OpenAI.BadRequestError);
  assert.deepEqual([error.param, error.code], ["temperature", "invalid_value"]);
  return true;
});
const stranger = new OpenAI({ baseURL: `${base}/v1`, apiKey: "wrong", maxRetries: 0 });
await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
await assert.rejects(client.embeddings.create({ model: "tiny", input: "x" }), OpenAI.NotFoundError);
const hurried = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0, timeout: 100 });
await assert.rejects(hurried.chat.completions.create({ ...ask, max_tokens: 200 }), OpenAI.APIConnectionTimeoutError);
const controller = new AbortController();
const aborted = await client.chat.completions.create({ ...ask, stream: true }, { signal: controller.signal });
for await (const chunk of aborted) controller.abort();
console.log("node: ok");
