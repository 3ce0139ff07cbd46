import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { judge, retryAfter } from "../answer.js";

const { id, answers, retry_after } = JSON.parse(readFileSync(new URL("../../vectors.json", import.meta.url), "utf-8"));

for (const { name, action, ...answer } of answers) {
  test(`${answer.status} ${name}: ${action}`, () => {
    const [decided, problem] = judge(id, answer);
    assert.equal(decided, action);
    assert.equal(Boolean(problem), action == "refuse");
  });
}

for (const { header, seconds } of retry_after) {
  test(`Retry-After: ${header}`, () => assert.equal(retryAfter(header), seconds * 1000));
}
