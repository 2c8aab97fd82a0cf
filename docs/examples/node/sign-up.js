// Publish a sign-up and print the account, with its credentials, that comes back.
//
//   npm ci
//   RABBITMQ_URL=amqp://user:password@host:5672/ npm run --silent sign-up -- \
//     --user-id test-123 --email test@example.com
//
// Repeat it with the same --event-id, or with none: the account and its credentials stay the same.
import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";

import amqp from "amqplib";

const EXCHANGE = "agentcache.events";
const SIGNED_UP = "agentcache.user.signed_up.v1";

const { values: given } = parseArgs({
  options: {
    "user-id": { type: "string" },
    email: { type: "string" },
    tier: { type: "string", default: "pro" },
    "event-id": { type: "string", default: randomUUID() },
    "timeout-seconds": { type: "string", default: "30" },
  },
});
if (!given["user-id"] || !given.email) {
  console.error("usage: sign-up --user-id ID --email ADDRESS [--tier TIER] [--event-id UUID] [--timeout-seconds N]");
  process.exit(2);
}

// Publish a failed event again under the id it had.
const event = {
  specversion: "1.0",
  id: given["event-id"],
  source: "/agentcache",
  type: SIGNED_UP,
  time: new Date().toISOString(),
  data: { user_id: given["user-id"], email: given.email, tier: given.tier },
};

const url = process.env.RABBITMQ_URL ?? "amqp://guest:guest@localhost:5672/";
const connection = await amqp.connect(url).catch((error) => {
  console.error(`RABBITMQ_URL does not lead to a broker that lets this user in: ${error.message}`);
  process.exit(1);
});
const channel = await connection.createConfirmChannel();

// Exclusive: only this connection reads it, and it is gone with the connection.
const { queue } = await channel.assertQueue(`agentcache.replies.${randomUUID()}`, { exclusive: true });
const replied = new Promise((resolve, reject) => {
  setTimeout(
    () => reject(new Error(`No reply within ${given["timeout-seconds"]} s. Try again with --event-id ${event.id}`)),
    Number(given["timeout-seconds"]) * 1000,
  ).unref();
  channel.on("return", () => reject(new Error(`Nothing listens to ${SIGNED_UP}: has JettyThunder been started once?`)));
  channel.on("error", reject);
  channel.consume(queue, (message) => {
    if (message === null) return reject(new Error("The reply queue is gone"));
    channel.ack(message);
    if (message.properties.correlationId === event.id) resolve(JSON.parse(message.content.toString()));
  });
});

try {
  channel.publish(EXCHANGE, SIGNED_UP, Buffer.from(JSON.stringify(event)), {
    contentType: "application/cloudevents+json",
    persistent: true,
    mandatory: true,
    messageId: event.id,
    type: SIGNED_UP,
    replyTo: queue,
    correlationId: event.id,
  });
  await Promise.race([channel.waitForConfirms(), replied]);
  console.log(JSON.stringify(await replied, null, 2));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await connection.close().catch(() => {});
}
