// A user interface's side of AG-UI, by its public client: `node agui_client.mjs ADDRESS THREAD`.
// Each line of the input is a run ({"say", "keep", ...}), each line of the output an event, or what a run left behind.
import { createInterface } from "node:readline";
import { HttpAgent } from "@ag-ui/client";

const [url, threadId] = process.argv.slice(2);
const agent = new HttpAgent({ url, threadId });
const tell = (line) => process.stdout.write(JSON.stringify(line) + "\n");

for await (const line of createInterface({ input: process.stdin })) {
  const { say, keep, ...parameters } = JSON.parse(line);
  if (keep !== undefined) agent.setMessages(agent.messages.slice(0, keep));
  agent.addMessage({ id: crypto.randomUUID(), role: "user", content: say });
  try {
    const { result } = await agent.runAgent(parameters, { onEvent: ({ event }) => tell({ event }) });
    tell({ result, messages: agent.messages });
  } catch (error) {
    tell({ failure: error.message, messages: agent.messages });
  }
}
