// Drives Tencent's own packages for a test: a command in a line of JSON on stdin, {id, name, …}, an answer {id, result | error} on stdout,
// and {event, …} for what the client emits. It ends with stdin.
"use strict";
const readline = require("node:readline");
const crypto = require("@wecom/crypto");
const { WSClient } = require("@wecom/aibot-node-sdk");

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const frames = new Map(); // by msgid
let client = null;

function tell(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function frameOf(command) {
  return frames.get(command.msgid) ?? { headers: { req_id: command.req_id } };
}

const commands = {
  connect({ options }) {
    client = new WSClient({ ...options, logger: quiet });
    for (const name of ["connected", "authenticated", "disconnected", "reconnecting"]) client.on(name, (detail) => tell({ event: name, detail }));
    client.on("error", (error) => tell({ event: "error", detail: String(error.message) }));
    for (const name of ["message", "event"]) {
      client.on(name, (frame) => {
        frames.set(frame.body.msgid, frame);
        tell({ event: name, frame });
      });
    }
    client.connect();
  },
  disconnect: () => client.disconnect(),
  reply: (command) => client.reply(frameOf(command), command.body),
  stream: (command) => client.replyStream(frameOf(command), command.stream, command.content, command.finish),
  // Every text at once, as an agent writes it; the SDK skips what would overtake an acknowledgement.
  partials: async (command) => {
    const frame = frameOf(command);
    const sent = command.texts.map((text) => client.replyStreamNonBlocking(frame, command.stream, text, false));
    const last = client.replyStreamNonBlocking(frame, command.stream, command.last, true);
    return (await Promise.all([...sent, last])).map((answer) => (answer === "skipped" ? "skipped" : answer.errcode));
  },
  welcome: (command) => client.replyWelcome(frameOf(command), command.body),
  card: (command) => client.replyTemplateCard(frameOf(command), command.card),
  update: (command) => client.updateTemplateCard(frameOf(command), command.card),
  push: (command) => client.sendMessage(command.chatid, command.body),
  upload: (command) => client.uploadMedia(Buffer.from(command.data, "base64"), { type: command.type, filename: command.filename }),
  media: (command) => client.replyMedia(frameOf(command), command.type, command.media_id),
  download: async (command) => {
    const { buffer, filename } = await client.downloadFile(command.url, command.aeskey);
    return { data: buffer.toString("base64"), filename };
  },
  decrypt: ({ key, encrypt }) => {
    const { message, id } = crypto.decrypt(key, encrypt);
    return { message, id };
  },
  encrypt: ({ key, message, receiver }) => crypto.encrypt(key, message, receiver),
  sign: ({ token, timestamp, nonce, encrypt }) => crypto.getSignature(token, timestamp, nonce, encrypt),
};

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const command = JSON.parse(line);
  try {
    tell({ id: command.id, result: (await commands[command.name](command)) ?? null });
  } catch (error) {
    tell({ id: command.id, error: error instanceof Error ? { message: error.message } : error });
  }
}).on("close", () => process.exit(0));
