// Asks a server with OpenAI's client. Reads {"url": ..., "requests": [...]} from its input and prints one answer a request:
// what `create` gave, with the vectors as lists of numbers, or the error.
import { text } from "node:stream/consumers";
import OpenAI from "openai";

const { url, requests } = JSON.parse(await text(process.stdin));
const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });

function numbers(embedding) {
  if (typeof embedding !== "string") return Array.from(embedding);
  const bytes = Buffer.from(embedding, "base64");
  return Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(4 * index));
}

const answers = [];
for (const request of requests) {
  try {
    const { data, model, usage } = await client.embeddings.create(request);
    answers.push({ vectors: data.map((each) => numbers(each.embedding)), kind: typeof data[0].embedding, model, usage });
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
    answers.push({ error: error.constructor.name, status: error.status, message: error.message });
  }
}
console.log(JSON.stringify(answers));
