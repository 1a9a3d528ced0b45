// The reference client of Standard Webhooks, for tests: what it signs we take, and what we sign it takes.
//
//   node client.js sign SECRET ID SECONDS < body      prints the signature
//   node client.js verify SECRET < {"headers", "body"}  fails where it is not signed
"use strict";

const fs = require("node:fs");
const { Webhook } = require("standardwebhooks");

const [what, secret, id, seconds] = process.argv.slice(2);
const input = fs.readFileSync(0, "utf8");
if (what === "sign") {
  process.stdout.write(new Webhook(secret).sign(id, new Date(Number(seconds) * 1000), input));
} else {
  const { headers, body } = JSON.parse(input);
  new Webhook(secret).verify(body, headers);
}
