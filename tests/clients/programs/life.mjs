// A detector's life with the JavaScript SDK. Arguments: a prefix of names and a time. Prints what it saw as JSON.
import { createRequire } from "node:module";

const require = createRequire(`${process.env.CLIENT_FOLDER}/package.json`);
const sdk = require("@aws-sdk/client-frauddetector");
const [prefix, at] = process.argv.slice(2);
const client = new sdk.FraudDetectorClient({});
const call = (name, input) => client.send(new sdk[`${name}Command`](input));
const name = (part) => `${prefix}_${part}`;
const seen = { version: require("@aws-sdk/client-frauddetector/package.json").version };

seen.commands = Object.keys(sdk).filter((each) => each.endsWith("Command")).length;
await call("PutEntityType", { name: name("customer") });
await call("PutLabel", { name: name("fraud") });
await call("PutOutcome", { name: name("block"), description: "stop it" });
for (const [variable, dataType] of [["amount", "FLOAT"], ["country", "STRING"]]) {
  const defaultValue = dataType === "FLOAT" ? "0.0" : "<null>";
  await call("CreateVariable", { name: name(variable), dataType, dataSource: "EVENT", defaultValue });
}
await call("PutEventType", {
  name: name("payment"),
  eventVariables: [name("amount"), name("country")],
  entityTypes: [name("customer")],
  labels: [name("fraud")],
  tags: [{ key: "team", value: "risk" }],
});
await call("PutDetector", { detectorId: name("detector"), eventTypeName: name("payment") });
const { rule } = await call("CreateRule", {
  ruleId: name("big"),
  detectorId: name("detector"),
  expression: `$${name("amount")} > 900 and $${name("country")} != "ZÜRICH"`,
  language: "DETECTORPL",
  outcomes: [name("block")],
});
seen.rule = rule;
const version = await call("CreateDetectorVersion", { detectorId: name("detector"), rules: [rule] });
const { detectorId, detectorVersionId } = version;
await call("UpdateDetectorVersionStatus", { detectorId, detectorVersionId, status: "ACTIVE" });
const decide = (eventId, amount, country) =>
  call("GetEventPrediction", {
    detectorId,
    eventId,
    eventTypeName: name("payment"),
    eventTimestamp: at,
    entities: [{ entityType: name("customer"), entityId: "c-1" }],
    eventVariables: { [name("amount")]: amount, [name("country")]: country },
  });
const blocked = await decide(`${prefix}-1`, "950", "Österreich");
seen.blocked = blocked.ruleResults;
seen.requestId = blocked.$metadata.requestId;
seen.passed = (await decide(`${prefix}-2`, "950", "ZÜRICH")).ruleResults;
const { eventTypes } = await call("GetEventTypes", { name: name("payment") });
seen.eventType = { arn: eventTypes[0].arn, ingestion: eventTypes[0].eventIngestion };
seen.tags = (await call("ListTagsForResource", { resourceARN: eventTypes[0].arn })).tags;
seen.faults = {};
const refused = async (what, promise) => {
  try {
    await promise;
  } catch (fault) {
    seen.faults[what] = { name: fault.name, fault: fault.$fault, attempts: fault.$metadata.attempts };
  }
};
await refused("missing", call("GetDetectors", { detectorId: "nobody" }));
await refused("value", decide(`${prefix}-3`, "much", "x"));
await refused("inUse", call("DeleteOutcome", { name: name("block") }));
console.log(JSON.stringify(seen));
