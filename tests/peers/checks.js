// Runs checks one after another, each in bounded time, and says at last that all of them held. Tokens are never printed.
const assert = require("node:assert/strict");

const PATIENCE = 30_000;

/** Resolves with what `promise` does, or fails when that takes too long. */
function within(promise, what, patience = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`too long: ${what}`)), patience); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The arguments of the next event. */
function next(emitter, event, patience = PATIENCE) {
  return within(new Promise((resolve) => emitter.once(event, (...all) => resolve(all))), event, patience);
}

/** One line of JSON on standard output. */
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

/** Checks by name; what does not hold ends the program with its name. */
async function run(checks) {
  for (const [name, check] of Object.entries(checks)) {
    try {
      await within(check(), name);
    } catch (error) {
      process.stdout.write(`DOES NOT HOLD: ${name}: ${error.stack}\n`, () => process.exit(1));
      return;
    }
  }
  process.stdout.write(`${Object.keys(checks).length} checks held\n`, () => process.exit(0));
}

module.exports = { assert, next, run, say, within };
