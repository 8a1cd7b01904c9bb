// What somebody with the npm package `faktory-worker` sees of beaver: `node scenarios.js NAME` ends with exit code 0
// if the server at FAKTORY_URL, which is new and empty, does what the client's documentation lets people hope for.
"use strict";

const assert = require("node:assert/strict");
const { EventEmitter, once } = require("node:events");
const fs = require("node:fs");
const readline = require("node:readline");
const { Client, Job, Worker } = require("faktory-worker");

// For whoever started this; the words are in `script.rs`.
const say = (...words) => process.stdout.write(`${words.join(" ")}\n`);

async function setOf(client, name) {
  const { faktory } = await client.info();
  const task = faktory.tasks[name[0].toUpperCase() + name.slice(1)];
  if (name !== "working") assert.equal(task.size, faktory.sets[name], name);
  return faktory.sets[name];
}

async function expectSets(client, expected) {
  for (const [name, size] of Object.entries(expected)) assert.equal(await setOf(client, name), size, name);
}

function isTime(text) {
  assert.match(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
  assert.ok(Math.abs(Date.parse(text) - Date.now()) < 60_000, text);
}

async function fetched(client, ...queues) {
  const job = await client.fetch(...queues);
  assert.ok(job, `a job of ${queues}`);
  return job;
}

async function jobs() {
  const client = new Client({ wid: "node-jobs" });

  // What was pushed comes back as it was.
  const job = client.job("sum", 1, -2.5, { deep: ["ü€😀", "a\r\nb", null, true] }, []);
  Object.assign(job, { queue: "math", reserveFor: 120, retry: 3, custom: { locale: "de" } });
  const jid = await job.push();
  const seen = await fetched(client, "math");
  assert.equal(seen.jid, jid);
  assert.equal(seen.jobtype, "sum");
  assert.equal(seen.queue, "math");
  assert.deepEqual(seen.args, job.args);
  assert.equal(seen.reserve_for, 120);
  assert.equal(seen.retry, 3);
  assert.deepEqual(seen.custom, { locale: "de" });
  assert.equal(seen.failure, undefined);
  isTime(seen.created_at);
  isTime(seen.enqueued_at);
  await expectSets(client, { working: 1 });
  assert.equal(await client.ack(jid), "OK");
  await expectSets(client, { working: 0 });
  assert.equal(await client.ack(jid), "OK", "an ACK whose answer was lost may be sent again");

  // Queues in the order of the FETCH, jobs in the order in which they came.
  for (const [name, queue] of [["first", "low"], ["second", "high"], ["third", "high"]]) {
    await client.push({ jobtype: name, queue, args: [] });
  }
  for (const name of ["second", "third", "first"]) {
    const next = await fetched(client, "high", "low");
    assert.equal(next.jobtype, name);
    await client.ack(next.jid);
  }

  // Many at once: the good ones are in, the others come back with the reason.
  const many = Array.from({ length: 500 }, (_, n) => ({ jobtype: "one", args: [n], queue: "bulk" }));
  assert.deepEqual(await client.pushBulk(many), {});
  const rejected = await client.pushBulk([
    { jid: "short", jobtype: "one", args: [], queue: "bulk" },
    { jid: "long-enough", jobtype: "one", args: [500], queue: "bulk" },
  ]);
  assert.deepEqual(Object.keys(rejected), ["short"]);
  assert.match(rejected.short.reason, /jid/);
  const info = await client.info();
  assert.equal(info.faktory.queues.bulk, 501);
  assert.equal(info.faktory.queues.math, 0);
  assert.equal(info.faktory.total_enqueued, 501);
  assert.equal(info.faktory.total_processed, 4);
  await assert.rejects(client.push({ jobtype: "late", args: [], at: "tomorrow" }), /ERR/);
  await assert.rejects(client.push({ jobtype: "one", args: [], queue: "no such name" }), /ERR/);

  // Later, and what was due long ago.
  await client.push({ jobtype: "later", args: [], queue: "later", at: new Date(Date.now() + 3_600_000).toISOString() });
  await expectSets(client, { scheduled: 1 });
  assert.equal(await client.fetch("later"), null, "it is not due, and an empty queue is answered all the same");
  const waiting = client.fetch("later");
  await client.push({ jobtype: "overdue", args: [], queue: "later", at: "2001-01-01T00:00:00.123Z" });
  const overdue = await waiting;
  assert.equal(overdue.jobtype, "overdue", "who waits gets what comes");
  await client.ack(overdue.jid);

  assert.equal(await client.flush(), "OK");
  await expectSets(client, { scheduled: 0, working: 0 });
  assert.equal((await client.info()).faktory.total_enqueued, 0);
  await client.close();
}

async function failures() {
  const client = new Client({ wid: "node-failures" });
  const error = Object.assign(new TypeError("no such file"), { code: "ENOENT" });
  error.stack = ["TypeError: no such file", ...Array.from({ length: 99 }, (_, n) => `    at line ${n}`)].join("\n");
  const failedJob = async (retry) => {
    const jid = await client.push({ jobtype: "shaky", args: [], queue: "shaky", retry });
    await fetched(client, "shaky");
    assert.equal(await client.fail(jid, error), "OK");
    return jid;
  };

  // Twice again, and then it is dead. Nobody here waits for the moment of the next try.
  const jid = await failedJob(2);
  for (const [count, remaining] of [[0, 2], [1, 1]]) {
    await expectSets(client, { retries: 1, dead: 0, working: 0 });
    await client.retries.withJids(jid).requeue();
    const { failure } = await fetched(client, "shaky");
    assert.equal(failure.retry_count, count);
    assert.equal(failure.remaining, remaining);
    assert.equal(failure.errtype, "ENOENT");
    assert.equal(failure.message, "no such file");
    assert.equal(failure.backtrace[0], "TypeError: no such file");
    assert.equal(failure.backtrace.length, 50, "more lines are not kept");
    isTime(failure.failed_at);
    await client.fail(jid, error);
  }
  await expectSets(client, { retries: 0, dead: 1, working: 0 });
  assert.equal((await client.info()).faktory.total_failures, 3);

  // The dead are asked to rise.
  await client.dead.ofType("shaky").requeue();
  assert.equal((await fetched(client, "shaky")).jid, jid);
  await client.ack(jid);
  await expectSets(client, { retries: 0, dead: 0, working: 0 });

  await failedJob(0);
  await expectSets(client, { retries: 0, dead: 0, working: 0 });
  await failedJob(-1);
  await expectSets(client, { retries: 0, dead: 1, working: 0 });
  await assert.rejects(client.fail("nobody-knows-me", error), /Job not found nobody-knows-me/);

  // Sets by type, by pattern and by id.
  const at = new Date(Date.now() + 3_600_000).toISOString();
  const later = (jobtype, uid) => client.push({ jobtype, args: [{ uid }], at, queue: "later" });
  await later("beta", 1);
  await later("alpha", 2);
  const third = await later("alpha", 3);
  await client.scheduled.ofType("beta").kill();
  await expectSets(client, { scheduled: 2, dead: 2 });
  await client.scheduled.ofType("alpha").matching('*"uid":2*').discard();
  await expectSets(client, { scheduled: 1, dead: 2 });
  await client.scheduled.withJids("somebody-else", third).requeue();
  await expectSets(client, { scheduled: 0 });
  assert.equal((await fetched(client, "later")).jid, third);
  await client.ack(third);
  await client.dead.clear();
  await expectSets(client, { dead: 0 });
  await client.close();
}

async function queues() {
  const client = new Client({ wid: "node-queues" });
  const queue = (...words) => client.sendWithAssert(["QUEUE", ...words], "OK");
  const jid = await client.push({ jobtype: "one", args: [], queue: "paused" });
  await queue("PAUSE", "paused", "nobody-knows-me");
  assert.equal(await client.fetch("paused"), null);
  const waiting = client.fetch("paused");
  await queue("RESUME", "paused");
  assert.equal((await waiting).jid, jid, "who waits gets it as soon as it may");
  await client.ack(jid);
  await client.push({ jobtype: "one", args: [], queue: "paused" });
  assert.match(await client.send(["QUEUE", "LATENCY", "paused"]), /^\{"paused":\d+(\.\d+)?\}$/);
  await queue("PAUSE", "*");
  await queue("REMOVE", "paused");
  assert.equal((await client.info()).faktory.queues.paused, undefined);
  await queue("RESUME", "*");
  await assert.rejects(client.send(["QUEUE", "POLISH", "paused"]), /ERR/);
  await assert.rejects(client.send(["SING"]), /unknown command SING/);
  await client.close();
}

async function password() {
  const client = new Client({ wid: "node-password" });
  const jid = await client.push({ jobtype: "one", args: [] });
  assert.equal((await fetched(client, "default")).jid, jid);
  await client.ack(jid);
  await client.close();
  const url = new URL(process.env.FAKTORY_URL);
  for (const wrong of ["", "wrong"]) {
    url.password = wrong;
    await assert.rejects(new Client({ url: url.href }).connect(), /Invalid password/);
  }
}

async function tls() {
  const tlsOptions = { ca: fs.readFileSync(process.env.TLS_CA) };
  const client = new Client({ wid: "node-tls", tlsOptions });
  const jid = await client.push({ jobtype: "one", args: ["x".repeat(100_000)] });
  assert.equal((await fetched(client, "default")).jid, jid);
  await client.ack(jid);
  await client.close();
  await assert.rejects(new Client({ tlsOptions: {} }).connect(), /self-signed/);
}

// Says what it does, and stays until the server tells it to stop.
async function worker() {
  const worker = new Worker({ wid: "node-worker", queues: ["default"], concurrency: 2, beatInterval: 0.1 });
  worker.register("greet", async (name) => say("greeted", name));
  worker.register("break", async () => {
    throw new RangeError("broken");
  });
  worker.on("fail", ({ job }) => say("failed", job.jid));
  const { quiet, stop } = worker;
  worker.quiet = () => {
    if (!worker.quieted) say("quiet");
    quiet.call(worker);
  };
  let stopping = false;
  worker.stop = async () => {
    if (stopping) return;
    stopping = true;
    await stop.call(worker);
    say("stopped");
  };
  await worker.work();
  say("working");
}

// Pushes and works while the server is killed and comes back, until it reads `end`. It reads `down` before the server is
// killed and `up` when it is back.
async function load() {
  let [isOver, isUp] = [false, true];
  // How far the pushing may be ahead of the working: the queue shall neither be empty nor long.
  const leadMax = 50;
  let lead = 0;
  // Told when one of these has changed.
  const changes = new EventEmitter();
  const worker = new Worker({ wid: "node-load", queues: ["default"], concurrency: 4, beatInterval: 1 });
  worker.register("work", (number) => async ({ job }) => {
    say("began", job.jid);
    lead -= 1;
    changes.emit("change");
    if (number % 10 === 3 && !job.failure) throw new Error("at first it fails");
  });
  worker.on("error", () => {});
  const ack = worker.client.ack;
  worker.client.ack = async (jid) => {
    await ack.call(worker.client, jid);
    say("acked", jid);
  };
  await worker.work();

  const client = new Client({ poolSize: 4 });
  const produce = async (name) => {
    for (let number = 0; ; number += 1) {
      while (!isOver && (lead > leadMax || !isUp)) await once(changes, "change");
      if (isOver) return;
      const jid = `${name}-${number}-${Job.jid()}`;
      say("asked", jid);
      try {
        await client.push({ jid, jobtype: "work", args: [number] });
        say("accepted", jid);
        lead += 1;
      } catch {
        say("unknown", jid);
      }
    }
  };
  const producers = ["a", "b", "c", "d"].map(produce);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (line === "end") break;
    isUp = line === "up";
    changes.emit("change");
  }
  isOver = true;
  changes.emit("change");
  await Promise.all(producers);
  worker.quiet();
  await Promise.all(worker.working.values());
  process.exit(0);
}

const scenarios = { jobs, failures, queues, password, tls, worker, load };
scenarios[process.argv[2]]().catch((error) => {
  console.error(error);
  process.exit(1);
});
