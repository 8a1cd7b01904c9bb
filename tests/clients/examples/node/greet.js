// npm install faktory-worker
const faktory = require("faktory-worker");

faktory.register("greet", async (name) => {
  console.log(`hello ${name}`);
});

async function main() {
  const client = await faktory.connect();
  await client.job("greet", "Ada").push();
  await client.close();

  await faktory.work({ queues: ["default"], concurrency: 4 });
}

main();
